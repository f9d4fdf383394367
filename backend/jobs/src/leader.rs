//! Leases on singleton duties: at most one holder at a time, by the database's clock.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

/// A duty that is held, until its time to live is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    duty: String,
    holder: Uuid,
    /// Grows at every change of hands: the fence of what the leader writes.
    pub epoch: i64,
}

/// The duty cannot be shown to be held: roll back.
#[derive(Debug, thiserror::Error)]
pub enum NotLeader {
    /// Somebody else holds it, or the time ran out.
    #[error("the duty {duty} is no longer held under epoch {epoch}")]
    Moved {
        /// The duty.
        duty: String,
        /// The epoch that is over.
        epoch: i64,
    },
    /// The database did not answer, so nothing is known.
    #[error("cannot check the duty")]
    Database(#[from] sqlx::Error),
}

/// Takes a duty, or extends it when `holder` has it; `None`: somebody else has it.
///
/// Run it on its own, outside any transaction, well within `ttl` of the last time.
pub async fn lead(
    conn: &mut PgConnection,
    duty: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<Leadership>, sqlx::Error> {
    let epoch: Option<i64> = sqlx::query_scalar(
        "insert into leader_lease as held (duty, holder, epoch, expires_at)
         values ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
         on conflict (duty) do update
            set holder = excluded.holder, expires_at = excluded.expires_at,
                -- A lease that ran out may have been another's meanwhile in all but writing: a new epoch.
                epoch = held.epoch + (held.holder <> excluded.holder or held.expires_at < clock_timestamp())::int
          where held.holder = excluded.holder or held.expires_at < clock_timestamp()
         returning epoch",
    )
    .bind(duty)
    .bind(holder)
    .bind(ttl.as_secs_f64())
    .fetch_optional(conn)
    .await?;
    Ok(epoch.map(|epoch| Leadership { duty: duty.to_owned(), holder, epoch }))
}

impl Leadership {
    /// Locks the lease until the end of the caller's transaction, so that what it writes is written as the leader.
    pub async fn hold(&self, conn: &mut PgConnection) -> Result<(), NotLeader> {
        let held = sqlx::query(
            "select from leader_lease
              where duty = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp() for share",
        )
        .bind(&self.duty)
        .bind(self.holder)
        .bind(self.epoch)
        .fetch_optional(conn)
        .await?;
        held.map(drop).ok_or_else(|| self.moved())
    }

    /// The duty and its holder, for statements that check the lease themselves.
    pub(crate) fn by(&self) -> (&str, Uuid) {
        (&self.duty, self.holder)
    }

    pub(crate) fn moved(&self) -> NotLeader {
        NotLeader::Moved { duty: self.duty.clone(), epoch: self.epoch }
    }

    /// Gives the duty up, so that another instance need not wait for the time to run out.
    pub async fn resign(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update leader_lease set expires_at = '-infinity' where duty = $1 and holder = $2 and epoch = $3",
        )
        .bind(&self.duty)
        .bind(self.holder)
        .bind(self.epoch)
        .execute(conn)
        .await
        .map(drop)
    }
}
