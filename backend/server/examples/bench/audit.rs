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
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use syndarix::db::Store;

const STREAMS: usize = 256;
/// Each half is taken so often, in turns, and each round begins with the half that ended the one before: the tables grow
/// meanwhile, and the machine is not as fast in one minute as in the next.
const ROUNDS: usize = 6;
/// The sealer has caught up within this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Nobody seals as long as the lease is held by nobody that is there.
const STOP_SEALING: &str = "update leader_lease set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = now() + interval '1 hour'
  where duty = 'audit.sealer'";
const GO_ON_SEALING: &str = "update leader_lease set expires_at = now() where duty = 'audit.sealer'";

/// Takes both halves in turns, with a whole `serve` on the same database, whose sealer works in one of them.
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
    let mut halves = Halves { store, by, figures, behind: Duration::ZERO };
    let (mut shares, mut per_cpu) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (on, off) = if round % 2 == 1 {
            let on = halves.audited(round).await?;
            (on, halves.not_audited(round).await?)
        } else {
            let off = halves.not_audited(round).await?;
            (halves.audited(round).await?, off)
        };
        shares.push(on.0 / off.0);
        per_cpu.push(on.1 / off.1);
    }
    let behind = halves.behind;
    let settings = |rounds: &[f64]| json!({ "streams": STREAMS, "measured_for_s": by.span.as_secs(), "rounds": ROUNDS, "shares": rounds });
    let (of_all, of_cpu) = (settings(&shares), settings(&per_cpu));
    figures.add("transitions, audited of not audited", (median(shares), "share"), None, &of_all)?;
    figures.add("transitions, audited of not audited, per CPU", (median(per_cpu), "share"), None, &of_cpu)?;
    let settings = json!({ "streams": STREAMS, "rounds": ROUNDS });
    figures.add("audit, sealed after the last transition", (behind.as_secs_f64(), "s"), None, &settings)?;
    process::stop(server)
}

/// Of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(values.len().saturating_sub(1) / 2), middle(values.len() / 2))
}

struct Halves<'a> {
    store: &'a Store,
    by: Measured,
    figures: &'a mut Figures,
    /// The longest that the sealer worked on when the transitions had ended.
    behind: Duration,
}

impl Halves<'_> {
    async fn audited(&mut self, round: usize) -> Result<(f64, f64), Failure> {
        let settings = json!({ "streams": STREAMS, "audit": "sealed meanwhile", "round": round });
        let taken = self.take("transitions, audited", &settings).await?;
        self.behind = self.behind.max(until_sealed(self.store.pool()).await?);
        Ok(taken)
    }

    async fn not_audited(&mut self, round: usize) -> Result<(f64, f64), Failure> {
        sqlx::raw_sql(STOP_SEALING).execute(self.store.pool()).await?;
        let settings = json!({ "streams": STREAMS, "audit": "sealed later", "round": round });
        let taken = self.take("transitions, not audited", &settings).await?;
        sqlx::raw_sql(GO_ON_SEALING).execute(self.store.pool()).await?;
        until_sealed(self.store.pool()).await?;
        Ok(taken)
    }

    async fn take(&mut self, name: &str, settings: &Value) -> Result<(f64, f64), Failure> {
        engine::renames(self.store, STREAMS, name, self.by, self.figures, settings).await
    }
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
