//! The log itself: the event table, read by (project, seq).

use crate::Cursor;
use serde_json::Value;
use sqlx::{FromRow, PgPool, types::Json};
use std::collections::HashMap;
use syndarix_domain::{Timestamp, actor::Actor, envelope::Envelope, ids::ProjectId};
use uuid::Uuid;

/// Brings a stored type and payload to their newest version. The application has the one place that knows how.
pub type Upcast = fn(&str, Value) -> (String, Value);

/// Reads the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    pool: PgPool,
    upcast: Upcast,
}

/// The log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The project has none: it was deleted, or never was.
    #[error("the project {0} has no log")]
    Missing(ProjectId),
    /// The database failed.
    #[error("cannot read the event log")]
    Database(#[from] sqlx::Error),
}

#[derive(FromRow)]
struct Stored {
    seq: i64,
    id: Uuid,
    kind: String,
    stream_id: Uuid,
    #[sqlx(rename = "type")]
    event_type: String,
    data: Value,
    actor: Json<Actor>,
    at: Timestamp,
}

impl Log {
    /// The log in this database.
    pub fn new(pool: PgPool, upcast: Upcast) -> Self {
        Self { pool, upcast }
    }

    /// The events after a number, oldest first, at most `limit`.
    pub async fn after(&self, project: ProjectId, seq: i64, limit: i64) -> Result<Vec<Envelope>, LogError> {
        let rows: Vec<Stored> = sqlx::query_as(
            "select seq, id, kind, stream_id, type, data, actor, at from event
              where project_id = $1 and seq > $2 order by seq limit $3",
        )
        .bind(project.0)
        .bind(seq)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        metrics::counter!("syndarix_bus_range_reads_total").increment(1);
        Ok(rows.into_iter().map(|row| self.envelope(project, row)).collect())
    }

    /// The end of one log.
    pub async fn head(&self, project: ProjectId) -> Result<Cursor, LogError> {
        self.heads(&[project]).await?.get(&project).copied().ok_or(LogError::Missing(project))
    }

    /// The ends of several logs; a project that has none is left out.
    pub async fn heads(&self, projects: &[ProjectId]) -> Result<HashMap<ProjectId, Cursor>, LogError> {
        let ids: Vec<Uuid> = projects.iter().map(|project| project.0).collect();
        let rows: Vec<(Uuid, i32, i64)> =
            sqlx::query_as("select project_id, epoch, head from project_log where project_id = any($1)")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        let cursor = |(project, epoch, seq)| (ProjectId(project), Cursor { epoch, seq });
        Ok(rows.into_iter().map(cursor).collect())
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn envelope(&self, project: ProjectId, row: Stored) -> Envelope {
        let (event_type, data) = (self.upcast)(&row.event_type, row.data);
        let kind = event_type.rsplit_once(".v").map_or(event_type.as_str(), |(name, _)| name);
        Envelope {
            id: row.id,
            kind: kind.to_owned(),
            time: row.at,
            project_id: project,
            actor_id: row.actor.id(),
            actor_type: row.actor.kind().to_owned(),
            subject: format!("{}/{}", row.kind, row.stream_id),
            seq: row.seq,
            data,
        }
    }
}
