//! Whom a bearer token speaks for.

use crate::{
    http::{ApiError, Caller, CallerKind},
    state::App,
};
use syndarix_domain::ids::{AgentId, ProjectId, RunId, UserId};

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
        Some(claims) => Ok(Caller {
            kind: CallerKind::Agent {
                agent: AgentId(claims.sub),
                project: ProjectId(claims.project),
                run: RunId(claims.run),
            },
        }),
        None => Err(ApiError::unauthenticated("the token is not valid or has expired: sign in again")),
    }
}
