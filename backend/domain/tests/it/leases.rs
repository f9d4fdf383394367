//! Leases: what is granted from memory is always in the tables, and no limit is passed, whatever comes in between.

use proptest::prelude::*;
use syndarix_domain::{
    budget::{Amount, Budget, Limit},
    lease::{Lease, Terms, allowance},
    money::MicroUsd,
};

fn hard(money: Option<i64>, tokens: Option<i64>) -> Budget {
    Budget { hard: Limit { money: money.map(MicroUsd), tokens }, ..Budget::default() }
}

fn amount(units: i64) -> Amount {
    Amount::new(units, 2 * units)
}

#[test]
fn a_lease_takes_a_quarter_of_what_is_left_and_of_the_tightest_budget() {
    let (wide, narrow) = (hard(Some(100_000), None), hard(None, Some(4_000)));
    let none = Amount::default();
    assert_eq!(allowance(none, &[]), Amount::new(i64::MAX, i64::MAX));
    assert_eq!(allowance(none, &[&wide, &narrow]), Amount::new(25_000, 1_000));
    let mut held = wide;
    assert!(held.reserve(Amount::new(25_000, 0)));
    assert_eq!(allowance(Amount::new(25_000, 0), &[&held]).money, MicroUsd(25_000), "it may stay as it is");
    let lowered = Budget { hard: Limit::of_money(Some(10_000)), ..held };
    assert_eq!(
        allowance(Amount::new(25_000, 0), &[&lowered]).money,
        MicroUsd(2_500),
        "and shrinks with its limit"
    );
    let passed = Budget { spent: Amount::new(90_000, 0), ..lowered };
    assert_eq!(allowance(Amount::new(25_000, 0), &[&passed]).money, MicroUsd(0));
}

#[test]
fn a_lease_that_is_too_small_for_a_call_is_none_and_what_was_promised_stays() {
    let terms = Terms { keep: amount(10), wanted: amount(100), least: amount(40) };
    assert_eq!(terms.booked(amount(30), amount(1_000)), amount(100));
    assert_eq!(terms.booked(amount(30), amount(50)), amount(50));
    assert_eq!(terms.booked(amount(30), amount(39)), amount(10));
    assert_eq!(terms.booked(amount(30), amount(0)), amount(10));
    let nothing = Terms { keep: amount(0), ..terms };
    assert_eq!(nothing.booked(amount(30), amount(39)), amount(0));
}

#[test]
fn while_a_post_is_under_way_only_what_it_keeps_is_given_out() {
    let mut lease = Lease::default();
    assert!(!lease.draw(amount(1)));
    assert!(!lease.draw(amount(0)));
    assert_eq!(lease.begin_post(amount(100), amount(1)).keep, amount(0));
    lease.end_post(amount(100));
    assert!(lease.draw(amount(60)));
    assert!(!lease.draw(amount(41)));
    assert_eq!(lease.begin_post(amount(30), amount(1)).keep, amount(30));
    assert!(lease.draw(amount(30)));
    assert!(!lease.draw(amount(1)), "nobody knows yet whether there is more");
    lease.end_post(amount(30));
    assert!(!lease.draw(amount(1)));
}

/// One thing that happens, to one of two processes.
#[derive(Debug, Clone)]
enum Move {
    Draw(usize, i64),
    /// A post begins, for so much.
    Begin(usize, i64),
    /// It is committed; it may be tried again.
    Commit(usize),
    /// Its process hears of it.
    Land(usize),
    /// A call goes the durable way.
    Reserve(usize, i64),
    /// A call that has a row ends, at a share of its reservation in thousandths.
    Settle(prop::sample::Index, i64),
    Limit(i64),
    Dies(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let of = 0_usize..2;
    let one = prop_oneof![
        6 => (of.clone(), 1_i64..60).prop_map(|(of, units)| Move::Draw(of, units)),
        3 => (of.clone(), 0_i64..400).prop_map(|(of, units)| Move::Begin(of, units)),
        4 => of.clone().prop_map(Move::Commit),
        4 => of.clone().prop_map(Move::Land),
        2 => (of.clone(), 1_i64..60).prop_map(|(of, units)| Move::Reserve(of, units)),
        4 => (any::<prop::sample::Index>(), 0_i64..=1_000).prop_map(|(which, share)| Move::Settle(which, share)),
        1 => (0_i64..3_000).prop_map(Move::Limit),
        1 => of.prop_map(Move::Dies),
    ];
    prop::collection::vec(one, 0..120)
}

/// What a process has in memory.
#[derive(Default)]
struct Process {
    lease: Lease,
    queue: Vec<Amount>,
    post: Option<Post>,
    /// What the tables hold as its lease.
    row: Amount,
}

struct Post {
    terms: Terms,
    drawn: Vec<Amount>,
    committed: bool,
}

#[derive(Default)]
struct World {
    budget: Budget,
    processes: [Process; 2],
    /// Rows of calls under way, and whose they are.
    rows: Vec<(usize, Amount)>,
    /// What calls could have used of which nobody knows any more.
    lost: i64,
}

fn sum(amounts: &[Amount]) -> Amount {
    amounts.iter().copied().fold(Amount::default(), Amount::plus)
}

impl World {
    fn go(&mut self, this: &Move) {
        match *this {
            Move::Draw(of, units) => {
                let process = &mut self.processes[of];
                if process.lease.draw(amount(units)) {
                    process.queue.push(amount(units));
                }
            }
            Move::Begin(of, units) => {
                let process = &mut self.processes[of];
                if process.post.is_none() {
                    let terms = process.lease.begin_post(amount(units), amount(20));
                    let drawn = std::mem::take(&mut process.queue);
                    process.post = Some(Post { terms, drawn, committed: false });
                }
            }
            Move::Commit(of) => self.commit(of),
            Move::Land(of) => {
                let process = &mut self.processes[of];
                if let Some(post) = process.post.take_if(|post| post.committed) {
                    assert!(process.row.holds(post.terms.keep));
                    process.lease.end_post(process.row);
                }
            }
            Move::Reserve(of, units) => {
                if self.budget.reserve(amount(units)) {
                    self.rows.push((of, amount(units)));
                }
            }
            Move::Settle(which, share) => {
                if !self.rows.is_empty() {
                    let (_, reserved) = self.rows.swap_remove(which.index(self.rows.len()));
                    self.budget.settle(reserved, amount(reserved.money.0 * share / 1_000));
                }
            }
            Move::Limit(units) => {
                self.budget.hard = Limit { money: Some(MicroUsd(units)), tokens: Some(2 * units) }
            }
            Move::Dies(of) => self.dies(of),
        }
    }

    /// As `server/features/llm/ledger/draws.rs` does it.
    fn commit(&mut self, of: usize) {
        let process = &mut self.processes[of];
        let Some(post) = process.post.as_mut().filter(|post| !post.committed) else { return };
        post.committed = true;
        self.rows.extend(post.drawn.iter().map(|amount| (of, *amount)));
        let left = process.row.minus(sum(&post.drawn));
        let booked = post.terms.booked(left, allowance(left, &[&self.budget]));
        self.budget.reserved = self.budget.reserved.minus(left).plus(booked);
        process.row = booked;
    }

    /// Its lease, and what it had under way, counts as spent.
    fn dies(&mut self, of: usize) {
        let process = std::mem::take(&mut self.processes[of]);
        let unposted =
            process.post.filter(|post| !post.committed).map(|post| sum(&post.drawn)).unwrap_or_default();
        self.lost += sum(&process.queue).plus(unposted).money.0;
        self.budget.settle(process.row, process.row);
        for (_, reserved) in self.rows.extract_if(.., |row| row.0 == of) {
            self.budget.settle(reserved, reserved);
        }
    }

    fn used(&self) -> Amount {
        self.budget.spent.plus(self.budget.reserved)
    }

    fn check(&self, before: Amount) {
        let limit = self.budget.hard.money.map_or(i64::MAX, |limit| limit.0);
        assert!(
            self.used().money.0 <= limit || before.holds(self.used()),
            "{:?} were {before:?} of {limit}",
            self.used()
        );
        let rows = self.rows.iter().map(|row| row.1).chain(self.processes.iter().map(|one| one.row));
        assert_eq!(
            self.budget.reserved,
            rows.fold(Amount::default(), Amount::plus),
            "each call is held once"
        );
        for process in &self.processes {
            let flying = process.post.as_ref().filter(|post| !post.committed);
            let flying = flying.map(|post| sum(&post.drawn)).unwrap_or_default();
            let promised = flying.plus(sum(&process.queue)).plus(process.lease.free());
            assert!(process.row.holds(promised), "{:?} is there for {promised:?}", process.row);
        }
    }
}

proptest! {
    #[test]
    fn no_order_of_draws_posts_and_deaths_passes_a_limit_or_loses_what_was_granted(moves in moves()) {
        let mut world = World { budget: hard(Some(2_000), Some(4_000)), ..World::default() };
        for this in &moves {
            let before = world.used();
            world.go(this);
            world.check(before);
        }
        world.dies(0);
        world.dies(1);
        prop_assert_eq!(world.budget.reserved, Amount::default());
        prop_assert!(world.budget.spent.money.0 >= world.lost);
    }
}
