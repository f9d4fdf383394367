//! How fast deployments have been of late, per process, and where conversations went.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::provider::{Circuit, Deployment};

/// How much the newest figure counts against all before.
const NEWEST: f64 = 0.3;
/// A figure older than this says nothing of now: the deployment is tried again.
const STALE: Duration = Duration::from_secs(600);
/// How long one call's trial of an unknown deployment keeps others from it.
const TRIAL: Duration = Duration::from_secs(30);
/// How long a conversation that is silent stays where it was: longer than providers keep its beginning by default.
const SILENT: Duration = Duration::from_secs(900);
/// Most conversations that are remembered, and most deployments.
const MAX_REMEMBERED: usize = 20_000;

/// Moving averages of one deployment, in milliseconds.
#[derive(Debug, Default, Clone, Copy)]
struct Pace {
    first_content: Option<f64>,
    total: Option<f64>,
    at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl Pace {
    fn of(&self, streamed: bool, now: Instant) -> Option<f64> {
        let is_fresh = self.at.is_some_and(|at| now.duration_since(at) < STALE);
        let figure = if streamed { self.first_content.or(self.total) } else { self.total };
        figure.filter(|_| is_fresh)
    }
}

#[derive(Debug, Default)]
struct Known {
    paces: HashMap<Circuit, Pace>,
    sessions: HashMap<u64, (Circuit, Instant)>,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    known: Mutex<Known>,
}

impl Latencies {
    /// Whom a conversation was with, if it is there; else somebody unknown whom nobody tries at the moment; else whoever
    /// was fastest to the first content (`streamed`) or to the end.
    pub(super) fn fastest<'a>(
        &self,
        healthy: &[&'a Deployment],
        session: u64,
        streamed: bool,
    ) -> Option<&'a Deployment> {
        self.fastest_at(Instant::now(), healthy, session, streamed)
    }

    fn fastest_at<'a>(
        &self,
        now: Instant,
        healthy: &[&'a Deployment],
        session: u64,
        streamed: bool,
    ) -> Option<&'a Deployment> {
        let mut known = self.known();
        let stays = known.sessions.get(&session).filter(|(_, at)| now.duration_since(*at) < SILENT);
        if let Some((circuit, _)) = stays
            && let Some(same) = healthy.iter().find(|one| one.circuit() == *circuit)
        {
            return Some(same);
        }
        let mut best: Option<(f64, &Deployment)> = None;
        for &deployment in healthy {
            let pace = known.paces.entry(deployment.circuit()).or_default();
            let Some(figure) = pace.of(streamed, now) else {
                if pace.tried_at.is_none_or(|at| now.duration_since(at) > TRIAL) {
                    pace.tried_at = Some(now);
                    return Some(deployment);
                }
                continue;
            };
            if best.is_none_or(|(least, _)| figure < least) {
                best = Some((figure, deployment));
            }
        }
        best.map(|(_, deployment)| deployment)
    }

    /// An attempt took so long to its first content, if there was any, and to its end.
    pub(super) fn took(&self, deployment: &Deployment, first_content_ms: Option<u64>, total_ms: u64) {
        self.took_at(Instant::now(), deployment, first_content_ms, total_ms);
    }

    fn took_at(&self, now: Instant, deployment: &Deployment, first_content_ms: Option<u64>, total_ms: u64) {
        let mut known = self.known();
        if known.paces.len() >= MAX_REMEMBERED {
            known.paces.clear();
        }
        let pace = known.paces.entry(deployment.circuit()).or_default();
        if pace.at.is_some_and(|at| now.duration_since(at) >= STALE) {
            (pace.first_content, pace.total) = (None, None);
        }
        pace.at = Some(now);
        pace.tried_at = None;
        pace.total = Some(averaged(pace.total, total_ms));
        if let Some(first) = first_content_ms {
            pace.first_content = Some(averaged(pace.first_content, first));
        }
    }

    /// A conversation was answered by it.
    pub(super) fn went(&self, session: u64, deployment: &Deployment) {
        let now = Instant::now();
        let mut known = self.known();
        if known.sessions.len() >= MAX_REMEMBERED {
            known.sessions.retain(|_, (_, at)| now.duration_since(*at) < SILENT);
            if known.sessions.len() >= MAX_REMEMBERED {
                known.sessions.clear();
            }
        }
        known.sessions.insert(session, (deployment.circuit(), now));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn averaged(before: Option<f64>, newest_ms: u64) -> f64 {
    // Beyond an hour a figure is cut: no attempt lasts longer.
    let newest = f64::from(u32::try_from(newest_ms).unwrap_or(u32::MAX));
    before.map_or(newest, |before| before + NEWEST * (newest - before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderKind;

    fn deployment(name: &str) -> Deployment {
        let url = "https://example.com/v1".parse().unwrap();
        Deployment { model: name.into(), ..Deployment::new(name, ProviderKind::OpenAi, url) }
    }

    #[test]
    fn whoever_is_unknown_is_tried_once_and_then_the_fastest_is_asked() {
        let (slow, fast) = (deployment("slow"), deployment("fast"));
        let (both, latencies) = ([&slow, &fast], Latencies::default());
        let now = Instant::now();
        let ask = |at, session| latencies.fastest_at(at, &both, session, true).map(|one| one.name.as_str());
        assert_eq!([ask(now, 1), ask(now, 2), ask(now, 3)], [Some("slow"), Some("fast"), None]);
        latencies.took_at(now, &slow, Some(900), 1_000);
        assert_eq!(ask(now, 4), Some("slow"), "the only one that is known");
        latencies.took_at(now, &fast, Some(100), 2_000);
        assert_eq!(ask(now, 5), Some("fast"));
        let for_the_whole = latencies.fastest_at(now, &both, 5, false);
        assert_eq!(for_the_whole.unwrap().name, "slow", "its whole answer was there first");
        for _ in 0..10 {
            latencies.took_at(now, &fast, Some(5_000), 6_000);
        }
        assert_eq!(ask(now, 6), Some("slow"), "the average moves");
        let later = now + STALE;
        assert_eq!([ask(later, 7), ask(later, 8)], [Some("slow"), Some("fast")], "old figures are none");
    }

    #[test]
    fn a_conversation_stays_where_it_is_while_that_is_healthy() {
        let (a, b) = (deployment("a"), deployment("b"));
        let latencies = Latencies::default();
        let now = Instant::now();
        let pace = |at| {
            latencies.took_at(at, &a, Some(100), 100);
            latencies.took_at(at, &b, Some(900), 900);
        };
        let ask = |at, of: &[&'static str], session| {
            let healthy: Vec<&Deployment> =
                [&a, &b].into_iter().filter(|d| of.contains(&d.name.as_str())).collect();
            latencies.fastest_at(at, &healthy, session, true).unwrap().name.clone()
        };
        pace(now);
        latencies.went(7, &b);
        assert_eq!(ask(now, &["a", "b"], 7), "b");
        assert_eq!(ask(now, &["a"], 7), "a", "b is away");
        assert_eq!(ask(now, &["a", "b"], 8), "a", "another conversation");
        let later = now + SILENT + TRIAL;
        pace(later);
        assert_eq!(ask(later, &["a", "b"], 7), "a", "it was silent for too long");
    }
}
