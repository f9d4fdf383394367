//! `GET /projects/{project_id}/usage/export`: every attempt as a line of CSV.

use crate::{
    http::{ApiError, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{Stream, stream};
use serde::Deserialize;
use sqlx::{FromRow, PgPool};
use std::fmt::Write as _;
use syndarix_domain::ids::ProjectId;
use utoipa::IntoParams;
use uuid::Uuid;

/// Rows that are read, and sent, at once.
const BATCH: i64 = 2_000;
const HEADS: &str = "at,agent,gateway_key,story_id,run_id,call_id,attempt,provider,model,deployment,outcome,tokens_in,\
                     tokens_out,tokens_cached,tokens_reasoning,cost_micro_usd,simulated_micro_usd,latency_ms,estimated,\
                     unpriced,from_cache,tokens_cache_write,tokens_cache_write_1h,error_kind,sprint_id,step_id,\
                     model_group,downgraded_to,first_content_ms,gateway_key_id,user_id\r\n";

/// Of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// From this moment on; from the beginning when left out.
    from: Option<DateTime<Utc>>,
    /// Before this moment; up to now when left out.
    until: Option<DateTime<Utc>>,
}

/// Download what was spent, an attempt a line, the oldest first. Money is in micro-USD, real and simulated apart.
#[utoipa::path(get, path = "/projects/{project_id}/usage/export", operation_id = "export_usage", tag = "costs",
    params(("project_id" = Uuid, Path), Span),
    responses(
        (status = 200, description = "One attempt a line", content_type = "text/csv", body = String),
        (status = 404, description = "No such project here"),
    ))]
pub(super) async fn export_usage(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(span): ValidQuery<Span>,
) -> Result<Response, ApiError> {
    if let (Some(from), Some(until)) = (span.from, span.until)
        && from >= until
    {
        return Err(ApiError::invalid("until", "must come after `from`"));
    }
    let lines = lines(app.pool().clone(), scope.project(), span);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"usage.csv\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

#[derive(Debug, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row, column by column")]
struct Line {
    id: Uuid,
    at: DateTime<Utc>,
    agent: Option<String>,
    gateway_key: Option<String>,
    story_id: Option<Uuid>,
    run_id: Option<Uuid>,
    call_id: Uuid,
    attempt: i32,
    provider: String,
    model: String,
    deployment: String,
    state: String,
    tokens_in: i64,
    tokens_out: i64,
    tokens_cached: i64,
    tokens_reasoning: i64,
    cost_micro_usd: i64,
    latency_ms: Option<i64>,
    estimated: bool,
    simulated: bool,
    unpriced: bool,
    from_cache: bool,
    tokens_cache_write: i64,
    tokens_cache_write_1h: i64,
    error_kind: Option<String>,
    sprint_id: Option<Uuid>,
    step_id: Option<Uuid>,
    model_group: Option<String>,
    downgraded_to: Option<String>,
    first_content_ms: Option<i64>,
    key_id: Option<Uuid>,
    user_id: Option<Uuid>,
}

/// Page by page: the file may be larger than what fits into memory.
fn lines(
    pool: PgPool,
    project: ProjectId,
    span: Span,
) -> impl Stream<Item = Result<Bytes, sqlx::Error>> + Send + 'static {
    let start = (pool, span, Some(None), HEADS.to_owned());
    stream::try_unfold(start, move |(pool, span, place, mut text)| async move {
        let Some(after) = place else { return Ok(None) };
        let rows = page(&pool, project, &span, after).await?;
        for row in &rows {
            row.write(&mut text);
        }
        let next = rows.last().map(|last| Some((last.at, last.id)));
        Ok(Some((Bytes::from(text), (pool, span, next, String::new()))))
    })
}

async fn page(
    pool: &PgPool,
    project: ProjectId,
    span: &Span,
    after: Option<(DateTime<Utc>, Uuid)>,
) -> Result<Vec<Line>, sqlx::Error> {
    let (at, id) = after.unzip();
    sqlx::query_as(
        "select u.id, u.at, a.name as agent, k.name as gateway_key, u.story_id, u.run_id, u.call_id, u.attempt, u.provider,
                u.model, u.deployment, u.state, u.tokens_in, u.tokens_out, u.tokens_cached, u.tokens_reasoning,
                u.cost_micro_usd, u.latency_ms, u.estimated, u.simulated, u.unpriced, u.from_cache, u.tokens_cache_write,
                u.tokens_cache_write_1h, u.error_kind, u.sprint_id, u.step_id, u.model_group, u.downgraded_to,
                u.first_content_ms, u.key_id, u.user_id
           from usage u
           left join agent a on a.id = u.agent_id and a.project_id = u.project_id
           left join gateway_key k on k.id = u.key_id and k.project_id = u.project_id
          where u.project_id = $1 and (u.attempt > 0 or u.state <> 'reserved')
            and ($2::timestamptz is null or u.at >= $2) and ($3::timestamptz is null or u.at < $3)
            and ($4::timestamptz is null or (u.at, u.id) > ($4, $5))
          order by u.at, u.id limit $6",
    )
    .bind(project.0)
    .bind(span.from)
    .bind(span.until)
    .bind(at)
    .bind(id)
    .bind(BATCH)
    .fetch_all(pool)
    .await
}

impl Line {
    fn write(&self, out: &mut String) {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let ms = |ms: Option<i64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
        let (real, simulated) =
            if self.simulated { (0, self.cost_micro_usd) } else { (self.cost_micro_usd, 0) };
        let fields = [
            self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            cell(self.agent.as_deref().unwrap_or_default()),
            cell(self.gateway_key.as_deref().unwrap_or_default()),
            id(self.story_id),
            id(self.run_id),
            self.call_id.to_string(),
            self.attempt.to_string(),
            cell(&self.provider),
            cell(&self.model),
            cell(&self.deployment),
            self.state.clone(),
            self.tokens_in.to_string(),
            self.tokens_out.to_string(),
            self.tokens_cached.to_string(),
            self.tokens_reasoning.to_string(),
            real.to_string(),
            simulated.to_string(),
            ms(self.latency_ms),
            self.estimated.to_string(),
            self.unpriced.to_string(),
            self.from_cache.to_string(),
            self.tokens_cache_write.to_string(),
            self.tokens_cache_write_1h.to_string(),
            self.error_kind.clone().unwrap_or_default(),
            id(self.sprint_id),
            id(self.step_id),
            cell(self.model_group.as_deref().unwrap_or_default()),
            cell(self.downgraded_to.as_deref().unwrap_or_default()),
            ms(self.first_content_ms),
            // Beside the name, which another key may have as well.
            id(self.key_id),
            id(self.user_id),
        ];
        // Writing to a string does not fail.
        let _ = write!(out, "{}\r\n", fields.join(","));
    }
}

/// A text that somebody else chose. What a spreadsheet would run as a formula is made a text.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if formula { "'" } else { "" };
    if formula || text.contains([',', '"', '\n', '\r']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_name_stays_one_cell_and_no_formula() {
        assert_eq!(cell("Ada"), "Ada");
        assert_eq!(cell("Ada, \"the\" first"), "\"Ada, \"\"the\"\" first\"");
        assert_eq!(cell("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
    }
}
