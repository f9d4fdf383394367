//! A server as a process of its own: flags, log, listen, serve, drain.

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    host::{Host, Options, serve},
    server::ToolServer,
    token::TokenVerifier,
};

/// Largest public key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 16 * 1024;

/// The flags that every server has; each can come from the environment, too.
#[derive(Debug, Parser)]
struct Flags<X: Args> {
    /// Address to listen on.
    #[arg(long, env = "SYNDARIX_MCP_LISTEN", default_value = "127.0.0.1:8701")]
    listen: SocketAddr,
    /// File with the backend's public key (PEM), which verifies the service tokens.
    #[arg(long, env = "SYNDARIX_MCP_PUBLIC_KEY_FILE")]
    public_key_file: PathBuf,
    /// Directory that holds the worktrees, <project>/<run>.
    #[arg(long, env = "SYNDARIX_MCP_WORKSPACES")]
    workspaces: Option<PathBuf>,
    /// Root of the backend's REST API, e.g. http://127.0.0.1:8080.
    #[arg(long, env = "SYNDARIX_MCP_BACKEND_URL")]
    backend_url: Option<Url>,
    /// Name under which the server is reached, besides loopback; may be given several times.
    #[arg(long = "allowed-host", env = "SYNDARIX_MCP_ALLOWED_HOSTS", value_delimiter = ',')]
    allowed_hosts: Vec<String>,
    /// Browser origin that may call, besides loopback; may be given several times.
    #[arg(long = "allowed-origin", env = "SYNDARIX_MCP_ALLOWED_ORIGINS", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// What to log, e.g. info or syndarix=debug.
    #[arg(long, env = "SYNDARIX_MCP_LOG", default_value = "info")]
    log: String,
    #[command(flatten)]
    extra: X,
}

/// No flags besides the common ones.
#[derive(Debug, Args)]
pub struct NoFlags {}

/// Runs a server until SIGTERM or Ctrl-C; the whole `main` of a server without flags of its own.
pub fn main_for<S: Clone + Send + Sync + 'static>(
    name: &'static str,
    build: impl FnOnce(&Host) -> ToolServer<S>,
) -> ExitCode {
    main_with(name, |host, _: NoFlags| build(host))
}

/// Like [`main_for`], for a server with flags `X` of its own.
pub fn main_with<X: Args, S: Clone + Send + Sync + 'static>(
    name: &'static str,
    build: impl FnOnce(&Host, X) -> ToolServer<S>,
) -> ExitCode {
    let command: Command = Flags::<X>::command().name(name).version(env!("CARGO_PKG_VERSION"));
    let matches = command.get_matches();
    let flags = match Flags::<X>::from_arg_matches(&matches) {
        Ok(flags) => flags,
        Err(fault) => fault.exit(),
    };
    let filter = tracing_subscriber::EnvFilter::try_new(&flags.log).unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(flags, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(causes = ?causes(fault.as_ref()), "cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn run<X: Args, S: Clone + Send + Sync + 'static>(
    flags: Flags<X>,
    build: impl FnOnce(&Host, X) -> ToolServer<S>,
) -> Result<(), Box<dyn Error>> {
    let pem = read_key(&flags.public_key_file)?;
    let mut options =
        Options { workspaces: flags.workspaces, backend_url: flags.backend_url, ..Options::default() };
    options.allowed_hosts.extend(flags.allowed_hosts);
    options.allowed_origins.extend(flags.allowed_origins);
    let host = Host::new(TokenVerifier::from_pem(&pem)?, options)?;
    let router = build(&host, flags.extra).mount(&host);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(flags.listen).await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        tokio::select! {
            // In this order: whoever reads "serving" may send the signal at once, and it must find its handler.
            biased;
            () = async { stop_signal().await; shutdown.cancel(); std::future::pending().await } => Ok(()),
            served = serve(listener, router, shutdown.clone()) => served,
            () = async { tracing::info!(%address, "serving"); std::future::pending().await } => Ok(()),
        }
    });
    // Blocking work that outlived the drain must not keep the process.
    runtime.shutdown_background();
    Ok(served?)
}

fn causes(fault: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes = vec![fault.to_string()];
    let mut next = fault.source();
    while let Some(fault) = next {
        causes.push(fault.to_string());
        next = fault.source();
    }
    causes
}

fn read_key(path: &PathBuf) -> Result<String, Box<dyn Error>> {
    let size = std::fs::metadata(path)
        .map_err(|e| format!("cannot read the public key {}: {e}", path.display()))?
        .len();
    if size > MAX_KEY_BYTES {
        return Err(format!("{} is too large for a public key", path.display()).into());
    }
    Ok(std::fs::read_to_string(path)?)
}

async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<Option<()>>();
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
}
