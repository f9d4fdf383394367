//! Whom a bearer token speaks for.

use crate::{
    http::{ApiError, Caller, CallerKind},
    state::App,
};
use syndarix_domain::ids::{AgentId, ProjectId, RunId, UserId};
use syndarix_mcp_kit::Claims;

/// Finds out who a bearer token speaks for: a person, or an agent within its run.
pub async fn identify(app: &App, token: &str) -> Result<Caller, ApiError> {
    if let Some(claims) = app.keys.access(token) {
        let epoch: Option<i32> = sqlx::query_scalar("select token_epoch from app_user where id = $1")
            .bind(claims.sub)
            .fetch_optional(app.pool())
            .await?;
        return match epoch {
            Some(epoch) if epoch == claims.epoch => Ok(Caller { kind: CallerKind::User(UserId(claims.sub)) }),
            _ => Err(ApiError::unauthenticated("this sign-in was ended: sign in again")),
        };
    }
    match app.keys.agent(token) {
        Some(claims) if is_at_work(app, &claims).await? => Ok(Caller {
            kind: CallerKind::Agent {
                agent: AgentId(claims.sub),
                project: ProjectId(claims.project),
                run: RunId(claims.run),
                capabilities: claims.caps.into(),
            },
        }),
        Some(_) => Err(ApiError::unauthenticated("the agent's run is over, or the agent was stopped")),
        None => Err(ApiError::unauthenticated("the token is not valid or has expired: sign in again")),
    }
}

/// A service token is good for minutes, and its reason may end sooner.
async fn is_at_work(app: &App, claims: &Claims) -> Result<bool, ApiError> {
    let at_work = sqlx::query_scalar(
        "select exists (
            select 1 from run r join agent a on a.project_id = r.project_id
             where r.id = $1 and r.project_id = $2 and a.id = $3
               and r.phase not in ('succeeded', 'failed', 'stalled', 'cancelled')
               and a.status <> 'terminated'
               -- A paused agent ends the step that it is in.
               and (a.status <> 'paused' or r.phase = 'acting'))",
    )
    .bind(claims.run)
    .bind(claims.project)
    .bind(claims.sub)
    .fetch_one(app.pool())
    .await?;
    Ok(at_work)
}
