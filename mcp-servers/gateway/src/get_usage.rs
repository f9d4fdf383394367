//! `get_usage`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syndarix_mcp_kit::{BackendClient, ProjectCtx, ToolFailure};

/// Sums in one answer, at most.
const MAX_ROWS: usize = 50;
/// Budgets that are asked for at once, and how often: a project with more has stranger things to look at.
const BUDGETS_AT_ONCE: usize = 200;
const MAX_PAGES: usize = 10;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetUsage {
    /// What the project's spending is also summed up by, the dearest first.
    group_by: Option<GroupBy>,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GroupBy {
    Agent,
    Model,
    Day,
    Story,
    Key,
}

/// What was spent, in micro-USD.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Spent {
    #[serde(rename(serialize = "cost_micro_usd"))]
    total_micro_usd: i64,
    simulated_micro_usd: i64,
    tokens_in: i64,
    tokens_out: i64,
}

/// One sum.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    label: String,
    cost_micro_usd: i64,
    simulated_micro_usd: i64,
    calls: i64,
}

/// A budget that a call of this agent counts against.
#[derive(Debug, Serialize)]
struct Budget {
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    period: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_tokens: Option<i64>,
    /// When it begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
}

/// What the run and the project have spent, and what is left.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    run: Spent,
    project: Spent,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Row>,
    /// Hard limits only; without any nothing stops a call.
    budgets: Vec<Budget>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(flatten)]
    spent: Spent,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Node>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    scope: String,
    scope_id: String,
    name: Option<String>,
    period: String,
    hard_limit_micro_usd: Option<i64>,
    hard_limit_tokens: Option<i64>,
    ends_at: Option<String>,
    spent_micro_usd: i64,
    reserved_micro_usd: i64,
    simulated_micro_usd: i64,
    spent_tokens: i64,
    reserved_tokens: i64,
}

pub(crate) async fn get_usage((): (), ctx: ProjectCtx, args: GetUsage) -> Result<Used, ToolFailure> {
    let (backend, project) = (ctx.backend()?, ctx.project().to_string());
    let path = |below| ["api", "v1", "projects", project.as_str(), below];
    let of_run = [("run_id", ctx.run().to_string())];
    let run: Summary = backend.get(&path("usage"), &of_run).await?;
    let whole: Summary = backend.get(&path("usage"), &grouping(args.group_by)).await?;
    let nodes = nodes(&backend, &path("budgets")).await?;
    let (agent, own_run) = (ctx.agent().to_string(), ctx.run().to_string());
    let counts = |node: &Node| match node.scope.as_str() {
        "organisation" | "project" | "sprint" => true,
        "agent" => node.scope_id == agent,
        "run" => node.scope_id == own_run,
        _ => false,
    };
    let budgets = nodes.into_iter().filter(counts).filter_map(left).collect();
    let rows = if args.group_by.is_some() { dearest(whole.rows) } else { Vec::new() };
    Ok(Used { run: run.spent, project: whole.spent, rows, budgets })
}

async fn nodes(backend: &BackendClient, path: &[&str]) -> Result<Vec<Node>, ToolFailure> {
    let (mut nodes, mut cursor) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let mut query = vec![("limit", BUDGETS_AT_ONCE.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Page = backend.get(path, &query).await?;
        nodes.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(nodes)
}

fn grouping(by: Option<GroupBy>) -> Vec<(&'static str, String)> {
    let name = by.and_then(|by| serde_json::to_value(by).ok());
    name.as_ref().and_then(Value::as_str).map(|name| ("group_by", name.to_owned())).into_iter().collect()
}

fn dearest(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| std::cmp::Reverse(row.cost_micro_usd.saturating_add(row.simulated_micro_usd)));
    rows.truncate(MAX_ROWS);
    rows
}

/// What may still be used of a budget that stops calls.
fn left(node: Node) -> Option<Budget> {
    if node.hard_limit_micro_usd.is_none() && node.hard_limit_tokens.is_none() {
        return None;
    }
    let money = [node.spent_micro_usd, node.reserved_micro_usd, node.simulated_micro_usd];
    let tokens = [node.spent_tokens, node.reserved_tokens];
    let rest = |limit: Option<i64>, used: &[i64]| {
        limit.map(|limit| used.iter().fold(limit, |left, used| left.saturating_sub(*used)).max(0))
    };
    Some(Budget {
        left_micro_usd: rest(node.hard_limit_micro_usd, &money),
        left_tokens: rest(node.hard_limit_tokens, &tokens),
        scope: node.scope,
        name: node.name,
        period: node.period,
        ends_at: node.ends_at,
    })
}
