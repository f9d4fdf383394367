//! `GET /projects/{project_id}/audit`: a project's entries, newest first, with the state of its chain.

use super::entries::{Page, page};
use crate::{
    features::workflow::AuthorView,
    http::{ApiError, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use syndarix_domain::{audit::GENESIS, ids::ProjectId};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Entries in one answer when nothing is said, and at most.
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of this type, or of this family: `approval.decided`, `approval`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub(super) event_type: Option<String>,
    /// By this kind of actor (agent, user, system), this id, or whose name holds this text.
    pub(super) actor: Option<String>,
    /// With this text in the action, or, letter by letter, in the data.
    pub(super) q: Option<String>,
    /// At most this many entries, 1 to 200; 50 when nothing is said.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    pub(super) cursor: Option<String>,
}

/// An entry of the audit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct EntryView {
    /// Its id; of an event the event's.
    pub(super) id: Uuid,
    /// Its place in the chain; null until it is sealed, a moment after it was written.
    pub(super) position: Option<i64>,
    /// When.
    pub(super) time: DateTime<Utc>,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub(super) event_type: String,
    /// The part of the product it comes from.
    pub(super) category: String,
    /// `info`, `warning` or `critical`.
    pub(super) severity: String,
    /// Who.
    pub(super) actor: AuthorView,
    /// In plain words.
    pub(super) action: String,
    /// Details; null when they were erased.
    pub(super) data: Value,
    /// The payload was erased; the chain stays whole.
    pub(super) erased: bool,
    /// The entry's link of the chain, in hex.
    pub(super) hash: Option<String>,
    /// The link before it, in hex.
    pub(super) previous_hash: Option<String>,
}

/// The state of a project's chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditChain)]
struct ChainView {
    /// The last sealed position.
    position: i64,
    /// Its hash, in hex.
    hash: String,
    /// When the chain was last checked here.
    verified_at: Option<DateTime<Utc>>,
    /// What that check found.
    verified_ok: Option<bool>,
    /// Every entry is sealed.
    sealed: bool,
}

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// Newest first.
    items: Vec<EntryView>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
    /// The state of the chain.
    chain: ChainView,
}

/// The audit of a project, newest first.
#[utoipa::path(get, path = "/projects/{project_id}/audit", operation_id = "list_audit", tag = "audit",
    params(("project_id" = Uuid, Path), Filter),
    responses(
        (status = 200, description = "A page of the audit", body = AuditPage),
        (status = 404, description = "No such project here"),
        (status = 422, description = "The limit or the cursor is not usable"),
    ))]
pub(super) async fn list_audit(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<AuditPage>, ApiError> {
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    let Page { items, next } = page(app.pool(), scope.project(), &filter, limit).await?;
    let chain = chain(app.pool(), scope.project()).await?;
    Ok(Json(AuditPage { items, next_cursor: next.map(|cursor| cursor.to_string()), chain }))
}

async fn chain(pool: &PgPool, project: ProjectId) -> Result<ChainView, sqlx::Error> {
    let head: Head = sqlx::query_as(
        "select s.position, s.hash, v.verified_at, v.ok as verified_ok,
                not exists (select from audit_entry e
                             where e.chain = p.id
                               and e.ordinal > coalesce((select max(entry_ordinal) from audit_seal where chain = p.id), 0)
                               and not exists (select from audit_seal where entry_id = e.id))
                and not exists (select from project_log l join audit_head h on h.chain = l.project_id
                                 where l.project_id = p.id and l.head > h.event_seq) as sealed
           from (select $1::uuid as id) p
           left join lateral audit_end(p.id) s on true
           left join audit_verification v on v.chain = p.id",
    )
    .bind(project.0)
    .fetch_one(pool)
    .await?;
    Ok(ChainView {
        position: head.position.unwrap_or(0),
        hash: head.hash.map_or_else(|| hex::encode(GENESIS), hex::encode),
        verified_at: head.verified_at,
        verified_ok: head.verified_ok,
        sealed: head.sealed,
    })
}

/// The newest seal of a chain, and what the last verification found.
#[derive(sqlx::FromRow)]
struct Head {
    position: Option<i64>,
    hash: Option<Vec<u8>>,
    verified_at: Option<DateTime<Utc>>,
    verified_ok: Option<bool>,
    sealed: bool,
}
