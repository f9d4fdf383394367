//! The MCP servers of this process, all on one loopback address, and the manager that knows them.

use super::StartError;
use crate::{config::Config, features::auth::Keys};
use axum::Router;
use syndarix_forge::Git;
use syndarix_mcp::{Limits, Manager, ServerEndpoint};
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, GitTools};
use syndarix_mcp_kit::{Host, Options, TokenVerifier};
use tokio::net::TcpListener;
use url::Url;

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

impl Servers<'_> {
    /// Everything that serves tools, not serving yet.
    pub(super) async fn build(self) -> Result<(TcpListener, Router, Manager), StartError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let (router, names) = self.routers()?;
        let endpoints = names
            .iter()
            .map(|name| {
                let url = Url::parse(&format!("http://{address}/mcp/{name}")).map_err(|error| failed(&error))?;
                Ok(ServerEndpoint::own(*name, url))
            })
            .collect::<Result<_, StartError>>()?;
        let manager = Manager::new(endpoints, Limits::default()).map_err(|error| failed(&error))?;
        Ok((listener, router, manager))
    }

    fn routers(&self) -> Result<(Router, Vec<&'static str>), StartError> {
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
            .merge(syndarix_mcp_files::server().mount(&host));
        Ok((router, vec![syndarix_mcp_git::NAME, syndarix_mcp_files::NAME]))
    }
}
