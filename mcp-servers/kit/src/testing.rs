//! For the tests of the servers: temporary workspaces, tokens, a started server, a real client.
//!
//! Everything goes over real HTTP. Faults of the set-up end the test by `unwrap`-like panics, which is
//! why the module exists under the feature `testing` only.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test harness fails loudly")]

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::Router;
use rmcp::{
    ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, CallToolResult, ProtocolVersion, RequestMetaObject, Tool},
    service::{ClientLifecycleMode, RunningService, ServiceError},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;
use uuid::Uuid;

use crate::{
    context::STEP_META_KEY,
    host::{Host, Options, serve},
    server::ToolServer,
    token::{BACKEND_AUDIENCE, Claims, ISSUER, TokenSigner, TokenVerifier, audience},
    trace::TRACE_META_KEY,
};

/// A project, a run and an agent with an empty worktree, and the key that signs for them.
#[derive(Debug)]
pub struct Bench {
    /// Signs the tokens that the started servers accept.
    pub signer: TokenSigner,
    /// The project of [`Bench::claims`].
    pub project: Uuid,
    /// The agent instance of [`Bench::claims`].
    pub agent: Uuid,
    /// The run of [`Bench::claims`].
    pub run: Uuid,
    /// The branch of [`Bench::claims`].
    pub branch: Option<String>,
    /// Where the backend answers; set it before [`Bench::start`].
    pub backend_url: Option<Url>,
    workspaces: TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// Makes the directory `<workspaces>/<project>/<run>` in a temporary place.
    pub fn new() -> Self {
        let bench = Self {
            signer: TokenSigner::from_seed([7; 32]).unwrap(),
            project: Uuid::from_u128(0xA),
            agent: Uuid::from_u128(0xB),
            run: Uuid::from_u128(0xC),
            branch: None,
            backend_url: None,
            workspaces: TempDir::new().unwrap(),
        };
        std::fs::create_dir_all(bench.worktree()).unwrap();
        bench
    }

    /// The run's worktree.
    pub fn worktree(&self) -> PathBuf {
        self.workspaces().join(self.project.to_string()).join(self.run.to_string())
    }

    /// The directory of all worktrees.
    pub fn workspaces(&self) -> PathBuf {
        self.workspaces.path().canonicalize().unwrap()
    }

    /// The claims of a token for `server` (and the backend) with `caps` like `git:write`, valid five minutes.
    pub fn claims(&self, server: &str, caps: &[&str]) -> Claims {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Claims {
            iss: ISSUER.to_owned(),
            aud: vec![audience(server), BACKEND_AUDIENCE.to_owned()],
            sub: self.agent,
            project: self.project,
            run: self.run,
            caps: caps.iter().map(ToString::to_string).collect(),
            branch: self.branch.clone(),
            exp: now + 300,
            iat: now,
            jti: Uuid::from_u128(0xD),
        }
    }

    /// A signed token with [`Bench::claims`].
    pub fn token(&self, server: &str, caps: &[&str]) -> String {
        self.signer.sign(&self.claims(server, caps)).unwrap()
    }

    /// A host over the bench's workspaces and key.
    pub fn host(&self) -> Host {
        self.host_with(Options::default())
    }

    /// A host with other limits.
    pub fn host_with(&self, options: Options) -> Host {
        let verifier = TokenVerifier::from_pem(&self.signer.public_pem().unwrap()).unwrap();
        let options =
            Options { workspaces: Some(self.workspaces()), backend_url: self.backend_url.clone(), ..options };
        Host::new(verifier, options).unwrap()
    }

    /// Mounts `server` and serves it on a free port of the loopback.
    pub async fn start<S: Clone + Send + Sync + 'static>(&self, server: ToolServer<S>) -> Started {
        let name = server.name();
        Started::new(name, server.mount(&self.host())).await
    }

    /// A connected client with `caps` on `server`, in the current era of the protocol.
    pub async fn client(&self, server: &Started, caps: &[&str]) -> Client {
        self.client_with(server, &self.token(server.name, caps), Era::Modern).await.unwrap()
    }

    /// A client with any token, in any era; fails when the handshake is refused.
    pub async fn client_with(&self, server: &Started, token: &str, era: Era) -> Result<Client, String> {
        self.connect(&server.url, token, era).await
    }

    /// A client of a server that somebody else has started.
    pub async fn client_at(&self, url: &str, token: &str) -> Result<Client, String> {
        self.connect(url, token, Era::Modern).await
    }

    async fn connect(&self, url: &str, token: &str, era: Era) -> Result<Client, String> {
        let config =
            StreamableHttpClientTransportConfig::with_uri(url.to_owned()).auth_header(token.to_owned());
        let http = crate::backend::http_client().unwrap();
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let lifecycle = match era {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Modern => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
        };
        let service = ().serve_with_lifecycle(transport, lifecycle).await.map_err(|e| format!("{e:?}"))?;
        // Loads the schemas: the client needs them to mirror arguments into headers.
        service.list_all_tools().await.map_err(|e| format!("{e:?}"))?;
        Ok(Client { service, project: self.project, agent: self.agent })
    }
}

/// Which generation of the protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28 and later: no handshake, no session.
    Modern,
    /// 2025-11-25 and before.
    Legacy,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Started {
    /// Its MCP address.
    pub url: String,
    /// `http://127.0.0.1:<port>`.
    pub base: String,
    name: &'static str,
    shutdown: CancellationToken,
    _guard: DropGuard,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl Started {
    /// Serves any router; `name` makes [`Started::url`].
    pub async fn new(name: &'static str, router: Router) -> Self {
        Self::on(name, router, "127.0.0.1:0").await
    }

    /// Serves on a given address, e.g. where another server has just stopped.
    #[expect(clippy::disallowed_methods, reason = "the handle is awaited by `stop`")]
    pub async fn on(name: &'static str, router: Router, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, shutdown.clone()));
        let url = format!("{base}/mcp/{name}");
        Self { url, base, name, _guard: shutdown.clone().drop_guard(), shutdown, task: Some(task) }
    }

    /// Stops and waits until the port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap().unwrap();
        }
    }
}

/// A real MCP client that gives the bench's project and agent with every call.
#[derive(Debug)]
pub struct Client {
    /// The rmcp client underneath.
    pub service: RunningService<RoleClient, ()>,
    project: Uuid,
    agent: Uuid,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Whether the tool said no.
    pub is_error: bool,
    /// The text copy, or the sentence of the failure.
    pub text: String,
    /// The structured content.
    pub value: Value,
}

impl Client {
    /// Calls a tool; panics when the call itself is refused.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.try_call(tool, arguments, None).await.unwrap()
    }

    /// Calls a tool and expects success; the structured content.
    pub async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert!(!answer.is_error, "{tool}: {}", answer.text);
        answer.value
    }

    /// Calls a tool and expects it to say no; the sentence.
    pub async fn fails(&self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        assert!(answer.is_error, "{tool}: {}", answer.text);
        answer.text
    }

    /// Calls a tool, with a step id when given.
    pub async fn try_call(
        &self,
        tool: &str,
        arguments: Value,
        step: Option<&str>,
    ) -> Result<Answer, ServiceError> {
        self.send(tool, arguments, step.map(|step| (STEP_META_KEY, json!(step)))).await
    }

    /// Asks a tool whether the step took effect.
    pub async fn trace(&self, tool: &str, arguments: Value, step: &str) -> Result<Value, ServiceError> {
        let meta = [(STEP_META_KEY, json!(step)), (TRACE_META_KEY, json!(true))];
        let answer = self.send(tool, arguments, meta).await?;
        assert!(!answer.is_error, "{tool}: {}", answer.text);
        Ok(answer.value)
    }

    async fn send(
        &self,
        tool: &str,
        mut arguments: Value,
        meta: impl IntoIterator<Item = (&str, Value)>,
    ) -> Result<Answer, ServiceError> {
        let object = arguments.as_object_mut().unwrap();
        object.entry("project_id").or_insert(json!(self.project));
        object.entry("agent_id").or_insert(json!(self.agent));
        let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(object.clone());
        for (key, value) in meta {
            params.meta.get_or_insert_with(RequestMetaObject::new).insert(key.to_owned(), value);
        }
        self.service.call_tool(params).await.map(Answer::from)
    }

    /// The tools this token may see.
    pub async fn tools(&self) -> Vec<Tool> {
        self.service.list_all_tools().await.unwrap()
    }
}

impl From<CallToolResult> for Answer {
    fn from(result: CallToolResult) -> Self {
        let text = result.content.iter().filter_map(|c| c.as_text().map(|t| t.text.clone())).collect();
        let value = result.structured_content.unwrap_or(Value::Null);
        Self { is_error: result.is_error == Some(true), text, value }
    }
}

/// The published list as JSON, and fails the test when it is over the budget of 8 kB.
pub fn tool_list_within_budget<S: Clone + Send + Sync + 'static>(server: &ToolServer<S>) -> String {
    let tools = server.published_tools();
    let size = serde_json::to_vec(&tools).unwrap().len();
    assert!(size <= 8_000, "tools/list of {} is {size} bytes, 8000 are allowed", server.name());
    serde_json::to_string_pretty(&tools).unwrap()
}
