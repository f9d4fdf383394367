//! What all servers of a process share: key, limits, workspaces, backend; and how it serves them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get, serve::ListenerExt};
use cap_std::{ambient_authority, fs::Dir};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::{
    backend::{self, BackendClient},
    failure::ToolFailure,
    token::{Bearer, TokenVerifier},
    worktree::Worktree,
};

/// Longest wait at shutdown for calls that are under way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Limits and surroundings of a process that serves tools.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that holds `<project>/<run>` worktrees; none for servers that need no files.
    pub workspaces: Option<PathBuf>,
    /// The root of the backend's REST API; none for servers that need no data.
    pub backend_url: Option<Url>,
    /// Names under which the server may be addressed (`Host`), against DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// Browser origins that may call; requests without `Origin` pass.
    pub allowed_origins: Vec<String>,
    /// Largest request, in bytes: a whole file may be written in one call.
    pub max_body_bytes: usize,
    /// Longest wait for the whole request body, so that a slow sender holds nothing for long.
    pub body_timeout: Duration,
    /// Calls under way at one time, over all servers of the process; more are answered 503.
    pub max_in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workspaces: None,
            backend_url: None,
            allowed_hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            allowed_origins: ["http://localhost:*", "http://127.0.0.1:*"].map(str::to_owned).to_vec(),
            max_body_bytes: 4 * 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            max_in_flight: 256,
        }
    }
}

/// Why a process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The workspaces directory cannot be opened.
    #[error("cannot open the workspaces directory {0}")]
    Workspaces(PathBuf, #[source] io::Error),
    /// The HTTP client cannot be made.
    #[error("cannot make the HTTP client")]
    Http(#[from] reqwest::Error),
}

/// Shared by all servers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<HostInner>);

struct HostInner {
    verifier: TokenVerifier,
    options: Options,
    workspaces: Option<(Dir, PathBuf)>,
    http: reqwest::Client,
    in_flight: Arc<Semaphore>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Host {
    /// Opens the workspaces directory (which must exist) and makes the HTTP client.
    pub fn new(verifier: TokenVerifier, options: Options) -> Result<Self, HostError> {
        let workspaces = options.workspaces.as_deref().map(open_workspaces).transpose()?;
        let in_flight = Arc::new(Semaphore::new(options.max_in_flight));
        let http = backend::http_client()?;
        Ok(Self(Arc::new(HostInner { verifier, options, workspaces, http, in_flight })))
    }

    /// The limits and surroundings.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn verifier(&self) -> &TokenVerifier {
        &self.0.verifier
    }

    pub(crate) fn in_flight(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.in_flight)
    }

    pub(crate) fn worktree(&self, project: Uuid, run: Uuid) -> Result<Worktree, ToolFailure> {
        let Some((dir, root)) = &self.0.workspaces else {
            return Err(ToolFailure::unavailable("This server has no workspaces."));
        };
        let relative = Path::new(&project.to_string()).join(run.to_string());
        // Opened below the workspaces' handle: a link planted there cannot lead out.
        let opened = dir.open_dir(&relative).map_err(|fault| {
            tracing::warn!(%project, %run, %fault, "no worktree");
            ToolFailure::not_found("This run has no worktree (yet); it cannot work with files.")
        })?;
        Ok(Worktree::new(opened, root.join(relative)))
    }

    pub(crate) fn backend(&self, bearer: Bearer) -> Result<BackendClient, ToolFailure> {
        let Some(base) = &self.0.options.backend_url else {
            return Err(ToolFailure::unavailable("This server is not connected to Syndarix's backend."));
        };
        Ok(BackendClient::new(self.0.http.clone(), base.clone(), bearer))
    }
}

fn open_workspaces(path: &Path) -> Result<(Dir, PathBuf), HostError> {
    let fail = |fault| HostError::Workspaces(path.to_owned(), fault);
    let path = path.canonicalize().map_err(fail)?;
    let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(fail)?;
    Ok((dir, path))
}

/// Serves `router` and `GET /healthz` until `shutdown`, then waits up to [`DRAIN_TIMEOUT`] for calls
/// that are under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let app = router.route("/healthz", get(|| async { "ok" }));
    // Nagle's delay would cost 40 ms on every streamed answer.
    let listener = listener.tap_io(|stream| {
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(%fault, "TCP_NODELAY not set");
        }
    });
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let drain_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = server => result,
        () = drain_over => {
            tracing::warn!("calls still under way after the drain time; leaving them");
            Ok(())
        }
    }
}
