//! Settings: defaults < file (TOML) < environment < flags. The only module that reads the environment.

use crate::telemetry::Tracing;
use serde::Deserialize;
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};
use syndarix_llm::Secret;

/// The port that `serve` listens on when nothing is said.
pub const DEFAULT_PORT: u16 = 8000;
/// Proxies close lines that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Everything that an operator can set.
#[derive(Clone)]
pub struct Config {
    /// Where the API and the UI listen.
    pub listen: SocketAddr,
    /// Where repositories, worktrees, logs and the embedded database live.
    pub data_dir: PathBuf,
    /// Another PostgreSQL, instead of the embedded one.
    pub database_url: Option<String>,
    /// Fan-out between instances.
    pub redis_url: Option<String>,
    /// Connections to PostgreSQL from this process.
    pub max_connections: u32,
    /// Agent runs that this process works on at once.
    pub agent_concurrency: u16,
    /// Model groups and deployments.
    pub models: Option<PathBuf>,
    /// Prices of the operator's own, over the built-in table.
    pub prices: Option<PathBuf>,
    /// When the usage of the gateway's clients is on the disk.
    pub usage_durability: Durability,
    /// What the environment gives access to, where no file says which models to use.
    pub model_access: ModelAccess,
    /// What secrets of other systems are encrypted with: the first key, or those before it that are still in use. From
    /// the environment only.
    pub master_key: Option<Secret>,
    /// A file with the same; without either, one is made in the data directory when it is first needed.
    pub master_key_file: Option<PathBuf>,
    /// Hosts of private networks, as `host` or `host:port`, that organisations' own model providers may lead to.
    pub provider_hosts: Vec<String>,
    /// The address under which agents' tools reach this process; found out at start when not set.
    pub backend_url: Option<String>,
    /// The weakest sandbox that commands may run in: `none`, `landlock`, `namespaces`, `bubblewrap`.
    pub minimum_isolation: String,
    /// Where `embedded-postgres` binaries are, when not in the usual places.
    pub postgres_binaries: Option<PathBuf>,
    /// Where mail goes: `smtp://user:password@host:port`; without it, mail is written to the data directory.
    pub smtp_url: Option<String>,
    /// The sender of mail.
    pub mail_from: String,
    /// The address that links in mail begin with.
    pub public_url: Option<String>,
    /// Anyone may register. Off: the operator makes accounts with `syndarix user create`.
    pub open_registration: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// A comment goes out this often on a silent event stream.
    pub keep_alive: Duration,
    /// What projects may be imported from besides the internet: absolute directories, and names of hosts in private
    /// networks. Whoever may register may name one.
    pub import_from: Vec<String>,
    /// `pretty` or `json`.
    pub log_format: String,
    /// What is logged, as in `info` or `syndarix=debug,info`.
    pub log: Option<String>,
    /// Where spans go.
    pub tracing: Tracing,
}

/// When the usage of a call is on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Its reservation before it is sent, its settlement before the answer is given out as final.
    #[default]
    Full,
    /// Both within a tenth of a second. Budgets hold all the same.
    Relaxed,
}

impl std::str::FromStr for Durability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "relaxed" => Ok(Self::Relaxed),
            _ => Err("is full or relaxed"),
        }
    }
}

/// Says nothing of what is set: URLs hold passwords, and a setting that is added tomorrow may be one.
impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// An address, or all addresses that begin like one: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u64::from(own.to_bits() ^ other.to_bits());
                differ >> (32 - u32::from(self.bits)) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address and no network such as 10.0.0.0/8");
        let (address, bits) = text.trim().split_once('/').unwrap_or((text.trim(), ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() { most } else { bits.parse().map_err(|_| wrong())? };
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

fn networks(variable: &'static str, texts: &[String]) -> Result<Vec<Network>, ConfigError> {
    texts
        .iter()
        .map(|text| text.parse().map_err(|detail| ConfigError::Variable { variable, detail }))
        .collect()
}

/// Models that the environment gives access to. Keys come from the environment only: files get copied.
#[derive(Debug, Clone, Default)]
pub struct ModelAccess {
    /// `ANTHROPIC_API_KEY`.
    pub anthropic_key: Option<Secret>,
    /// `OPENAI_API_KEY`.
    pub openai_key: Option<Secret>,
    /// `SYNDARIX_MODEL_BASE_URL`: any server of the OpenAI format, such as Ollama.
    pub base_url: Option<String>,
    /// `SYNDARIX_MODEL`: the model's name at that server.
    pub model: Option<String>,
    /// `SYNDARIX_MODEL_API_KEY`: its key, where it wants one.
    pub api_key: Option<Secret>,
}

impl ModelAccess {
    fn load(env: &impl Fn(&str) -> Option<String>) -> Self {
        let secret = |name: &str| env(name).map(Secret::new);
        Self {
            anthropic_key: secret("ANTHROPIC_API_KEY"),
            openai_key: secret("OPENAI_API_KEY"),
            base_url: env("SYNDARIX_MODEL_BASE_URL"),
            model: env("SYNDARIX_MODEL"),
            api_key: secret("SYNDARIX_MODEL_API_KEY"),
        }
    }
}

/// The file's shape: every key optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "a setting that names a file is called so")]
struct File {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    database_url: Option<String>,
    redis_url: Option<String>,
    max_connections: Option<u32>,
    agent_concurrency: Option<u16>,
    models: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
    provider_hosts: Option<Vec<String>>,
    prices: Option<PathBuf>,
    usage_durability: Option<Durability>,
    backend_url: Option<String>,
    minimum_isolation: Option<String>,
    postgres_binaries: Option<PathBuf>,
    smtp_url: Option<String>,
    mail_from: Option<String>,
    public_url: Option<String>,
    open_registration: Option<bool>,
    trusted_proxies: Option<Vec<String>>,
    keep_alive_seconds: Option<NonZeroU32>,
    import_from: Option<Vec<String>>,
    log_format: Option<String>,
    log: Option<String>,
    otlp_endpoint: Option<String>,
    otlp_content: Option<bool>,
}

/// What the command line overrides.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML of the known shape.
    #[error("the configuration file {path} is wrong: {detail}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where and why, with the line.
        detail: String,
    },
    /// An environment variable does not read.
    #[error("{variable} is wrong: {detail}")]
    Variable {
        /// Which one.
        variable: &'static str,
        /// What was expected.
        detail: String,
    },
}

/// Reads an environment variable of the process. An empty one counts as not set.
#[expect(clippy::disallowed_methods, reason = "config is the one reader of the environment")]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Config {
    /// Puts the layers together. `env` looks a variable up.
    pub fn load(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let path = flags.file.clone().or_else(|| env("SYNDARIX_CONFIG").map(PathBuf::from));
        let file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let text = |name: &str, from_file: Option<String>| env(name).or(from_file);
        let dir = |name: &str, from_file: Option<PathBuf>| env(name).map(PathBuf::from).or(from_file);
        let list = |name: &str, from_file: Option<Vec<String>>| {
            let said = env(name).map(|text| text.split(',').map(|one| one.trim().to_owned()).collect());
            said.or(from_file).unwrap_or_default()
        };
        let proxies = list("SYNDARIX_TRUSTED_PROXIES", file.trusted_proxies);
        let listen = parsed(&env, "SYNDARIX_LISTEN", file.listen)?;
        Ok(Self {
            listen: flags.listen.or(listen).unwrap_or_else(|| ([127, 0, 0, 1], DEFAULT_PORT).into()),
            data_dir: flags
                .data_dir
                .clone()
                .or_else(|| dir("SYNDARIX_DATA_DIR", file.data_dir))
                .unwrap_or_else(|| platform_data_dir(&env)),
            database_url: text("DATABASE_URL", file.database_url),
            redis_url: text("REDIS_URL", file.redis_url),
            max_connections: parsed(&env, "SYNDARIX_MAX_CONNECTIONS", file.max_connections)?.unwrap_or(32),
            agent_concurrency: parsed(&env, "SYNDARIX_AGENT_CONCURRENCY", file.agent_concurrency)?
                .unwrap_or(64),
            models: dir("SYNDARIX_MODELS", file.models),
            prices: dir("SYNDARIX_PRICES", file.prices),
            usage_durability: parsed(&env, "SYNDARIX_USAGE_DURABILITY", file.usage_durability)?
                .unwrap_or_default(),
            model_access: ModelAccess::load(&env),
            master_key: env("SYNDARIX_MASTER_KEY").map(Secret::new),
            master_key_file: dir("SYNDARIX_MASTER_KEY_FILE", file.master_key_file),
            provider_hosts: list("SYNDARIX_PROVIDER_HOSTS", file.provider_hosts),
            backend_url: text("SYNDARIX_BACKEND_URL", file.backend_url),
            minimum_isolation: text("SYNDARIX_MINIMUM_ISOLATION", file.minimum_isolation)
                .unwrap_or_else(|| "landlock".into()),
            postgres_binaries: dir("SYNDARIX_POSTGRES_BINARIES", file.postgres_binaries),
            smtp_url: text("SMTP_URL", file.smtp_url),
            mail_from: text("SYNDARIX_MAIL_FROM", file.mail_from)
                .unwrap_or_else(|| "Syndarix <syndarix@localhost>".into()),
            public_url: text("SYNDARIX_PUBLIC_URL", file.public_url),
            open_registration: parsed(&env, "SYNDARIX_OPEN_REGISTRATION", file.open_registration)?
                .unwrap_or(true),
            keep_alive: parsed(&env, "SYNDARIX_KEEP_ALIVE_SECONDS", file.keep_alive_seconds)?
                .map_or(KEEP_ALIVE, |seconds| Duration::from_secs(seconds.get().into())),
            trusted_proxies: networks("SYNDARIX_TRUSTED_PROXIES", &proxies)?,
            import_from: list("SYNDARIX_IMPORT_FROM", file.import_from),
            log_format: text("SYNDARIX_LOG_FORMAT", file.log_format).unwrap_or_else(|| "pretty".into()),
            log: text("SYNDARIX_LOG", file.log),
            tracing: Tracing {
                endpoint: text("SYNDARIX_OTLP_ENDPOINT", file.otlp_endpoint),
                headers: env("SYNDARIX_OTLP_HEADERS").map(Secret::new),
                content: parsed(&env, "SYNDARIX_OTLP_CONTENT", file.otlp_content)?.unwrap_or(false),
            },
        })
    }

    /// Where bare repositories live.
    pub fn repositories(&self) -> PathBuf {
        self.data_dir.join("repositories")
    }

    /// Where the runs' worktrees live.
    pub fn workspaces(&self) -> PathBuf {
        self.data_dir.join("workspaces")
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Wrong { path: path.into(), detail: error.to_string() })
}

fn parsed<T: std::str::FromStr>(
    env: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    from_file: Option<T>,
) -> Result<Option<T>, ConfigError>
where
    T::Err: std::fmt::Display,
{
    match env(variable) {
        None => Ok(from_file),
        Some(value) => value.parse().map(Some).map_err(|error: T::Err| ConfigError::Variable {
            variable,
            detail: format!("`{value}`: {error}"),
        }),
    }
}

/// `/var/lib/syndarix` as root, else what the platform gives a user.
fn platform_data_dir(env: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let home = env("HOME").map(PathBuf::from);
    match (env("XDG_DATA_HOME"), home) {
        (Some(data), _) => PathBuf::from(data).join("syndarix"),
        (None, Some(home)) if home != Path::new("/root") => home.join(".local/share/syndarix"),
        _ => PathBuf::from("/var/lib/syndarix"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "::1") && !holds("::1", "::2"));
        for wrong in ["", "10.0.0.0/33", "proxy", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_print_no_password() {
        let secrets = |name: &str| match name {
            "DATABASE_URL" | "REDIS_URL" | "SMTP_URL" => Some("x://user:hunter2@host/".to_owned()),
            _ => None,
        };
        let config = Config::load(&Flags::default(), secrets).unwrap();
        assert_eq!(config.database_url.as_deref(), Some("x://user:hunter2@host/"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
