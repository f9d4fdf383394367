//! The one path of every call: token, capability, scope, arguments, run, bound, log.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicU32},
    time::Instant,
};

use futures::FutureExt;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
        Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    bound::bound_value,
    context::{ProjectCtx, STEP_META_KEY},
    failure::{FailureCode, ToolFailure},
    host::Host,
    schema::{AGENT_ARGUMENT, PROJECT_ARGUMENT},
    server::{Entry, Run, ToolServer},
    shape::shape,
    token::{Bearer, Claims},
    trace::TRACE_META_KEY,
};

/// JSON-RPC code of a call that the token does not allow: another project, or a missing capability.
pub const SCOPE_REFUSED: ErrorCode = ErrorCode(-32090);
/// Longest idempotency key that is accepted, in bytes.
const MAX_STEP_KEY_BYTES: usize = 128;

/// The verified caller of a request, put there by the HTTP layer.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) claims: Arc<Claims>,
    pub(crate) bearer: Bearer,
}

/// A mounted server.
pub(crate) struct Handler<S> {
    server: Arc<ToolServer<S>>,
    host: Host,
}

impl<S> Clone for Handler<S> {
    fn clone(&self) -> Self {
        Self { server: Arc::clone(&self.server), host: self.host.clone() }
    }
}

impl<S> Handler<S> {
    pub(crate) fn new(server: ToolServer<S>, host: Host) -> Self {
        Self { server: Arc::new(server), host }
    }
}

impl<S: Clone + Send + Sync + 'static> ServerHandler for Handler<S> {
    fn get_info(&self) -> ServerConfig {
        // Prompts and resources are declared though empty: rmcp answers their lists in any case, and
        // answering what is not declared is a fault in the conformance suite.
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(
                format!("syndarix-{}", self.server.name),
                self.server.version,
            ))
            .with_instructions(self.server.instructions)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let allowed = |entry: &&Entry| caller.claims.allows(self.server.name, entry.spec.access);
        let tools = self.server.tools.values().filter(allowed).map(|e| e.tool.clone()).collect();
        let result = ListToolsResult::with_all_items(tools);
        let modern = context.protocol_version().is_some_and(|v| v >= ProtocolVersion::V_2026_07_28);
        // The list depends on the token: never to be shared between callers.
        Ok(if modern { result.with_ttl_ms(0).with_cache_scope(CacheScope::Private) } else { result })
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.server.tools.get(name).map(|entry| entry.tool.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let started = Instant::now();
        let caller = caller(&context)?;
        let arguments = request.arguments.unwrap_or_default();
        let shape = shape(&arguments);
        let outcome = self.run(&request.name, arguments, &caller, context).await;
        let (outcome_name, response) = match outcome {
            Ok(value) => ("ok", Ok(CallToolResult::structured(value).into())),
            Err(Refusal::Failed(failure)) => (failure.code().as_str(), Ok(failed(&failure))),
            Err(Refusal::Refused(error)) => ("refused", Err(error)),
        };
        tracing::info!(
            target: "syndarix::tool_call",
            server = self.server.name,
            tool = %request.name,
            project = %caller.claims.project,
            agent = %caller.claims.sub,
            run = %caller.claims.run,
            token = %caller.claims.jti,
            outcome = outcome_name,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            arguments = %shape,
            "tool call"
        );
        response
    }
}

enum Refusal {
    /// The model can act on it.
    Failed(ToolFailure),
    /// The token or the protocol forbids it.
    Refused(ErrorData),
}

impl From<ToolFailure> for Refusal {
    fn from(failure: ToolFailure) -> Self {
        Self::Failed(failure)
    }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::Refused(ErrorData::new(SCOPE_REFUSED, message.into(), None))
}

impl<S> Handler<S> {
    async fn run(
        &self,
        name: &str,
        mut arguments: JsonObject,
        caller: &Caller,
        context: RequestContext<RoleServer>,
    ) -> Result<Value, Refusal> {
        let Some(entry) = self.server.tools.get(name) else {
            return Err(Refusal::Refused(ErrorData::invalid_params("there is no such tool", None)));
        };
        let access = entry.spec.access;
        if !caller.claims.allows(self.server.name, access) {
            let (server, access) = (self.server.name, access.as_str());
            return Err(refused(format!("insufficient_scope: the token lacks {server}:{access}")));
        }
        check_scope(&mut arguments, PROJECT_ARGUMENT, caller.claims.project)?;
        check_scope(&mut arguments, AGENT_ARGUMENT, caller.claims.sub)?;
        refuse_unknown(entry, &arguments)?;
        let ctx = self.context(caller, &context)?;
        let run = wanted(entry, &context)?;
        let cancelled = ctx.cancel.clone();
        // However this future ends, blocking work it has started sees that it is over.
        let _over = cancelled.clone().drop_guard();
        let limit = entry.spec.timeout;
        let work = AssertUnwindSafe(run(ctx, arguments)).catch_unwind();
        let mut value = tokio::select! {
            done = work => done.unwrap_or_else(|_| Err(ToolFailure::internal(&"the tool panicked")))?,
            () = tokio::time::sleep(limit) => return Err(timed_out(limit.as_secs_f64()).into()),
            () = cancelled.cancelled() => {
                return Err(ToolFailure::new(FailureCode::Cancelled, "The call was cancelled.").into());
            }
        };
        if !value.is_object() {
            value = serde_json::json!({ "result": value });
        }
        bound_value(&mut value, entry.spec.max_result_bytes);
        Ok(value)
    }

    fn context(&self, caller: &Caller, context: &RequestContext<RoleServer>) -> Result<ProjectCtx, Refusal> {
        let step_key = match context.meta.get(STEP_META_KEY) {
            None => None,
            Some(Value::String(key)) if is_step_key(key) => Some(Arc::from(key.as_str())),
            Some(_) => {
                let message = format!("_meta[\"{STEP_META_KEY}\"] is not a step id");
                return Err(Refusal::Refused(ErrorData::invalid_params(message, None)));
            }
        };
        Ok(ProjectCtx {
            claims: Arc::clone(&caller.claims),
            bearer: caller.bearer.clone(),
            step_key,
            writes: Arc::new(AtomicU32::new(0)),
            cancel: context.ct.child_token(),
            host: self.host.clone(),
            progress: context.meta.get_progress_token().map(|token| (context.peer.clone(), token)),
        })
    }
}

/// What the call asks for: the tool's work, or only whether the step has done it already.
fn wanted<'e>(entry: &'e Entry, context: &RequestContext<RoleServer>) -> Result<&'e Run, Refusal> {
    let refused = |why: &str| {
        let message = format!("_meta[\"{TRACE_META_KEY}\"]: {why}");
        Refusal::Refused(ErrorData::invalid_params(message, None))
    };
    match context.meta.get(TRACE_META_KEY) {
        None | Some(Value::Bool(false)) => Ok(&*entry.run),
        Some(Value::Bool(true)) if !context.meta.contains_key(STEP_META_KEY) => {
            Err(refused("only a step can be asked about"))
        }
        Some(Value::Bool(true)) => entry.look.as_deref().ok_or_else(|| refused("this tool cannot tell")),
        Some(_) => Err(refused("true or false")),
    }
}

/// A key ends up in commit trailers and headers, so it must be plain.
fn is_step_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
    !key.is_empty() && key.len() <= MAX_STEP_KEY_BYTES && key.bytes().all(plain)
}

fn timed_out(seconds: f64) -> ToolFailure {
    ToolFailure::new(
        FailureCode::TimedOut,
        format!("The tool took longer than {seconds} s and was stopped; ask for less."),
    )
}

fn failed(failure: &ToolFailure) -> CallToolResponse {
    let mut result = CallToolResult::error(vec![ContentBlock::text(failure.message())]);
    result.structured_content = Some(failure.to_value());
    result.into()
}

/// Takes the argument away and compares it with the token, which is the authority.
fn check_scope(arguments: &mut JsonObject, name: &str, expected: Uuid) -> Result<(), Refusal> {
    let given = match arguments.remove(name) {
        Some(Value::String(text)) => Uuid::parse_str(&text).ok(),
        _ => None,
    };
    match given {
        Some(given) if given == expected => Ok(()),
        Some(_) => Err(refused(format!("{name} is not the one that the token was made for"))),
        None => {
            Err(ToolFailure::invalid(format!("`{name}` is missing or not a UUID; give your own.")).into())
        }
    }
}

fn refuse_unknown(entry: &Entry, arguments: &JsonObject) -> Result<(), ToolFailure> {
    let Some(known) = entry.tool.input_schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    let Some(unknown) = arguments.keys().find(|name| !known.contains_key(*name)) else { return Ok(()) };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Err(ToolFailure::invalid(format!("There is no argument `{unknown}`; there are {}.", names.join(", "))))
}

fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<http::request::Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
    caller
        .cloned()
        .ok_or_else(|| ErrorData::new(SCOPE_REFUSED, "the request carries no verified token", None))
}
