//! Which deployments are left alone, between processes: over Redis where it is configured. Without it, and while it is
//! away, every process finds out by itself.

use crate::state::App;
use std::{sync::Arc, time::Duration};
use syndarix_bus::{Mark, Marks, marks};
use syndarix_llm::{BreakerChange, BreakerNews, Circuit};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The longest that another process is taken at its word for: as long as a provider is.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Tells other processes, and hears them, until `cancel`.
pub fn spawn_breakers(app: &App, tracker: &TaskTracker, cancel: CancellationToken) {
    let Some(url) = app.config.redis_url.clone() else { return };
    let (marks, carrier) = marks("breakers");
    app.models.gateway.tell(Arc::new(News(marks)));
    let hearing = app.clone();
    let heard = move |mark| {
        if let Some(change) = change_of(&mark) {
            tracing::info!(
                circuit = mark.name,
                open_ms = change.open_ms,
                "another process says of a deployment"
            );
            hearing.models.gateway.hear(change);
        }
    };
    tracker.spawn(carrier.run(url, heard, cancel));
}

struct News(Marks);

impl BreakerNews for News {
    fn tell(&self, change: BreakerChange) {
        self.0.put(mark_of(change));
    }
}

fn mark_of(change: BreakerChange) -> Mark {
    Mark { name: format!("{:016x}", change.circuit.0), left: change.open_ms.map(Duration::from_millis) }
}

fn change_of(mark: &Mark) -> Option<BreakerChange> {
    let circuit = Circuit(u64::from_str_radix(&mark.name, 16).ok()?);
    let open_ms = mark.left.map(|left| u64::try_from(left.min(LONGEST).as_millis()).unwrap_or(u64::MAX));
    Some(BreakerChange { circuit, open_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_arrives_as_it_was_told_and_nonsense_does_not() {
        for change in [
            BreakerChange { circuit: Circuit(7), open_ms: Some(15_000) },
            BreakerChange { circuit: Circuit(u64::MAX), open_ms: None },
        ] {
            assert_eq!(change_of(&mark_of(change)), Some(change));
        }
        let nonsense = Mark { name: "somebody".into(), left: None };
        assert_eq!(change_of(&nonsense), None);
        let forever = Mark { name: "7".into(), left: Some(Duration::MAX) };
        assert_eq!(change_of(&forever).unwrap().open_ms, Some(3_600_000));
    }
}
