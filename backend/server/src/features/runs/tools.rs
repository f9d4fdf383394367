//! The tools that a run may use: those of the MCP servers that its capabilities open, and the few that belong to
//! the run itself.

use super::{advance::Turn, brief::Brief, control};
use crate::features::auth::{Grant, KeysError};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use syndarix_domain::{ids::StepId, stage::StageName};
use syndarix_llm::ToolSpec;
use syndarix_mcp::{CallError, Catalogue, ToolCall, ToolInfo, ToolOutcome};
use uuid::Uuid;

/// Arguments that the platform fills in: the model neither sees nor chooses them.
const FILLED_IN: [&str; 2] = ["project_id", "agent_id"];
/// Where our servers find the idempotency key of a call.
const STEP_META: &str = "syndarix/step";
/// Where they find that it is only asked whether the step took effect.
const TRACE_META: &str = "syndarix/trace";
/// A project's whole test-suite may take ten minutes, after waiting for a free place for four.
const TEST_TIMEOUT: Duration = Duration::from_secs(16 * 60);

/// What a run can call.
pub(super) struct Toolbox {
    catalogue: Catalogue,
    grant: Grant,
}

/// Why there is no toolbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTools {
    #[error("a service token cannot be signed: {0}")]
    Token(#[from] KeysError),
    #[error("the MCP server {server} cannot list its tools: {error}")]
    Server { server: String, error: CallError },
}

impl Toolbox {
    /// Asks every server that the agent's capabilities open.
    /// With no `branch`, no branch can be made or moved with it.
    pub(super) async fn open(turn: &Turn, brief: &Brief, branch: Option<String>) -> Result<Self, NoTools> {
        let grant = Grant { caps: brief.definition.capabilities.clone(), branch };
        let wanted: BTreeSet<&str> =
            grant.caps.iter().filter_map(|cap| cap.split_once(':')).map(|(s, _)| s).collect();
        let known: Vec<&str> = turn.app.tools.servers().filter(|server| wanted.contains(server)).collect();
        let tokens: Vec<(&str, String)> = known
            .into_iter()
            .map(|server| Ok((server, token(turn, server, &grant)?)))
            .collect::<Result<_, KeysError>>()?;
        let borrowed: Vec<(&str, &str)> =
            tokens.iter().map(|(server, token)| (*server, token.as_str())).collect();
        let (catalogue, failures) = turn.app.tools.catalogue(&borrowed).await;
        if let Some((server, error)) = failures.into_iter().next() {
            return Err(NoTools::Server { server, error });
        }
        let testing = turn.run.stage == StageName::Testing;
        let offered = catalogue.iter().map(|(_, tool)| tool.clone());
        let offered = offered.filter(|tool| !testing || is_left_to_testers(tool)).collect();
        Ok(Self { catalogue: Catalogue::new(offered), grant })
    }

    /// As offered to the model.
    pub(super) fn specs(&self, turn: &Turn) -> Vec<ToolSpec> {
        let outside = self.catalogue.iter().map(|(name, tool)| ToolSpec {
            name: name.to_owned(),
            description: tool.description.clone(),
            input_schema: without_filled_in(&tool.input_schema),
        });
        outside.chain(control::specs(turn.run.stage)).collect()
    }

    /// The tool that the model means; else a sentence for the model.
    pub(super) fn route(&self, name: &str) -> Result<&ToolInfo, String> {
        self.catalogue.route(name).map_err(|error| error.to_string())
    }

    /// Calls a tool for this step. The step's id is the idempotency key.
    pub(super) async fn call(
        &self,
        turn: &Turn,
        tool: &ToolInfo,
        input: &Value,
        step: StepId,
    ) -> Result<ToolOutcome, CallError> {
        if turn.run.stage == StageName::Testing && is_test_run(tool) {
            // A pass counts for the merged commit, so exactly that is what is tested.
            let renewed = super::worktree::renew(turn).await;
            renewed.map_err(|error| CallError::Refused(error.to_string()))?;
        }
        let mut call = prepared(turn, tool, input, step);
        call.timeout = match tool.server.as_str() {
            "cicd" => Some(TEST_TIMEOUT),
            syndarix_mcp_gateway::NAME => Some(syndarix_mcp_gateway::PATIENCE),
            _ => None,
        };
        self.send(turn, tool, call).await
    }

    /// Asks a tool whether this step took effect; changes nothing.
    pub(super) async fn trace(
        &self,
        turn: &Turn,
        tool: &ToolInfo,
        input: &Value,
        step: StepId,
    ) -> Result<ToolOutcome, CallError> {
        let mut call = prepared(turn, tool, input, step);
        call.meta.insert(TRACE_META.into(), true.into());
        self.send(turn, tool, call).await
    }

    async fn send(&self, turn: &Turn, tool: &ToolInfo, call: ToolCall) -> Result<ToolOutcome, CallError> {
        let token =
            token(turn, &tool.server, &self.grant).map_err(|error| CallError::Refused(error.to_string()))?;
        turn.app.tools.call(call, &token, &turn.cancel).await
    }
}

fn prepared(turn: &Turn, tool: &ToolInfo, input: &Value, step: StepId) -> ToolCall {
    let mut arguments = input.as_object().cloned().unwrap_or_default();
    arguments.insert(FILLED_IN[0].into(), turn.project.to_string().into());
    arguments.insert(FILLED_IN[1].into(), turn.run.agent.to_string().into());
    let mut call = ToolCall::new(&tool.server, &tool.name, arguments);
    call.meta.insert(STEP_META.into(), step.to_string().into());
    call
}

fn is_test_run(tool: &ToolInfo) -> bool {
    tool.server == "cicd" && tool.name == "run_tests"
}

/// Nothing that could change what is tested, while it is.
fn is_left_to_testers(tool: &ToolInfo) -> bool {
    let in_worktree = matches!(tool.server.as_str(), "filesystem" | "git" | "cicd");
    tool.read_only || !in_worktree || is_test_run(tool)
}

fn token(turn: &Turn, server: &str, grant: &Grant) -> Result<String, KeysError> {
    let scope = (turn.project, turn.run.id);
    let id: Uuid = turn.app.store.new_id();
    // Only what this server is for: it can call the backend with the token.
    let own = grant.caps.iter().filter(|cap| cap.split_once(':').is_some_and(|(name, _)| name == server));
    let own = Grant { caps: own.cloned().collect(), branch: grant.branch.clone() };
    turn.app.keys.sign_service(server, turn.run.agent, scope, own, id)
}

fn without_filled_in(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for name in FILLED_IN {
            properties.remove(name);
        }
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !FILLED_IN.iter().any(|filled| name == filled));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use syndarix_mcp::Recovery;

    #[test]
    fn testers_run_the_tests_and_change_nothing_that_is_tested() {
        let tool = |server: &str, name: &str, read_only| ToolInfo {
            server: server.into(),
            name: name.into(),
            description: String::new(),
            input_schema: Value::Null,
            read_only,
            destructive: false,
            idempotent: false,
            recovery: Recovery::Human,
            hash: String::new(),
        };
        for left in [
            tool("cicd", "run_tests", false),
            tool("filesystem", "read_file", true),
            tool("git", "log", true),
            tool("issues", "create_issue", false),
        ] {
            assert!(is_left_to_testers(&left), "{}", left.name);
        }
        for taken in [
            tool("cicd", "run_command", false),
            tool("filesystem", "write_file", false),
            tool("git", "checkout", false),
        ] {
            assert!(!is_left_to_testers(&taken), "{}", taken.name);
        }
    }
}
