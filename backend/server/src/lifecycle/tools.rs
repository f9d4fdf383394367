//! The MCP servers of this process, all on one loopback address, and the manager that knows them.

use super::StartError;
use crate::{config::Config, features::auth::Keys};
use axum::Router;
use syndarix_forge::Git;
use syndarix_mcp::{Limits, Manager, ServerEndpoint};
use syndarix_mcp_ci::{
    Ci, CiConfig,
    sandbox::{Isolation, Level, SandboxConfig},
};
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, GitTools};
use syndarix_mcp_kit::{Host, Options, TokenVerifier};
use tokio::net::TcpListener;
use url::Url;

/// The servers' names: paths, audiences and prefixes of capabilities.
const NAMES: [&str; 6] = [
    syndarix_mcp_git::NAME,
    syndarix_mcp_files::NAME,
    syndarix_mcp_ci::NAME,
    syndarix_mcp_issues::NAME,
    syndarix_mcp_knowledge::NAME,
    syndarix_mcp_gateway::NAME,
];

/// What the servers are made from.
pub(super) struct Servers<'a> {
    pub(super) config: &'a Config,
    pub(super) keys: &'a Keys,
    pub(super) git: Git,
    /// The root of the API that tools call on behalf of their agents.
    pub(super) backend: String,
}

fn failed(error: &dyn std::fmt::Display) -> StartError {
    StartError::Tools(error.to_string())
}

/// Everything that serves tools, not serving yet.
pub(super) struct Built {
    pub(super) listener: TcpListener,
    pub(super) router: Router,
    pub(super) manager: Manager,
    /// What commands of agents are shut in with on this machine.
    pub(super) isolation: Isolation,
}

impl Servers<'_> {
    /// Probes the machine and puts the servers together.
    pub(super) async fn build(self) -> Result<Built, StartError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let ci = self.ci().await?;
        let isolation = ci.isolation().clone();
        let router = self.routers(ci)?;
        let endpoints = NAMES
            .iter()
            .map(|name| {
                let url =
                    Url::parse(&format!("http://{address}/mcp/{name}")).map_err(|error| failed(&error))?;
                Ok(ServerEndpoint::own(*name, url))
            })
            .collect::<Result<_, StartError>>()?;
        let manager = Manager::new(endpoints, Limits::default()).map_err(|error| failed(&error))?;
        Ok(Built { listener, router, manager, isolation })
    }

    fn routers(&self, ci: Ci) -> Result<Router, StartError> {
        let verifier = TokenVerifier::from_pem(self.keys.public_pem()).map_err(|error| failed(&error))?;
        let options = Options {
            workspaces: Some(self.config.workspaces()),
            backend_url: Some(Url::parse(&self.backend).map_err(|error| {
                StartError::Tools(format!("the backend's address `{}` does not read: {error}", self.backend))
            })?),
            ..Options::default()
        };
        let host = Host::new(verifier, options).map_err(|error| failed(&error))?;
        let git = GitTools::new(self.git.clone(), &self.config.repositories(), DEFAULT_BRANCH_PREFIX);
        let router = Router::new()
            .merge(syndarix_mcp_git::server(git).mount(&host))
            .merge(syndarix_mcp_files::server().mount(&host))
            .merge(syndarix_mcp_ci::server(ci).mount(&host))
            .merge(syndarix_mcp_issues::server().mount(&host))
            .merge(syndarix_mcp_knowledge::server().mount(&host))
            .merge(syndarix_mcp_gateway::server().mount(&host));
        Ok(router)
    }

    async fn ci(&self) -> Result<Ci, StartError> {
        let minimum: Level = self
            .config
            .minimum_isolation
            .parse()
            .map_err(|error| StartError::Tools(format!("the minimum isolation is wrong: {error}")))?;
        let config = CiConfig {
            sandbox: SandboxConfig { minimum, ..SandboxConfig::default() },
            ..CiConfig::default()
        };
        // It finds out by running commands, which blocks.
        let probed = tokio::task::spawn_blocking(move || Ci::probe(config)).await;
        probed.map_err(|error| failed(&error))
    }
}
