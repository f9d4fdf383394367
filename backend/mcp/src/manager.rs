//! The manager: all servers, and what may be asked of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, JsonObject, ListToolsRequest,
    PaginatedRequestParams, RequestMetaObject, ServerResult,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    catalogue::{Catalogue, ToolInfo},
    connection::Connection,
    error::CallError,
    outcome::ToolOutcome,
};

/// Most pages of one tool list: a server must not keep us turning them.
const MAX_PAGES: usize = 20;
/// Most tools of one server.
const MAX_TOOLS: usize = 1000;
/// Longest wait at closing for requests that are being taken back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEndpoint {
    /// Its name; of our own servers also the audience of the tokens, without `mcp:`.
    pub name: String,
    /// Its MCP address, e.g. `http://127.0.0.1:8701/mcp/git`.
    pub url: Url,
    /// What answers 200 while it is well; none when there is no such address.
    pub health_url: Option<Url>,
}

impl ServerEndpoint {
    /// One of our own servers, which answers `/healthz` beside its MCP address.
    pub fn own(name: impl Into<String>, url: Url) -> Self {
        let health_url = url.join("/healthz").ok();
        Self { name: name.into(), url, health_url }
    }

    /// A server of somebody else's.
    pub fn outside(name: impl Into<String>, url: Url) -> Self {
        Self { name: name.into(), url, health_url: None }
    }
}

/// What a server may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For connecting and the handshake.
    pub connect_timeout: Duration,
    /// For one call from beginning to end, waiting for its turn included, unless the call says another.
    pub call_timeout: Duration,
    /// The longest time that a call may ask for.
    pub max_call_timeout: Duration,
    /// Calls under way at one server; more wait for their turn.
    pub max_concurrent: usize,
    /// Bytes of an answer's text, and of its structured content.
    pub max_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(60),
            // A test run of a large project.
            max_call_timeout: Duration::from_secs(45 * 60),
            max_concurrent: 64,
            max_answer_bytes: 256 * 1024,
        }
    }
}

/// One call of one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The server's name.
    pub server: String,
    /// The tool's own name.
    pub tool: String,
    /// The arguments, with `project_id` and `agent_id` for our own servers.
    pub arguments: JsonObject,
    /// Becomes `_meta`, e.g. `syndarix/step`.
    pub meta: JsonObject,
    /// Instead of [`Limits::call_timeout`].
    pub timeout: Option<Duration>,
}

impl ToolCall {
    /// A call without `_meta` and with the usual time limit.
    pub fn new(server: impl Into<String>, tool: impl Into<String>, arguments: JsonObject) -> Self {
        let (server, tool) = (server.into(), tool.into());
        Self { server, tool, arguments, meta: JsonObject::new(), timeout: None }
    }
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its name.
    pub server: String,
    /// It answered, and well.
    pub healthy: bool,
    /// How long the answer took.
    pub latency: Duration,
}

/// Why a manager cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Two servers have the same name.
    #[error("two MCP servers are called {0}")]
    NameTaken(String),
    /// The HTTP client cannot be made.
    #[error("cannot make the HTTP client")]
    Http(#[from] reqwest::Error),
}

/// All servers. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    connections: Arc<BTreeMap<String, Arc<Connection>>>,
    limits: Limits,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("servers", &self.connections.keys()).finish_non_exhaustive()
    }
}

impl Manager {
    /// Knows the servers; connects to none yet.
    pub fn new(servers: Vec<ServerEndpoint>, limits: Limits) -> Result<Self, SetupError> {
        let tasks = TaskTracker::new();
        let mut connections = BTreeMap::new();
        for endpoint in servers {
            let name = endpoint.name.clone();
            let connection = Connection::new(endpoint, limits, tasks.clone())?;
            if connections.insert(name.clone(), Arc::new(connection)).is_some() {
                return Err(SetupError::NameTaken(name));
            }
        }
        Ok(Self { connections: Arc::new(connections), limits, tasks })
    }

    /// The servers' names.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.connections.keys().map(String::as_str)
    }

    /// The tools that `server` shows to `token`. Asked anew each time: the list depends on the token.
    pub async fn list_tools(&self, server: &str, token: &str) -> Result<Vec<ToolInfo>, CallError> {
        let connection = self.connection(server)?;
        let cancel = CancellationToken::new();
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let params = cursor.take().map(|at| PaginatedRequestParams::default().with_cursor(Some(at)));
            let request = ListToolsRequest { params, ..ListToolsRequest::default() };
            let request = ClientRequest::ListToolsRequest(request);
            let answer = connection.request(request, token, self.limits.call_timeout, &cancel).await?;
            let ServerResult::ListToolsResult(page) = answer else {
                return Err(CallError::Protocol("the answer to tools/list is no tool list".to_owned()));
            };
            tools.extend(page.tools.iter().map(|tool| ToolInfo::of(server, tool)));
            if tools.len() > MAX_TOOLS {
                return Err(CallError::Protocol(format!("more than {MAX_TOOLS} tools")));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(CallError::Protocol(format!("more than {MAX_PAGES} pages of tools")))
    }

    /// The catalogue for one agent: `tokens` by server. A server that fails is left out and told about.
    pub async fn catalogue(&self, tokens: &[(&str, &str)]) -> (Catalogue, Vec<(String, CallError)>) {
        let lists = tokens.iter().map(|(server, token)| async move {
            ((*server).to_owned(), self.list_tools(server, token).await)
        });
        let (mut tools, mut failures) = (Vec::new(), Vec::new());
        for (server, list) in join_all(lists).await {
            match list {
                Ok(list) => tools.extend(list),
                Err(fault) => failures.push((server, fault)),
            }
        }
        (Catalogue::new(tools), failures)
    }

    /// Calls a tool with the caller's own token. Never repeats a call by itself.
    ///
    /// A tool that says no is an `Ok` with `is_error`. Dropping the future cancels the call.
    pub async fn call(
        &self,
        call: ToolCall,
        token: &str,
        cancel: &CancellationToken,
    ) -> Result<ToolOutcome, CallError> {
        let connection = self.connection(&call.server)?;
        let limit = call.timeout.unwrap_or(self.limits.call_timeout).min(self.limits.max_call_timeout);
        let mut params = CallToolRequestParams::new(call.tool).with_arguments(call.arguments);
        if !call.meta.is_empty() {
            let mut meta = RequestMetaObject::new();
            for (key, value) in call.meta {
                meta.insert(key, value);
            }
            params.meta = Some(meta);
        }
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        match connection.request(request, token, limit, cancel).await? {
            ServerResult::CallToolResult(result) => Ok(ToolOutcome::of(result, self.limits.max_answer_bytes)),
            ServerResult::InputRequiredResult(_) => {
                Err(CallError::Protocol("the tool asks for input, which an agent cannot give".to_owned()))
            }
            _ => Err(CallError::Protocol("the answer to tools/call is no tool result".to_owned())),
        }
    }

    /// Asks every server how it is.
    pub async fn health(&self) -> Vec<Health> {
        join_all(self.connections.values().map(|connection| connection.health())).await
    }

    /// Ends all connections; calls under way end as cancelled.
    pub async fn close(&self) {
        join_all(self.connections.values().map(|connection| connection.close())).await;
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("MCP calls still under way at closing");
        }
    }

    fn connection(&self, server: &str) -> Result<&Arc<Connection>, CallError> {
        self.connections.get(server).ok_or_else(|| CallError::UnknownServer(server.to_owned()))
    }
}
