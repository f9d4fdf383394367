//! A server as a list of tools: what each is called, needs and does.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rmcp::model::{JsonObject, MetaObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    bound::DEFAULT_MAX_RESULT_BYTES,
    context::ProjectCtx,
    failure::ToolFailure,
    schema::{input_schema, output_schema},
    token::Access,
    trace::{RECOVERY_META_KEY, Trace},
};

/// How long a tool may take unless it says otherwise.
pub const DEFAULT_TOOL_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known about a tool besides its arguments and its code.
#[derive(Debug, Clone)]
pub struct ToolSpec {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) access: Access,
    pub(crate) destructive: bool,
    pub(crate) idempotent: bool,
    pub(crate) open_world: bool,
    pub(crate) timeout: Duration,
    pub(crate) max_result_bytes: usize,
}

impl ToolSpec {
    /// A tool that only looks. The description is read by models: one or two sentences.
    pub fn read(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            description,
            access: Access::Read,
            destructive: false,
            idempotent: true,
            open_world: false,
            timeout: DEFAULT_TOOL_TIMEOUT,
            max_result_bytes: DEFAULT_MAX_RESULT_BYTES,
        }
    }

    /// A tool that changes something, adding only: not destructive, not idempotent.
    pub fn write(name: &'static str, description: &'static str) -> Self {
        Self { access: Access::Write, idempotent: false, ..Self::read(name, description) }
    }

    /// It may overwrite or remove what was there.
    #[must_use]
    pub fn destructive(mut self) -> Self {
        self.destructive = true;
        self
    }

    /// The same call twice has the effect of one.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// It reaches things outside Syndarix.
    #[must_use]
    pub fn open_world(mut self) -> Self {
        self.open_world = true;
        self
    }

    /// How long it may take, instead of [`DEFAULT_TOOL_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How much it may answer, in bytes of JSON, instead of [`DEFAULT_MAX_RESULT_BYTES`].
    #[must_use]
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = bytes;
        self
    }

    fn describe(&self, input: JsonObject, output: Option<JsonObject>) -> Tool {
        let mut tool = Tool::new(self.name, self.description, input);
        tool.output_schema = output.map(Arc::new);
        let hints = ToolAnnotations::new().read_only(self.access == Access::Read);
        let hints = hints.destructive(self.destructive).idempotent(self.idempotent);
        tool.annotations = Some(hints.open_world(self.open_world));
        tool
    }
}

pub(crate) type Run =
    dyn Fn(ProjectCtx, JsonObject) -> BoxFuture<'static, Result<Value, ToolFailure>> + Send + Sync;

/// One registered tool.
pub(crate) struct Entry {
    pub(crate) spec: ToolSpec,
    pub(crate) tool: Tool,
    pub(crate) run: Box<Run>,
    /// Looks whether the step took effect, where the tool can tell.
    pub(crate) look: Option<Box<Run>>,
}

/// A server's tools over a shared state `S` (`()` when there is none).
pub struct ToolServer<S> {
    pub(crate) name: &'static str,
    pub(crate) instructions: &'static str,
    pub(crate) version: &'static str,
    pub(crate) tools: BTreeMap<&'static str, Entry>,
    state: S,
}

impl<S> std::fmt::Debug for ToolServer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolServer")
            .field("name", &self.name)
            .field("tools", &self.tools.keys())
            .finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> ToolServer<S> {
    /// A server without tools yet. `name` is its capability prefix, audience and URL path.
    pub fn new(name: &'static str, instructions: &'static str, state: S) -> Self {
        Self { name, instructions, version: env!("CARGO_PKG_VERSION"), tools: BTreeMap::new(), state }
    }

    /// Adds a tool: an `async fn(S, ProjectCtx, A) -> Result<O, ToolFailure>`.
    ///
    /// `A` must derive `serde::Deserialize` with `deny_unknown_fields` and `JsonSchema`; it does not
    /// hold `project_id` and `agent_id`, which the kit adds, checks and takes away. `O` must serialise
    /// to an object.
    #[must_use]
    pub fn tool<A, O, F, Fut>(self, spec: ToolSpec, run: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + 'static,
        F: Fn(S, ProjectCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ToolFailure>> + Send + 'static,
    {
        self.add::<A, O, F, Fut>(spec, None, run)
    }

    /// Like [`ToolServer::tool`], and publishes the schema of `O` (which costs bytes of the tool list).
    #[must_use]
    pub fn tool_with_output<A, O, F, Fut>(self, spec: ToolSpec, run: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + 'static,
        F: Fn(S, ProjectCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ToolFailure>> + Send + 'static,
    {
        self.add::<A, O, F, Fut>(spec, Some(output_schema::<O>()), run)
    }

    fn add<A, O, F, Fut>(mut self, spec: ToolSpec, output: Option<JsonObject>, run: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + 'static,
        F: Fn(S, ProjectCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ToolFailure>> + Send + 'static,
    {
        let tool = spec.describe(input_schema::<A>(), output);
        let run = boxed(self.state.clone(), run);
        self.tools.insert(spec.name, Entry { tool, run, spec, look: None });
        self
    }

    /// Lets the backend ask whether a step's call of the tool `name` took effect, when it does not know: the process
    /// died, or the answer was lost. `look` gets the call's own arguments and step key, changes nothing, and says
    /// [`Trace::Unclear`] where it cannot be sure. The tool's definition says that it can be asked.
    #[must_use]
    pub fn traced<A, O, F, Fut>(mut self, name: &str, look: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(S, ProjectCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Trace<O>, ToolFailure>> + Send + 'static,
    {
        debug_assert!(self.tools.contains_key(name), "no tool is called {name}");
        let look = boxed(self.state.clone(), look);
        if let Some(entry) = self.tools.get_mut(name) {
            entry.look = Some(look);
            let meta = [(RECOVERY_META_KEY.to_owned(), Value::from("trace"))];
            entry.tool.meta = Some(MetaObject(meta.into_iter().collect()));
        }
        self
    }

    /// How an interrupted call of each tool is resolved: `repeat`, `trace` or `human`, as the published definitions say.
    pub fn recoveries(&self) -> BTreeMap<&'static str, &'static str> {
        let of = |entry: &Entry| match &entry.look {
            Some(_) => "trace",
            None if entry.spec.idempotent => "repeat",
            None => "human",
        };
        self.tools.iter().map(|(name, entry)| (*name, of(entry))).collect()
    }

    /// The server's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All tools as they are published, by name; for golden tests and budgets.
    pub fn published_tools(&self) -> Vec<Tool> {
        self.tools.values().map(|entry| entry.tool.clone()).collect()
    }
}

fn boxed<S, A, O, F, Fut>(state: S, run: F) -> Box<Run>
where
    S: Clone + Send + Sync + 'static,
    A: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
    F: Fn(S, ProjectCtx, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, ToolFailure>> + Send + 'static,
{
    let run = Arc::new(run);
    Box::new(move |ctx: ProjectCtx, arguments: JsonObject| -> BoxFuture<'static, _> {
        let (state, run) = (state.clone(), Arc::clone(&run));
        Box::pin(async move {
            let arguments: A = serde_json::from_value(Value::Object(arguments))
                .map_err(|fault| ToolFailure::invalid(format!("The arguments are wrong: {fault}.")))?;
            let output = run(state, ctx, arguments).await?;
            serde_json::to_value(output).map_err(|fault| ToolFailure::internal(&fault))
        })
    })
}
