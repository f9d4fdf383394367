//! What a claimer remembers of one queue: its projects, whose turn it is, and where the ready jobs of each begin.
//!
//! Nothing here is needed to be right, only to be quick: a claimer that starts anew looks at everything. Where the ready
//! jobs begin is a belief. A job that commits late stands before it, so it is looked for behind the back as well: soon
//! after when it is a little late, seldom when it is very late. [`LOOKS_BACK`] is the promise.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::outage::STATEMENT_LIMIT;
use crate::share;

/// Levels of priority.
pub(crate) const LEVELS: usize = 4;

/// Projects that are remembered; past this the ones longest without work are forgotten, and found again when they have some.
const REMEMBERED: usize = 256;

/// A project that had work this lately is asked at every claim, the others now and then.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// Jobs that become visible this much out of order are found by the next claim.
const SLACK: TimeDelta = TimeDelta::milliseconds(50);

/// Jobs up to this late (`None`: however late) are looked for this often.
pub(crate) const LOOKS_BACK: [(Option<Duration>, Duration); 4] = [
    (Some(Duration::from_millis(500)), Duration::from_millis(200)),
    (Some(Duration::from_secs(5)), Duration::from_secs(2)),
    (Some(Duration::from_secs(60)), Duration::from_secs(20)),
    (None, Duration::from_secs(60)),
];

/// Between two looks at all projects, the unknown ones among them, while the busy ones have enough work.
const ROUND_EVERY: Duration = Duration::from_millis(100);

/// Between two looks at the others while the busy ones have not.
const OTHERS_EVERY: Duration = Duration::from_millis(5);

/// Between two counts of what others run, and while nobody had work lately: then there is nothing to share out.
const CENSUS_EVERY: Duration = Duration::from_secs(1);
const IDLE_CENSUS_EVERY: Duration = Duration::from_secs(20);

/// A look that took long is not taken again before this many times as long is over.
const COST_SHARE: u32 = 20;

/// When something is to be done again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paced {
    ended: Option<Instant>,
    cost: Duration,
}

impl Paced {
    /// How long it has to wait yet.
    pub(crate) fn wait(&self, every: Duration) -> Duration {
        let pause = every.max(self.cost * COST_SHARE);
        self.ended.map_or(Duration::ZERO, |ended| pause.saturating_sub(ended.elapsed()))
    }

    pub(crate) fn is_due(&self, every: Duration) -> bool {
        self.wait(every).is_zero()
    }

    /// Reckons with the worst, because what is broken off never says what it cost.
    pub(crate) fn begin(&mut self) {
        *self = Self { ended: Some(Instant::now()), cost: STATEMENT_LIMIT };
    }

    pub(crate) fn done(&mut self, begun: Instant) {
        *self = Self { ended: Some(Instant::now()), cost: begun.elapsed() };
    }
}

/// A project with jobs in the queue, now or some time ago.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    /// Per level: no ready job that was never claimed is before this time, late commits apart.
    pub(crate) begins: [Option<DateTime<Utc>>; LEVELS],
    had_work: Instant,
}

/// Where the round of projects goes on, and what is known of them. Kept in memory.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The project served last.
    pub(crate) turn: Uuid,
    known: BTreeMap<Uuid, Tenant>,
    pub(crate) strangers: Paced,
    pub(crate) idle: Paced,
    pub(crate) census: Paced,
    pub(crate) looks_back: [Paced; LOOKS_BACK.len()],
    /// Running jobs per project: those of the owner that asks when it has said so, and the rest by the last census.
    pub(crate) own: Option<HashMap<Uuid, i64>>,
    pub(crate) others: HashMap<Uuid, i64>,
    /// Of the projects that have one, by the last census.
    pub(crate) weights: HashMap<Uuid, f64>,
}

impl Default for Cursor {
    fn default() -> Self {
        let mut looks_back = [Paced::default(); LOOKS_BACK.len()];
        // Nothing is believed yet, so there is nothing to doubt.
        for look in &mut looks_back {
            look.done(Instant::now());
        }
        let mut cursor = Self {
            turn: Uuid::max(),
            known: BTreeMap::new(),
            strangers: Paced::default(),
            idle: Paced::default(),
            census: Paced::default(),
            looks_back,
            own: None,
            others: HashMap::new(),
            weights: HashMap::new(),
        };
        // The seat of the jobs that belong to no project; the gaps between the known ones begin at it.
        cursor.met(Uuid::nil());
        cursor
    }
}

impl Cursor {
    /// A project has work.
    pub(crate) fn met(&mut self, tenant: Uuid) {
        let now = Instant::now();
        self.known.entry(tenant).or_insert(Tenant { begins: [None; LEVELS], had_work: now }).had_work = now;
    }

    /// Time to look at all projects, also when the busy ones have enough work.
    pub(crate) fn is_round_due(&self) -> bool {
        self.strangers.is_due(ROUND_EVERY)
    }

    /// How long to wait before a look at the projects that are not busy.
    pub(crate) fn others_in(&self) -> Duration {
        self.idle.wait(OTHERS_EVERY)
    }

    pub(crate) fn is_strangers_due(&self) -> bool {
        self.strangers.is_due(OTHERS_EVERY)
    }

    /// After an outage nothing is known of what a look costs, and much may have come in: all looks are due.
    pub(crate) fn look_anew(&mut self) {
        self.strangers = Paced::default();
        self.idle = Paced::default();
        self.census = Paced::default();
        self.looks_back = [Paced::default(); LOOKS_BACK.len()];
    }

    pub(crate) fn is_census_due(&self) -> bool {
        let is_busy = self.known.values().any(|tenant| tenant.had_work.elapsed() < BUSY_FOR);
        self.census.is_due(if is_busy { CENSUS_EVERY } else { IDLE_CENSUS_EVERY })
    }

    /// The look behind the back that is due, the furthest first.
    pub(crate) fn look_back_due(&self) -> Option<usize> {
        (0..LOOKS_BACK.len()).rev().find(|nth| self.looks_back[*nth].is_due(LOOKS_BACK[*nth].1))
    }

    /// A look behind the back was taken; it saw what the nearer ones would have seen.
    pub(crate) fn looked_back(&mut self, nth: usize, begun: Instant) {
        for look in &mut self.looks_back[..=nth] {
            look.done(begun);
        }
    }

    /// Known projects in the order of their turns; `busy` says which of them.
    pub(crate) fn round(&self, busy: Option<bool>) -> Vec<Uuid> {
        let (before, after): (Vec<_>, Vec<_>) = self
            .known
            .iter()
            .filter(|(_, tenant)| busy.is_none_or(|busy| busy == (tenant.had_work.elapsed() < BUSY_FOR)))
            .map(|(id, _)| *id)
            .partition(|id| *id <= self.turn);
        [after, before].concat()
    }

    /// Open ranges of ids in which no project is known.
    pub(crate) fn gaps(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        let from: Vec<_> = self.known.keys().copied().collect();
        let until = from.iter().skip(1).copied().chain([Uuid::max()]).collect();
        (from, until)
    }

    pub(crate) fn begins(&self, tenant: Uuid) -> [Option<DateTime<Utc>>; LEVELS] {
        self.known.get(&tenant).map_or([None; LEVELS], |tenant| tenant.begins)
    }

    /// From where a claim looks for the ready jobs of a project.
    pub(crate) fn since(&self, tenant: Uuid) -> [Option<DateTime<Utc>>; LEVELS] {
        self.begins(tenant).map(|begin| begin.and_then(|begin| begin.checked_sub_signed(SLACK)))
    }

    /// The ready jobs of a level begin here.
    pub(crate) fn begin(&mut self, tenant: Uuid, level: usize, at: DateTime<Utc>) {
        if let Some(begin) = self.known.get_mut(&tenant).and_then(|tenant| tenant.begins.get_mut(level)) {
            *begin = Some(at);
        }
    }

    pub(crate) fn running(&self, tenant: Uuid) -> i64 {
        let own = self.own.as_ref().and_then(|own| own.get(&tenant)).copied().unwrap_or(0);
        own + self.others.get(&tenant).copied().unwrap_or(0)
    }

    pub(crate) fn weight(&self, tenant: Uuid) -> f64 {
        self.weights.get(&tenant).copied().unwrap_or(share::USUAL)
    }

    /// Forgets the projects longest without work when there are too many.
    pub(crate) fn forget_some(&mut self) {
        while self.known.len() > REMEMBERED {
            let idle = self.known.iter().filter(|(id, _)| !id.is_nil());
            let Some(longest) = idle.min_by_key(|(_, tenant)| tenant.had_work).map(|(id, _)| *id) else {
                return;
            };
            self.known.remove(&longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn gaps_lie_between_what_is_known_and_touch_it_not() {
        let mut cursor = Cursor::default();
        cursor.met(tenant(7));
        cursor.met(tenant(3));
        let (from, until) = cursor.gaps();
        assert_eq!(from, [Uuid::nil(), tenant(3), tenant(7)]);
        assert_eq!(until, [tenant(3), tenant(7), Uuid::max()]);
    }

    #[test]
    fn the_round_goes_on_behind_the_one_served_last() {
        let mut cursor = Cursor::default();
        [2, 5, 9].map(tenant).into_iter().for_each(|id| cursor.met(id));
        cursor.turn = tenant(5);
        assert_eq!(cursor.round(None), [tenant(9), Uuid::nil(), tenant(2), tenant(5)]);
    }

    #[test]
    fn a_far_look_back_stands_for_the_nearer_ones_and_costs_a_bounded_share() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.look_back_due(), None);
        cursor.looks_back = [Paced::default(); LOOKS_BACK.len()];
        assert_eq!(cursor.look_back_due(), Some(LOOKS_BACK.len() - 1));
        cursor.looked_back(LOOKS_BACK.len() - 1, Instant::now());
        assert_eq!(cursor.look_back_due(), None);
        let slow = Paced { ended: Some(Instant::now()), cost: Duration::from_secs(3) };
        assert!(slow.wait(Duration::from_secs(1)) > Duration::from_secs(59));
    }

    #[test]
    fn while_nobody_has_work_it_is_seldom_counted_what_runs() {
        let mut cursor = Cursor::default();
        cursor.known.clear();
        assert!(cursor.is_census_due(), "nothing was counted yet");
        cursor.census = Paced { ended: Instant::now().checked_sub(2 * CENSUS_EVERY), cost: Duration::ZERO };
        assert!(!cursor.is_census_due());
        cursor.met(tenant(7));
        assert!(cursor.is_census_due());
    }

    #[test]
    fn memory_is_bounded_and_never_loses_the_seat_of_no_project() {
        let mut cursor = Cursor::default();
        (1..=1_000).map(tenant).for_each(|id| cursor.met(id));
        cursor.forget_some();
        assert_eq!(cursor.round(None).len(), REMEMBERED);
        assert!(cursor.gaps().0.contains(&Uuid::nil()));
    }
}
