//! A served script, deployments of it, and hooks that write down what they see.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use serde_json::json;
use syndarix_llm::scripted::{self, Script};
use syndarix_llm::{
    AttemptHooks, AttemptIntent, AttemptOutcome, Block, BreakerPolicy, CallError, Cause, ChatRequest,
    Completion, Cost, Delta, Deployment, EndpointAccess, ErrorKind, Gateway, GatewayPolicy, Grant, Http,
    Message, ModelGroup, Options, PriceTable, ProviderError, ProviderKind, RecordFailed, Refused, Secret,
    Skipped, ToolSpec, Usage, http_client,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const KINDS: [ProviderKind; 3] =
    [ProviderKind::OpenAi, ProviderKind::OpenAiCompatible, ProviderKind::Anthropic];

/// A server that lives as long as this.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn scripted(script: &str) -> Self {
        let script = Script::from_toml(script).unwrap();
        let (listener, address) = listener().await;
        let mut task = JoinSet::new();
        task.spawn(async move { scripted::serve(listener, script).await.unwrap() });
        Self { address, _task: task }
    }

    pub(crate) async fn of(router: Router) -> Self {
        let (listener, address) = listener().await;
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _task: task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn deployment(&self, name: &str, kind: ProviderKind) -> Deployment {
        deployment(name, kind, &self.url("/v1"))
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address at which nobody listens.
pub(crate) async fn nowhere() -> String {
    let (_closed, address) = listener().await;
    format!("http://{address}/v1")
}

pub(crate) fn deployment(name: &str, kind: ProviderKind, base_url: &str) -> Deployment {
    Deployment {
        model: "scripted-test".to_owned(),
        api_key: Some(Secret::new("key-of-the-test")),
        context_window: 100_000,
        max_output: 4_000,
        accepts_temperature: true,
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(name, kind, base_url.parse().unwrap())
    }
}

pub(crate) fn group(chain: Vec<Deployment>) -> ModelGroup {
    ModelGroup::new("test", chain)
}

pub(crate) fn client() -> Http {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _already = rustls::crypto::ring::default_provider().install_default();
    });
    http_client().unwrap()
}

/// For what is asked without the gateway.
pub(crate) fn plain_client() -> reqwest::Client {
    let _tls = client();
    reqwest::Client::builder().build().unwrap()
}

/// Retries with pauses of a few milliseconds.
pub(crate) fn policy(retries: u32) -> GatewayPolicy {
    GatewayPolicy {
        retries,
        base_pause: Duration::from_millis(4),
        max_pause: Duration::from_secs(2),
        breaker: BreakerPolicy { failures: 20, cool_down: Duration::from_secs(5) },
    }
}

pub(crate) fn gateway(policy: GatewayPolicy) -> Gateway {
    gateway_over(client(), policy)
}

/// For tests with many gateways: a client reads all root certificates of the machine.
pub(crate) fn gateway_over(client: Http, policy: GatewayPolicy) -> Gateway {
    Gateway::new(client, PriceTable::embedded().unwrap(), policy)
}

pub(crate) fn request(text: &str) -> ChatRequest {
    ChatRequest {
        system: "You are the engineer. story id: S-7.".to_owned(),
        messages: vec![Message::user(text)],
        tools: ["git_branch", "git_commit"].map(tool).to_vec(),
        max_output_tokens: 500,
        temperature: Some(0.2),
        stop: vec!["END".to_owned()],
        options: Options::default(),
    }
}

pub(crate) fn tool(name: &str) -> ToolSpec {
    ToolSpec { name: name.into(), description: "does it".into(), input_schema: json!({"type": "object"}) }
}

/// What the hooks saw of one outcome.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) n: u32,
    pub(crate) error: Option<ProviderError>,
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
    pub(crate) simulated: bool,
    pub(crate) latency_ms: u64,
    pub(crate) first_content_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) refuse_from: Option<u32>,
    /// Deployments that there is no money for, and how long it takes to say so.
    pub(crate) too_dear: &'static [&'static str],
    pub(crate) said_after: Duration,
    /// It ends the chain, as a soft limit does.
    pub(crate) ends_the_chain: bool,
    /// The group that is asked instead where there is no money for any of the chain.
    pub(crate) cheaper: Option<Arc<ModelGroup>>,
    /// The answer limit that is granted, when not what is asked for.
    pub(crate) grant: Option<u32>,
    pub(crate) fail_to_record: bool,
    pub(crate) cancel_on_content: Option<CancellationToken>,
    pub(crate) reserved: Mutex<Vec<(u32, String, i64)>>,
    pub(crate) settled: Mutex<Vec<Settled>>,
    pub(crate) deltas: Mutex<Vec<Delta>>,
}

impl Hooks {
    pub(crate) fn settled(&self) -> Vec<Settled> {
        self.settled.lock().unwrap().clone()
    }

    pub(crate) fn reserved(&self) -> Vec<(u32, String, i64)> {
        self.reserved.lock().unwrap().clone()
    }

    pub(crate) fn deltas(&self) -> Vec<Delta> {
        self.deltas.lock().unwrap().clone()
    }
}

/// A deployment was passed over since there was no money for it.
pub(crate) fn too_dear(name: &str) -> Cause {
    let reason = format!("`{name}` costs too much");
    Cause::Skipped { deployment: name.into(), reason: Skipped::OverBudget { reason } }
}

/// The code of a refusal that others of the chain need not meet.
const TOO_DEAR: &str = "too_dear";

#[async_trait]
impl AttemptHooks for Hooks {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        if self.refuse_from.is_some_and(|n| intent.n >= n) {
            return Err(Refused {
                code: "budget_exceeded".into(),
                reason: "the sprint's budget is spent".into(),
            });
        }
        let name = intent.deployment.name.as_str();
        if self.too_dear.contains(&name) {
            tokio::time::sleep(self.said_after).await;
            return Err(Refused { code: TOO_DEAR.into(), reason: format!("`{name}` costs too much") });
        }
        let row = (intent.n, name.to_owned(), intent.worst_case_cost_micro_usd);
        self.reserved.lock().unwrap().push(row);
        let max_output_tokens = self.grant.unwrap_or(intent.max_output_tokens);
        Ok(Grant { max_output_tokens, trace: None })
    }

    fn passes_on(&self, refused: &Refused) -> bool {
        refused.code == TOO_DEAR && !self.ends_the_chain
    }

    fn instead(&self, refused: &Refused) -> Option<Arc<ModelGroup>> {
        self.cheaper.clone().filter(|_| refused.code == TOO_DEAR)
    }

    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        self.settled.lock().unwrap().push(Settled {
            n: outcome.n,
            error: outcome.result.err().cloned(),
            usage: outcome.usage,
            cost: outcome.cost,
            simulated: outcome.simulated,
            latency_ms: outcome.latency_ms,
            first_content_ms: outcome.first_content_ms,
        });
        if self.fail_to_record { Err(RecordFailed("the disk is full".into())) } else { Ok(()) }
    }

    async fn delta(&self, delta: &Delta) {
        self.deltas.lock().unwrap().push(delta.clone());
        if delta.is_content()
            && let Some(cancel) = &self.cancel_on_content
        {
            cancel.cancel();
        }
    }
}

/// One call of a chain with a fresh token.
pub(crate) async fn call(
    gateway: &Gateway,
    chain: Vec<Deployment>,
    request: &ChatRequest,
    hooks: &Hooks,
) -> Result<Completion, CallError> {
    gateway.complete(&group(chain), request, hooks, &CancellationToken::new()).await
}

/// The classes of all causes, in order; skipped ones as `None`.
pub(crate) fn kinds(error: &CallError) -> Vec<(String, Option<ErrorKind>)> {
    error
        .causes()
        .iter()
        .map(|cause| match cause {
            Cause::Failed { deployment, error, .. } => (deployment.clone(), Some(error.kind)),
            Cause::Skipped { deployment, .. } => (deployment.clone(), None),
        })
        .collect()
}

pub(crate) fn tool_use(block: &Block) -> (&str, &serde_json::Value) {
    let Block::ToolUse { name, input, .. } = block else { panic!("no tool call: {block:?}") };
    (name, input)
}
