//! Claim, work, batched finish, hand-back, kill, restart and rescue, in every order. A frozen worker needs no step of
//! its own: it is one that the search lets wait while everything else moves.

use super::explore::{Found, System, explore};

const JOBS: usize = 2;
const WORKERS: usize = 2;
/// Bounds that keep the search finite; one more of each shows nothing new.
const MAX_RESCUES: u8 = 1;
const MAX_HAND_BACKS: u8 = 1;
const MAX_RESTARTS: u8 = 1;

/// The rules of the queue, or one of them left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Kept,
    /// A finish asks only whether somebody owns the job.
    FinishWithoutFence,
    /// A finish asks whether this worker owns the job, not under which claim.
    FinishByOwner,
    /// The attempt, which a hand-back and a rescue refund, serves as the fence.
    AttemptAsFence,
    /// A rescue looks at workers that are registered; a restarted one has forgotten its former self.
    RescueOfRegistered,
    /// A rescue makes the job ready without moving the fence, and so does the next claim.
    RescueKeepsFence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Ready,
    Owned { worker: usize, incarnation: u8 },
    Done,
    Dead,
}

/// A row of the job table, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    status: Status,
    fence: u8,
    rescues: u8,
    hand_backs: u8,
}

/// What a claim is told apart by, and the number that nobody in the system sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    fence: u8,
    /// The how-manieth claim of the job this is: the truth that fences stand for.
    claim: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Worker {
    is_up: bool,
    incarnation: u8,
    working: [Option<Held>; JOBS],
    /// Ended, and not written yet: the next batch.
    ended: [Option<Held>; JOBS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Queue {
    rows: [Row; JOBS],
    claims: [u8; JOBS],
    workers: [Worker; WORKERS],
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "read in the history of a fault")]
enum Step {
    Claim { worker: usize, job: usize },
    End { worker: usize, job: usize },
    WriteEnds { worker: usize },
    HandBack { worker: usize, job: usize },
    Kill { worker: usize },
    Restart { worker: usize },
    Rescue { job: usize },
}

impl System for Rules {
    type State = Queue;
    type Step = Step;

    fn start(&self) -> Queue {
        let row = Row { status: Status::Ready, fence: 0, rescues: 0, hand_backs: 0 };
        let worker = Worker { is_up: true, incarnation: 0, working: [None; JOBS], ended: [None; JOBS] };
        Queue { rows: [row; JOBS], claims: [0; JOBS], workers: [worker; WORKERS], fault: None }
    }

    fn steps(&self, queue: &Queue) -> Vec<(Step, Queue)> {
        let mut steps = Vec::new();
        let mut add = |step, next: Option<Queue>| steps.extend(next.map(|next| (step, next)));
        for worker in 0..WORKERS {
            for job in 0..JOBS {
                add(Step::Claim { worker, job }, self.claim(*queue, worker, job));
                add(Step::End { worker, job }, end(*queue, worker, job));
                add(Step::HandBack { worker, job }, self.hand_back(*queue, worker, job));
            }
            add(Step::WriteEnds { worker }, self.write_ends(*queue, worker));
            add(Step::Kill { worker }, kill(*queue, worker));
            add(Step::Restart { worker }, restart(*queue, worker));
        }
        for job in 0..JOBS {
            add(Step::Rescue { job }, self.rescue(*queue, job));
        }
        steps
    }

    fn fault(&self, queue: &Queue) -> Option<&'static str> {
        queue.fault
    }

    fn is_over(&self, queue: &Queue) -> bool {
        queue.rows.iter().all(|row| matches!(row.status, Status::Done | Status::Dead))
    }
}

impl Rules {
    fn claim(self, mut queue: Queue, worker: usize, job: usize) -> Option<Queue> {
        let Worker { is_up, incarnation, .. } = queue.workers[worker];
        let row = &mut queue.rows[job];
        if !is_up || row.status != Status::Ready {
            return None;
        }
        row.status = Status::Owned { worker, incarnation };
        if self != Self::RescueKeepsFence || row.rescues == 0 {
            row.fence += 1;
        }
        queue.claims[job] += 1;
        // An attempt of this worker whose lease was lost is cancelled when its job comes back; its end may be queued.
        queue.workers[worker].working[job] = Some(Held { fence: row.fence, claim: queue.claims[job] });
        Some(queue)
    }

    /// All ends that wait are written in one transaction; those whose lease is lost write nothing.
    fn write_ends(self, mut queue: Queue, worker: usize) -> Option<Queue> {
        let Worker { is_up, incarnation, ended, .. } = queue.workers[worker];
        if !is_up || ended.iter().all(Option::is_none) {
            return None;
        }
        for (job, held) in ended.into_iter().enumerate() {
            let Some(held) = held else { continue };
            let row = &mut queue.rows[job];
            let Status::Owned { worker: owner, incarnation: of } = row.status else { continue };
            let leased = match self {
                Self::FinishWithoutFence => true,
                Self::FinishByOwner => (owner, of) == (worker, incarnation),
                _ => held.fence == row.fence,
            };
            if !leased {
                continue;
            }
            row.status = Status::Done;
            if held.claim != queue.claims[job] {
                queue.fault = Some("a lost lease wrote its result over the current one");
            }
        }
        queue.workers[worker].ended = [None; JOBS];
        Some(queue)
    }

    /// A drain gives a job back as if it had not been claimed.
    fn hand_back(self, mut queue: Queue, worker: usize, job: usize) -> Option<Queue> {
        let held = queue.workers[worker].working[job]?;
        let row = &mut queue.rows[job];
        if !queue.workers[worker].is_up || row.hand_backs == MAX_HAND_BACKS {
            return None;
        }
        queue.workers[worker].working[job] = None;
        if matches!(row.status, Status::Owned { .. }) && held.fence == row.fence {
            row.status = Status::Ready;
            row.hand_backs += 1;
            if self == Self::AttemptAsFence { row.fence -= 1 } else { row.fence += 1 }
        }
        Some(queue)
    }

    /// At any moment: a lease may run out under a worker that is well, when the network or the scheduler is slow.
    fn rescue(self, mut queue: Queue, job: usize) -> Option<Queue> {
        let row = &mut queue.rows[job];
        let Status::Owned { worker, incarnation } = row.status else { return None };
        if self == Self::RescueOfRegistered && queue.workers[worker].incarnation != incarnation {
            return None;
        }
        if row.rescues == MAX_RESCUES {
            row.status = Status::Dead;
            return Some(queue);
        }
        row.status = Status::Ready;
        row.rescues += 1;
        match self {
            Self::RescueKeepsFence => {}
            Self::AttemptAsFence => row.fence -= 1,
            _ => row.fence += 1,
        }
        Some(queue)
    }
}

fn end(mut queue: Queue, worker: usize, job: usize) -> Option<Queue> {
    let Worker { is_up, working, ended, .. } = &mut queue.workers[worker];
    if !*is_up || ended[job].is_some() {
        return None;
    }
    ended[job] = Some(working[job].take()?);
    Some(queue)
}

/// What it worked on and what it had not written is gone with it.
fn kill(mut queue: Queue, worker: usize) -> Option<Queue> {
    let killed = &mut queue.workers[worker];
    // The last incarnation stays: without any worker, nothing is promised.
    if !killed.is_up || killed.incarnation == MAX_RESTARTS {
        return None;
    }
    *killed = Worker { is_up: false, working: [None; JOBS], ended: [None; JOBS], ..*killed };
    Some(queue)
}

fn restart(mut queue: Queue, worker: usize) -> Option<Queue> {
    let started = &mut queue.workers[worker];
    if started.is_up {
        return None;
    }
    started.is_up = true;
    started.incarnation += 1;
    Some(queue)
}

fn fault_of(rules: Rules) -> &'static str {
    match explore(&rules) {
        Found::Fault { what, history } => {
            assert!(!history.is_empty());
            what
        }
        other => panic!("{rules:?} passed: {other:?}"),
    }
}

#[test]
fn in_no_interleaving_does_a_lost_lease_write_or_a_job_get_stuck() {
    match explore(&Rules::Kept) {
        Found::Sound { states } => assert!(states > 10_000, "only {states} states: the model does nothing"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_the_fence_a_finish_overwrites_another_attempt() {
    assert!(fault_of(Rules::FinishWithoutFence).contains("lost lease"));
}

#[test]
fn the_owner_alone_does_not_tell_two_claims_apart() {
    assert!(fault_of(Rules::FinishByOwner).contains("lost lease"));
}

#[test]
fn an_attempt_that_is_refunded_is_no_fence() {
    assert!(fault_of(Rules::AttemptAsFence).contains("lost lease"));
}

#[test]
fn a_rescue_has_to_move_the_fence() {
    assert!(fault_of(Rules::RescueKeepsFence).contains("lost lease"));
}

#[test]
fn a_rescue_that_needs_the_worker_to_be_registered_leaves_jobs_stuck() {
    let found = explore(&Rules::RescueOfRegistered);
    assert!(matches!(found, Found::Stuck { .. }), "{found:?}");
}
