//! Relaxed durability: calls are granted from memory, out of a part of every budget above them that the tables hold for this
//! process, and their rows are written a moment later, many at once.
//!
//! Invariants: what is granted is paid for by a lease (`syndarix_domain::lease`) that counts against every budget like any other
//! reservation, and is ended like one when this process dies; what was granted or settled is in the tables within a tenth of
//! a second, or nothing more is granted and no answer given out as final until it is. What no lease can pay for goes the durable
//! way.
//!
//! A lease is renewed with each post of its place, and holds enough (`demand`) for all that may be granted until the next one is
//! over. Whoever finds too little makes a post begin at once, and waits for it with all others who do.

use super::{
    Answer, Entry, Node, Reservation, Settlement, Shared, debts::Debts, debts::is_for_good, draws::Draw,
    draws::Landed, lines::Lines, place::Place, pool::Pool, pool::Said, post,
};
use crate::db::{Author, Error};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use syndarix_domain::budget::Scope;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// From the beginning of one post of a place to that of the next, unless something is urgent: half of what may be lost, so that
/// a post may take as long.
const TURN: Duration = Duration::from_millis(50);
/// How many posts a call waits for that finds too little: one may have been under way before it came, the next knows of it. Where
/// that does not help money is short, and answers are shortened the durable way.
const ROUNDS: u32 = 2;
/// And how long: posts that take longer are those of books that are away.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);
/// Before a post is tried again; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The leases of a process.
pub(super) struct Leases {
    lines: Arc<Lines>,
    shared: Arc<Shared>,
    debts: Debts,
    pools: Mutex<HashMap<Place, Arc<Pool>>>,
    /// Calls that were granted here and are under way.
    open: Mutex<HashMap<Uuid, Arc<Pool>>>,
    turns: TaskTracker,
    closing: CancellationToken,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leases {
    pub(super) fn new(lines: Arc<Lines>, shared: Arc<Shared>, debts: Debts) -> Arc<Self> {
        let (pools, open) = (Mutex::default(), Mutex::default());
        let (turns, closing) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { lines, shared, debts, pools, open, turns, closing })
    }

    /// Grants a call all that it asks for, if a lease can pay for it now or as soon as it is renewed.
    pub(super) async fn draw(self: &Arc<Self>, reservation: &Reservation) -> bool {
        let deadline = tokio::time::Instant::now() + RENEWED_WITHIN;
        for round in 0..=ROUNDS {
            if !self.may_draw(reservation) {
                return false;
            }
            let pool = self.pool(reservation.place);
            // Before it is looked at: no post that is over afterwards goes unnoticed.
            let posted = pool.posted.notified();
            let said = pool.draw(reservation, round > 0);
            if said == Said::Granted {
                locked(&self.open).insert(reservation.id, Arc::clone(&pool));
            }
            self.run(Arc::clone(&pool));
            if said != Said::Soon || round == ROUNDS {
                return said == Said::Granted;
            }
            if tokio::time::timeout_at(deadline, posted).await.is_err() {
                return false;
            }
        }
        false
    }

    /// Only clients' calls: whoever takes a run's step over finds its attempts in the tables. Nor one of the scripted endpoint,
    /// whose money is not real, nor one that yields where a soft limit is reached.
    fn may_draw(&self, reservation: &Reservation) -> bool {
        let place = reservation.place;
        let is_clients =
            place.key.is_some() && reservation.attempt.step.is_none() && !reservation.attempt.simulated;
        let yields =
            || reservation.yields && self.shared.soft.contains(&place, self.shared.store.clock().now());
        is_clients && !self.closing.is_cancelled() && !yields()
    }

    fn pool(&self, place: Place) -> Arc<Pool> {
        Arc::clone(locked(&self.pools).entry(place).or_insert_with(|| Pool::new(place)))
    }

    /// Takes over the settlement of a call that was granted here.
    pub(super) fn settle(self: &Arc<Self>, settlement: &Settlement) -> Option<Arc<Pool>> {
        let pool = locked(&self.open).remove(&settlement.id)?;
        pool.settle(settlement.clone());
        self.run(Arc::clone(&pool));
        Some(pool)
    }

    /// Waits until nothing is kept back that should have been in the tables by now.
    pub(super) async fn in_time(pool: &Pool) {
        loop {
            let posted = pool.posted.notified();
            if !pool.lock().is_late(Instant::now()) {
                return;
            }
            posted.await;
        }
    }

    /// Somebody is refused for what others hold of a budget: what is only kept ready of it here is given back at once. Which
    /// projects are of one organisation is not known here.
    pub(super) fn yield_to_others(&self, node: Node) {
        let is_below =
            |place: &Place| node.scope == Scope::Organisation || place.nodes().any(|above| above == node);
        for (_, pool) in locked(&self.pools).iter().filter(|(place, _)| is_below(place)) {
            pool.yield_to_others();
        }
    }

    /// Gives all leases back, once everything is in the tables. Nothing is granted any more.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.turns.close();
        self.turns.wait().await;
        self.turns.reopen();
    }

    fn run(self: &Arc<Self>, pool: Arc<Pool>) {
        if !std::mem::replace(&mut pool.lock().at_work, true) {
            let leases = Arc::clone(self);
            self.turns.spawn(async move { leases.turns(&pool).await });
        }
    }

    /// Posts, turn by turn, until there is nothing to post and no lease.
    async fn turns(&self, pool: &Arc<Pool>) {
        let mut turn = tokio::time::Instant::now() + TURN;
        loop {
            self.pause(pool, turn).await;
            turn = tokio::time::Instant::now() + TURN;
            let (now, ends) = (self.shared.store.clock().now(), self.closing.is_cancelled());
            let next = pool.next(now, ends, || self.shared.store.new_id());
            if let Some(draw) = next {
                self.land(pool, draw).await;
                continue;
            }
            // Whoever waits for more is not left waiting: it asks once more, or goes the durable way.
            pool.posted.notify_waiters();
            if self.is_over(pool, ends) {
                return;
            }
        }
    }

    /// Until the turn, or until something is urgent.
    async fn pause(&self, pool: &Pool, turn: tokio::time::Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            () = self.closing.cancelled() => {}
            () = pool.urgent() => {}
        }
    }

    fn is_over(&self, pool: &Arc<Pool>, ends: bool) -> bool {
        let mut pools = locked(&self.pools);
        let mut state = pool.lock();
        if !state.is_idle(ends) {
            return false;
        }
        state.at_work = false;
        if pools.get(&pool.place).is_some_and(|kept| Arc::ptr_eq(kept, pool)) {
            pools.remove(&pool.place);
        }
        true
    }

    async fn land(&self, pool: &Pool, draw: Draw) {
        let draw = Arc::new(draw);
        let landed = self.post(&draw).await;
        let mut lost = pool.lock().landed(landed, Instant::now());
        pool.posted.notify_waiters();
        if matches!(landed, Landed::Gone) {
            lost += draw.drawn.len();
            tracing::error!(
                lost,
                "a lease was ended while its process was silent: calls that were drawn from it are booked as one"
            );
        }
    }

    /// Posts until it is known to be posted.
    async fn post(&self, draw: &Arc<Draw>) -> Landed {
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = self.lines.ask(Entry::Draw(Arc::clone(draw)));
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Some(Answer::Drawn(landed))) => return landed,
                // The server will never take it as it is: everything in it counts as what was set aside.
                Ok(Some(Answer::Failed(error))) if is_for_good(&error) => {
                    tracing::error!(%error, "calls are refused by the database: their lease counts as spent");
                    if self.forfeit(draw).await.is_ok() {
                        draw.settlements.iter().cloned().for_each(|settlement| self.debts.owe(settlement));
                        return Landed::Gone;
                    }
                }
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn forfeit(&self, draw: &Draw) -> Result<(), Error> {
        let Some(held) = &draw.lease else { return Ok(()) };
        let mut uow = self.shared.store.begin(Author::system());
        post::give_back(&mut uow, draw.place.project, post::Lost::One(held.id)).await?;
        uow.commit().await?;
        Ok(())
    }
}
