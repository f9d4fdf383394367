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

/// Longest that a transaction which holds a duty may be idle: a frozen leader must not keep the next one waiting.
const IDLE_AT_MOST: &str = "1s";

/// Takes a duty, or extends it when `holder` has it; `None`: somebody else has it.
///
/// Run it on its own, outside any transaction, well within `ttl` of the last time. All who ask for a duty name the same
/// `ttl`: a lease that ends a second later than a new one would, or more, counts as one from before the clock was set back.
pub async fn lead(
    conn: &mut PgConnection,
    duty: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<Leadership>, sqlx::Error> {
    let mut epoch = None;
    for statement in [RENEW, TAKE, FOUND] {
        epoch = sqlx::query_scalar(statement)
            .bind(duty)
            .bind(holder)
            .bind(ttl.as_secs_f64())
            .fetch_optional(&mut *conn)
            .await?;
        if epoch.is_some() {
            break;
        }
    }
    Ok(epoch.map(|epoch| Leadership { duty: duty.to_owned(), holder, epoch }))
}

/// How long a duty is still held without another word from its holder.
pub(crate) async fn time_left(conn: &mut PgConnection, duty: &str) -> Result<Duration, sqlx::Error> {
    let left: Option<f64> = sqlx::query_scalar(
        "select case when expires_at <= clock_timestamp() then 0
                     else extract(epoch from expires_at - clock_timestamp()) end::float8
           from leader_lease where duty = $1",
    )
    .bind(duty)
    .fetch_optional(conn)
    .await?;
    Ok(left.and_then(|left| Duration::try_from_secs_f64(left).ok()).unwrap_or_default())
}

// Goes on beside a transaction that holds the duty, so that long work does not lose it: see `Leadership::hold`.
const RENEW: &str = "
update leader_lease set expires_at = clock_timestamp() + make_interval(secs => $3)
 where duty = $1 and holder = $2 and expires_at >= clock_timestamp()
returning epoch";

// Not while a transaction holds the duty: its row is locked then. A lease that ran out may have been another's meanwhile
// in all but writing, so it gets a new epoch also in the same hands. Of one that was given before the clock was set back
// nobody knows how old it is: its holder, if it lives, is as quick to renew it as a candidate is to take it. A clock that
// steps back by less than a second was not set: see `clock::NOTICED`.
const TAKE: &str = "
with vacant as materialized (
    select duty from leader_lease
     where duty = $1
       and (expires_at < clock_timestamp()
            or expires_at > clock_timestamp() + make_interval(secs => $3) + interval '1 second')
       for update skip locked
)
update leader_lease
   set holder = $2, epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => $3)
 where duty = (select duty from vacant)
returning epoch";

const FOUND: &str = "
insert into leader_lease (duty, holder, epoch, expires_at)
values ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
on conflict (duty) do nothing
returning epoch";

impl Leadership {
    /// Keeps the duty until the end of the caller's transaction, so that what it writes is written as the leader: nobody
    /// can take it over before. Renewals go on. When the process freezes, the server ends the transaction after a second.
    pub async fn hold(&self, conn: &mut PgConnection) -> Result<(), NotLeader> {
        let held = sqlx::query(
            "select set_config('idle_in_transaction_session_timeout', $4, true) from leader_lease
              where duty = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp() for key share",
        )
        .bind(&self.duty)
        .bind(self.holder)
        .bind(self.epoch)
        .bind(IDLE_AT_MOST)
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
