//! What the audit costs: transitions with their entries written and sealed meanwhile, against the same without.
//!
//! The product has no switch for this, and shall have none. So the second half is taken with a trigger in the database of
//! the benchmark that drops every entry before it is stored: no row, no index entry, no log, nothing to seal. Entries are
//! still made and sent, and the trigger is called for each: what is measured is what storing and sealing cost.

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

const DROP_ENTRIES: &str = "
create function bench_drops() returns trigger language plpgsql as 'begin return null; end';
create trigger bench_drops before insert on audit_entry for each row execute function bench_drops()";
const KEEP_ENTRIES: &str = "drop trigger bench_drops on audit_entry; drop function bench_drops";

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
        let settings = json!({ "streams": STREAMS, "audit": "written and sealed", "round": round });
        let taken = engine::renames(store, STREAMS, "transitions, audited", by, figures, &settings).await?;
        on = (on.0 + taken.0, on.1 + taken.1);
        behind = behind.max(until_sealed(store.pool()).await?);
        sqlx::raw_sql(DROP_ENTRIES).execute(store.pool()).await?;
        let settings = json!({ "streams": STREAMS, "audit": "dropped", "round": round });
        let taken =
            engine::renames(store, STREAMS, "transitions, not audited", by, figures, &settings).await?;
        off = (off.0 + taken.0, off.1 + taken.1);
        sqlx::raw_sql(KEEP_ENTRIES).execute(store.pool()).await?;
    }
    let settings = json!({ "streams": STREAMS, "rounds": ROUNDS, "measured_for_s": by.span.as_secs() });
    figures.add("transitions, audited of not audited", (on.0 / off.0, "share"), None, &settings)?;
    figures.add("transitions, audited of not audited, per CPU", (on.1 / off.1, "share"), None, &settings)?;
    figures.add("audit, sealed after the last transition", (behind.as_secs_f64(), "s"), None, &settings)?;
    process::stop(server)
}

/// How long until every entry has its seal.
async fn until_sealed(pool: &PgPool) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let open = "select exists (select from audit_entry e
                                where not exists (select from audit_seal s where s.entry_id = e.id))";
    while sqlx::query_scalar::<_, bool>(open).fetch_one(pool).await? {
        if begun.elapsed() > PATIENCE {
            return Err("the sealer does not catch up".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(begun.elapsed())
}
