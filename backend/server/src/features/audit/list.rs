//! `GET /projects/{project_id}/audit`: a project's entries, newest first, with the state of its chain.

use crate::{
    db::Error,
    features::workflow::AuthorView,
    http::{ApiError, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use syndarix_domain::{
    actor::Actor,
    audit::GENESIS,
    ids::{AgentId, ProjectId, UserId},
};
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
    event_type: Option<String>,
    /// By this kind of actor (agent, user, system), this id, or whose name holds this text.
    actor: Option<String>,
    /// With this text in the action, or, letter by letter, in the data.
    q: Option<String>,
    /// At most this many entries, 1 to 200; 50 when nothing is said.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

/// An entry of the audit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct EntryView {
    /// Its id.
    id: Uuid,
    /// Its place in the chain; null until it is sealed, a moment after it was written.
    position: Option<i64>,
    /// When.
    time: DateTime<Utc>,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    event_type: String,
    /// The part of the product it comes from.
    category: String,
    /// `info`, `warning` or `critical`.
    severity: String,
    /// Who.
    actor: AuthorView,
    /// In plain words.
    action: String,
    /// Details; null when they were erased.
    data: Value,
    /// The payload was erased; the chain stays whole.
    erased: bool,
    /// The entry's link of the chain, in hex.
    hash: Option<String>,
    /// The link before it, in hex.
    previous_hash: Option<String>,
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
    let mut rows = entries(app.pool(), scope.project(), &filter, limit + 1).await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = rows.last().filter(|_| more).map(|row| row.ordinal.to_string());
    let chain = chain(app.pool(), scope.project()).await?;
    Ok(Json(AuditPage { items: rows.into_iter().map(Row::view).collect(), next_cursor, chain }))
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    ordinal: i64,
    at: DateTime<Utc>,
    #[sqlx(rename = "type")]
    event_type: String,
    category: String,
    severity: String,
    actor_type: String,
    actor_id: Option<Uuid>,
    actor_name: Option<String>,
    action: String,
    payload: Option<Vec<u8>>,
    position: Option<i64>,
    hash: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
}

impl Row {
    fn view(self) -> EntryView {
        let actor = match (self.actor_type.as_str(), self.actor_id) {
            ("agent", Some(id)) => Actor::Agent(AgentId(id)),
            ("user", Some(id)) => Actor::User(UserId(id)),
            _ => Actor::System,
        };
        EntryView {
            id: self.id,
            position: self.position,
            time: self.at,
            event_type: self.event_type,
            category: self.category,
            severity: self.severity,
            actor: AuthorView::of(actor, self.actor_name.as_deref()),
            action: self.action,
            erased: self.payload.is_none(),
            // One that does not read was changed: the check of the chain says so, a list shows what there is.
            data: self.payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default(),
            hash: self.hash.map(hex::encode),
            previous_hash: self.previous.map(hex::encode),
        }
    }
}

async fn entries(
    pool: &PgPool,
    project: ProjectId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Row>, ApiError> {
    let before = match &filter.cursor {
        None => i64::MAX,
        Some(cursor) => {
            cursor.parse::<i64>().map_err(|_| ApiError::invalid("cursor", "is not one that this API gave"))?
        }
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let rows = sqlx::query_as(
        "select e.id, e.ordinal, e.at, e.type, e.category, e.severity, e.actor_type, e.actor_id, e.action, e.payload,
                s.position, s.hash, s.previous, coalesce(u.name, a.name) as actor_name
           from audit_entry e
           left join audit_seal s on s.entry_id = e.id
           left join app_user u on e.actor_type = 'user' and u.id = e.actor_id
           left join agent a on e.actor_type = 'agent' and a.id = e.actor_id and a.project_id = e.chain
          where e.chain = $1 and e.ordinal < $2
            and ($3::text is null or e.type = $3 or starts_with(e.type, $3 || '.'))
            and ($4::text is null or e.actor_type = $4 or e.actor_id::text = $4
                 or strpos(lower(coalesce(u.name, a.name)), lower($4)) > 0)
            and ($5::text is null or strpos(lower(e.action), lower($5)) > 0
                 or position(convert_to($5, 'UTF8') in e.payload) > 0)
          order by e.ordinal desc limit $6",
    )
    .bind(project.0)
    .bind(before)
    .bind(given(&filter.event_type))
    .bind(given(&filter.actor))
    .bind(given(&filter.q))
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(Error::from)?;
    Ok(rows)
}

async fn chain(pool: &PgPool, project: ProjectId) -> Result<ChainView, sqlx::Error> {
    let head: Head = sqlx::query_as(
        "select s.position, s.hash, v.verified_at, v.ok as verified_ok,
                not exists (select from audit_entry e
                             where e.chain = p.id and e.ordinal > coalesce(s.entry_ordinal, 0)
                               and not exists (select from audit_seal where entry_id = e.id)) as sealed
           from (select $1::uuid as id) p
           left join lateral (select position, hash, entry_ordinal from audit_seal
                               where chain = p.id order by position desc limit 1) s on true
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
