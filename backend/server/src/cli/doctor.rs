//! `doctor`: everything that Syndarix needs, one line each, with what to do where it is missing.

use super::{Failure, Global, output};
use crate::{
    config::{Config, process_env},
    db,
    lifecycle::{self, Session},
    vault::Vault,
};
use serde_json::json;
use sqlx::PgPool;
use std::{net::TcpListener, process::ExitCode, time::Duration};
use syndarix_mcp_ci::sandbox::{Level, Sandbox, SandboxConfig};
use syndarix_postgres::EmbeddedOptions;

/// One program is asked for its version within this.
const PROGRAM_LIMIT: Duration = Duration::from_secs(10);
/// The oldest git whose `merge-tree --write-tree` the merge queue can use.
const OLDEST_GIT: (u32, u32) = (2, 38);

/// The oldest PostgreSQL that the schema fits, by its major version.
const OLDEST_POSTGRES: i32 = 15;
/// Redis is asked within this.
const REDIS_LIMIT: Duration = Duration::from_secs(5);
const REDIS_PORT: u16 = 6379;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, with less than it could.
    Warning,
    Bad,
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    detail: String,
}

fn good(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Good, detail: detail.into() }
}

fn warning(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Warning, detail: detail.into() }
}

fn bad(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Bad, detail: detail.into() }
}

/// Checks everything; fails when something is missing that nothing works without.
pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let config = global.config()?;
    let mut findings = vec![good("configuration", format!("data directory {}", config.data_dir.display()))];
    findings.push(git().await);
    findings.extend(database(&config).await);
    findings.push(data_dir(&config));
    findings.extend(redis(&config).await);
    findings.push(isolation(&config).await);
    findings.push(models(&config));
    findings.push(master_key(&config));
    findings.push(prices(&config));
    findings.push(port(&config));
    findings.push(mail(&config));
    report(global, &findings);
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(global: &Global, findings: &[Finding]) {
    let word = |verdict| match verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Bad => "BAD",
    };
    if global.json {
        let items: Vec<_> = findings
            .iter()
            .map(|one| json!({ "check": one.what, "verdict": word(one.verdict).to_lowercase(), "detail": one.detail }))
            .collect();
        output::json(&json!({ "items": items }));
        return;
    }
    for one in findings {
        output::line(&format!("{:<8} {:<14} {}", word(one.verdict), one.what, one.detail));
    }
}

async fn git() -> Finding {
    let asked = tokio::process::Command::new("git").arg("--version").kill_on_drop(true).output();
    let Ok(Ok(answer)) = tokio::time::timeout(PROGRAM_LIMIT, asked).await else {
        return bad("git", "git cannot be started: install it, for example with `apt-get install git`");
    };
    let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    match version_of(&said) {
        Some(version) if version >= OLDEST_GIT => good("git", said),
        _ => bad("git", format!("`{said}` is too old: {}.{} or newer is needed", OLDEST_GIT.0, OLDEST_GIT.1)),
    }
}

/// The numbers of `git version 2.39.5`.
fn version_of(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_whitespace().nth(2)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

async fn database(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.database_url.is_none() {
        let mut options = EmbeddedOptions::platform_default(process_env);
        options.binaries.clone_from(&config.postgres_binaries);
        match syndarix_postgres::find_binaries(&options) {
            Ok(found) => {
                let place = found.bin_dir.display();
                findings.push(good("postgresql", format!("{} in {place}", found.version)));
            }
            Err(error) => return vec![bad("postgresql", error.to_string())],
        }
    }
    match Session::open(config).await {
        Err(error) => findings.push(bad("database", Failure::from(error).to_string())),
        Ok(session) => {
            findings.push(
                schema(session.pool()).await.unwrap_or_else(|error| bad("database", error.to_string())),
            );
            session.close().await;
        }
    }
    findings
}

async fn schema(pool: &PgPool) -> Result<Finding, sqlx::Error> {
    let (version, number): (String, i32) = sqlx::query_as(
        "select current_setting('server_version'), current_setting('server_version_num')::integer",
    )
    .fetch_one(pool)
    .await?;
    let vector: bool =
        sqlx::query_scalar("select exists (select from pg_available_extensions where name = 'vector')")
            .fetch_one(pool)
            .await?;
    let pending = db::pending_migrations(pool).await?.len();
    Ok(if number < OLDEST_POSTGRES * 10_000 {
        bad("database", format!("PostgreSQL {version} is too old: {OLDEST_POSTGRES} or newer is needed"))
    } else if !vector {
        bad(
            "database",
            format!(
                "PostgreSQL {version} has no pgvector: install its package, such as postgresql-17-pgvector"
            ),
        )
    } else if pending == 0 {
        good("database", format!("PostgreSQL {version} with pgvector answers; its schema is up to date"))
    } else {
        let what = format!("PostgreSQL {version} with pgvector answers");
        warning("database", format!("{what}; {pending} migrations are applied at the next start of `serve`"))
    })
}

fn data_dir(config: &Config) -> Finding {
    let place = config.data_dir.display();
    let probe = config.data_dir.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::create_dir_all(&config.data_dir).and_then(|()| std::fs::write(&probe, b"x"));
    drop(std::fs::remove_file(&probe));
    match written {
        Ok(()) => good("data", format!("{place} can be written")),
        Err(error) => bad(
            "data",
            format!(
                "{place} cannot be written ({error}): give it to this user, or choose another with --data-dir"
            ),
        ),
    }
}

/// None where nobody asks for Redis.
async fn redis(config: &Config) -> Option<Finding> {
    let url = config.redis_url.as_deref()?;
    Some(match tokio::time::timeout(REDIS_LIMIT, greet(url)).await {
        Ok(Ok(())) => good("redis", "answers"),
        Ok(Err(reason)) => bad("redis", format!("REDIS_URL: {reason}")),
        Err(_) => bad("redis", "REDIS_URL: no answer in time; check that it runs, or unset REDIS_URL"),
    })
}

/// Says PING. A server that wants a password first answers, too; over TLS only the connection is tried.
async fn greet(url: &str) -> Result<(), String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = url::Url::parse(url).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("it names no host")?;
    let address = (host.trim_matches(['[', ']']), url.port().unwrap_or(REDIS_PORT));
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| format!("{host} does not answer: {error}"))?;
    if url.scheme() == "rediss" {
        return Ok(());
    }
    let mut answer = [0; 1];
    socket.write_all(b"PING\r\n").await.map_err(|error| error.to_string())?;
    socket.read_exact(&mut answer).await.map_err(|error| error.to_string())?;
    match answer[0] {
        b'+' | b'-' => Ok(()),
        _ => Err(format!("{host} answers, and not like Redis")),
    }
}

async fn isolation(config: &Config) -> Finding {
    let minimum: Level = match config.minimum_isolation.parse() {
        Ok(level) => level,
        Err(error) => return bad("isolation", format!("SYNDARIX_MINIMUM_ISOLATION: {error}")),
    };
    let sandbox = SandboxConfig { minimum, ..SandboxConfig::default() };
    let probed = tokio::task::spawn_blocking(move || Sandbox::probe(sandbox).isolation().clone()).await;
    match probed {
        Ok(isolation) if isolation.level < minimum => bad(
            "isolation",
            format!(
                "{}: {} This is below the minimum {}, so tests of agents would be refused; install bubblewrap, or lower \
                 SYNDARIX_MINIMUM_ISOLATION knowingly",
                isolation.level.as_str(),
                isolation.detail,
                minimum.as_str()
            ),
        ),
        Ok(isolation) if isolation.level <= Level::Landlock => {
            warning("isolation", format!("{}: {}", isolation.level.as_str(), isolation.detail))
        }
        Ok(isolation) => good("isolation", format!("{}: {}", isolation.level.as_str(), isolation.detail)),
        Err(error) => bad("isolation", error.to_string()),
    }
}

fn models(config: &Config) -> Finding {
    match lifecycle::groups_of(config) {
        Err(error) => bad("models", Failure::from(error).to_string()),
        Ok(groups) => {
            let names: Vec<String> = groups
                .iter()
                .map(|group| {
                    format!(
                        "{} ({})",
                        group.name,
                        group.chain.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
                    )
                })
                .collect();
            if names.is_empty() {
                warning(
                    "models",
                    "none is configured, so runs fail: set ANTHROPIC_API_KEY, OPENAI_API_KEY, or SYNDARIX_MODEL_BASE_URL \
                     with SYNDARIX_MODEL; `syndarix demo` needs none",
                )
            } else {
                good("models", names.join("; "))
            }
        }
    }
}

fn master_key(config: &Config) -> Finding {
    match Vault::open(config) {
        Err(error) => bad("master key", Failure::chain(&error).to_string()),
        Ok(vault) if vault.is_empty() => good(
            "master key",
            format!("none yet; made as {} when an organisation stores a key", vault.source()),
        ),
        Ok(vault) => good("master key", vault.source()),
    }
}

fn prices(config: &Config) -> Finding {
    match lifecycle::prices_of(config) {
        Err(error) => bad("prices", Failure::from(error).to_string()),
        Ok(table) => good("prices", format!("version {}, {} rows", table.version, table.rows.len())),
    }
}

fn port(config: &Config) -> Finding {
    match TcpListener::bind(config.listen) {
        Ok(_) => good("port", format!("{} is free", config.listen)),
        Err(error) => warning(
            "port",
            format!(
                "{}: {error}; if that is not Syndarix itself, choose another with --listen",
                config.listen
            ),
        ),
    }
}

fn mail(config: &Config) -> Finding {
    match config.smtp_url {
        Some(_) => good("mail", "goes to the server of SMTP_URL"),
        None => warning(
            "mail",
            "SMTP_URL is not set: mail is written to the data directory instead of being sent",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_git_is_read_with_whatever_follows_it() {
        assert_eq!(version_of("git version 2.39.5"), Some((2, 39)));
        assert_eq!(version_of("git version 2.50.1 (Apple Git-155)"), Some((2, 50)));
        assert_eq!(version_of("git"), None);
    }
}
