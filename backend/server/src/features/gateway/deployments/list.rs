//! `GET /projects/{project_id}/gateway/deployments`.

use super::queries::{self, Failed, Measured};
use crate::{
    db::Error,
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{Json, extract::State};
use chrono::TimeDelta;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use syndarix_domain::Timestamp;
use syndarix_llm::{BreakerState, Deployment, ModelGroup, ProviderKind, Routing};
use utoipa::ToSchema;

/// How far back figures go, in seconds.
const WINDOW: i64 = 3_600;
/// The most attempts that figures are made of: pages ask again and again, and of a project with more calls these are
/// enough.
const MOST: i64 = 10_000;

/// The model groups, and how their deployments are doing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GatewayHealth {
    /// By name.
    groups: Vec<GatewayGroup>,
    /// Every deployment that a group names, once.
    deployments: Vec<GatewayDeployment>,
    /// How far back the figures go, in seconds.
    window_seconds: i64,
    /// The most attempts that the figures are made of, the newest: with more of them they go less far back.
    window_attempts: i64,
}

/// A name to ask for.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayGroup {
    name: String,
    /// Who is asked first: `order`, `weighted`, `least_latency` or `least_cost`.
    #[schema(value_type = String)]
    routing: Routing,
    /// The others follow in this order.
    chain: Vec<GatewayLink>,
    /// After how many milliseconds without any content a second deployment is asked as well; null: never.
    hedge_after_ms: Option<u64>,
    /// The group that is asked instead once a budget has reached its soft limit, or would not pay for it.
    cheaper: Option<String>,
}

/// A deployment's place in a group.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayLink {
    /// Its name.
    deployment: String,
    /// Its share of the calls of a `weighted` group, against the others' weights.
    weight: u32,
}

/// One model at one provider.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayDeployment {
    name: String,
    /// Whose model it is.
    provider: String,
    /// Its name there.
    model: String,
    /// Tokens that prompt and answer may have together.
    context_window: u32,
    /// Tokens that an answer may have.
    max_output: u32,
    /// Whether its price is known; otherwise calls are charged at the dearest rates that are.
    price_known: bool,
    /// A scripted stand-in: what it would cost is shown apart from real money.
    simulated: bool,
    breaker: BreakerView,
    recent: Recent,
    /// The last failure of this project's calls, however long ago.
    last_error: Option<LastError>,
}

/// Whether the process that answers here asks the deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GatewayBreaker)]
struct BreakerView {
    /// `closed`: it is asked. `open`: it failed too often and is left alone. `half_open`: the next call tries it.
    state: &'static str,
    /// Until when it is left alone.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// What this project's calls of the last hour say.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = GatewayRecent)]
struct Recent {
    /// Attempts that came to an end and that no caller went away from.
    requests: i64,
    /// Those of them that failed.
    failures: i64,
    /// Of answers, from sending to the end; null when there was none.
    latency_p50_ms: Option<i64>,
    latency_p95_ms: Option<i64>,
    /// Of answers, from sending to the first content.
    first_content_p50_ms: Option<i64>,
}

/// A failure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GatewayFailure)]
struct LastError {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `rate_limited`, `overloaded`, `server_error`, `timeout`, `connection`, `context_too_long`, `bad_request`,
    /// `not_found`, `auth`, `malformed` or `too_large`.
    kind: String,
    /// The provider's words, or ours.
    message: String,
}

/// The model groups with their deployments, and how these are doing: whether they are asked, and what this project's
/// calls of the last hour say. Nothing of how a provider is asked.
#[utoipa::path(get, path = "/projects/{project_id}/gateway/deployments", operation_id = "list_gateway_deployments",
    tag = "gateway", params(("project_id" = String, Path, description = "The project")),
    responses((status = 200, description = "Groups and deployments", body = GatewayHealth)))]
pub(super) async fn list(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<GatewayHealth>, ApiError> {
    let groups = app.gateway.groups_of(&app, scope.project()).await?;
    let mut known: BTreeMap<&str, &Deployment> = BTreeMap::new();
    for deployment in groups.iter().flat_map(|group| &group.chain) {
        known.entry(&deployment.name).or_insert(deployment);
    }
    let names: Vec<&str> = known.keys().copied().collect();
    let since = app.clock().now() - TimeDelta::seconds(WINDOW);
    let mut measured =
        queries::measured(app.pool(), scope.project(), (since, MOST)).await.map_err(Error::from)?;
    let mut failed =
        queries::last_failures(app.pool(), scope.project(), &names).await.map_err(Error::from)?;
    let views = known.values().map(|deployment| view(&app, deployment, &mut measured, &mut failed));
    Ok(Json(GatewayHealth {
        deployments: views.collect(),
        groups: groups.iter().map(GatewayGroup::from).collect(),
        window_seconds: WINDOW,
        window_attempts: MOST,
    }))
}

fn view(
    app: &App,
    deployment: &Deployment,
    measured: &mut HashMap<String, Measured>,
    failed: &mut HashMap<String, Failed>,
) -> GatewayDeployment {
    let name = &deployment.name;
    let last = failed.remove(name);
    GatewayDeployment {
        name: name.clone(),
        provider: deployment.vendor().to_owned(),
        model: deployment.model.clone(),
        context_window: deployment.context_window,
        max_output: deployment.max_output,
        price_known: !app.models.gateway.price(deployment, 0).is_unknown(),
        simulated: deployment.provider == ProviderKind::Scripted,
        breaker: breaker(app, deployment),
        recent: measured.remove(name).map(Recent::from).unwrap_or_default(),
        last_error: last.map(|last| LastError { at: last.at, kind: last.kind, message: last.message }),
    }
}

fn breaker(app: &App, deployment: &Deployment) -> BreakerView {
    let (state, remaining) = match app.models.gateway.breaker_state(deployment) {
        BreakerState::Closed => ("closed", None),
        BreakerState::Open { remaining } => ("open", Some(remaining)),
        BreakerState::HalfOpen => ("half_open", None),
    };
    let until = remaining.and_then(|wait| Some(app.clock().now() + TimeDelta::from_std(wait).ok()?));
    BreakerView { state, until }
}

impl From<&ModelGroup> for GatewayGroup {
    fn from(group: &ModelGroup) -> Self {
        let link = |one: &Deployment| GatewayLink { deployment: one.name.clone(), weight: one.weight };
        Self {
            name: group.name.clone(),
            routing: group.routing,
            chain: group.chain.iter().map(link).collect(),
            hedge_after_ms: group.hedge_after_ms,
            cheaper: group.cheaper.clone(),
        }
    }
}

impl From<Measured> for Recent {
    fn from(measured: Measured) -> Self {
        Self {
            requests: measured.requests,
            failures: measured.failures,
            latency_p50_ms: measured.latency_p50_ms,
            latency_p95_ms: measured.latency_p95_ms,
            first_content_p50_ms: measured.first_content_p50_ms,
        }
    }
}
