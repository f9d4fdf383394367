//! What the audit costs: transitions while their events are sealed, against the same with nobody sealing.
//!
//! An event is its own audit entry, so nothing is written for the audit in a transition: what it costs is the sealer's
//! work, on the same two cores. The product has no switch for it, and shall have none. So the second half is taken while
//! somebody else holds the sealer's lease.

use crate::{
    Failure,
    engine::{self, Measured},
    figures::Figures,
    process::{self, Home},
};
use serde_json::json;
use sqlx::PgPool;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use syndarix::db::Store;

const STREAMS: usize = 256;
/// Each half is taken so often, in turns: the tables grow meanwhile.
const ROUNDS: u32 = 3;
/// The sealer has caught up within this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Nobody seals as long as the lease is held by nobody that is there.
const STOP_SEALING: &str = "update leader_lease set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = now() + interval '1 hour'
  where duty = 'audit.sealer'";
const GO_ON_SEALING: &str = "update leader_lease set expires_at = now() where duty = 'audit.sealer'";

/// Takes both halves in turns, with a whole `serve` on the same database, whose sealer works in the first.
pub(crate) async fn on_and_off(
    binary: &Path,
    dir: &Path,
    database: &str,
    (store, by): (&Store, Measured),
    figures: &mut Figures,
) -> Result<(), Failure> {
    process::open_to_others(dir)?;
    let server = process::start(binary, Home { database: Some(database), ..Home::of(dir) }).await?;
    let by = Measured { beside: Some(server.child.id()), ..by };
    let (mut on, mut off, mut behind) = ((0.0, 0.0), (0.0, 0.0), Duration::ZERO);
    for round in 1..=ROUNDS {
        let settings = json!({ "streams": STREAMS, "audit": "sealed meanwhile", "round": round });
        let taken = engine::renames(store, STREAMS, "transitions, audited", by, figures, &settings).await?;
        on = (on.0 + taken.0, on.1 + taken.1);
        behind = behind.max(until_sealed(store.pool()).await?);
        sqlx::raw_sql(STOP_SEALING).execute(store.pool()).await?;
        let settings = json!({ "streams": STREAMS, "audit": "sealed later", "round": round });
        let taken =
            engine::renames(store, STREAMS, "transitions, not audited", by, figures, &settings).await?;
        off = (off.0 + taken.0, off.1 + taken.1);
        sqlx::raw_sql(GO_ON_SEALING).execute(store.pool()).await?;
        until_sealed(store.pool()).await?;
    }
    let settings = json!({ "streams": STREAMS, "rounds": ROUNDS, "measured_for_s": by.span.as_secs() });
    figures.add("transitions, audited of not audited", (on.0 / off.0, "share"), None, &settings)?;
    figures.add("transitions, audited of not audited, per CPU", (on.1 / off.1, "share"), None, &settings)?;
    figures.add("audit, sealed after the last transition", (behind.as_secs_f64(), "s"), None, &settings)?;
    process::stop(server)
}

/// How long until every event has its seal.
async fn until_sealed(pool: &PgPool) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let open = "select exists (select from project_log l join audit_head h on h.chain = l.project_id
                                where l.head > h.event_seq)";
    while sqlx::query_scalar::<_, bool>(open).fetch_one(pool).await? {
        if begun.elapsed() > PATIENCE {
            return Err("the sealer does not catch up".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(begun.elapsed())
}
