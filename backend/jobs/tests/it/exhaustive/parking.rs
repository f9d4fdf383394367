//! A job that parks what it works for, and the signal that it waits for, in every order: no wake-up is lost, none
//! happens twice.

use super::explore::{Found, System, explore};

/// How parking looks at the inbox, and how a signal looks at the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// Wait and signal both go through the same row, each in one transaction with its job.
    OneRow,
    /// The worker looks for a signal first and parks in a transaction of its own.
    LookThenPark,
    /// The signal is stored, and whoever waits is woken in a transaction of its own.
    StoreThenWake,
    /// Each signal enqueues a job, whether somebody waits or not.
    AlwaysWake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Working,
    Waiting,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Signal {
    Unsent,
    /// Stored; its sender has not woken anybody yet.
    Sending,
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Parked {
    phase: Phase,
    /// Jobs that will go on with it.
    jobs: u8,
    /// The signal is there and not used yet.
    inbox: bool,
    /// The worker has looked into the inbox and found it empty.
    looked: bool,
    signal: Signal,
    woken: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Look,
    ParkOrGoOn,
    Send,
    WakeWhoWaits,
    /// The worker dies: its job is rescued and begins again.
    LoseWorker,
    /// The sender dies between storing and waking.
    LoseSender,
}

impl System for Rules {
    type State = Parked;
    type Step = Step;

    fn start(&self) -> Parked {
        let phase = Phase::Working;
        Parked { phase, jobs: 1, inbox: false, looked: false, signal: Signal::Unsent, woken: 0 }
    }

    fn steps(&self, now: &Parked) -> Vec<(Step, Parked)> {
        let mut steps = Vec::new();
        let mut add = |step, next: Option<Parked>| steps.extend(next.map(|next| (step, next)));
        if *self == Self::LookThenPark {
            add(Step::Look, look(*now));
        }
        add(Step::ParkOrGoOn, self.park_or_go_on(*now));
        add(Step::Send, self.send(*now));
        add(Step::WakeWhoWaits, wake_who_waits(*now));
        add(Step::LoseWorker, now.looked.then_some(Parked { looked: false, ..*now }));
        add(
            Step::LoseSender,
            (now.signal == Signal::Sending).then_some(Parked { signal: Signal::Sent, ..*now }),
        );
        steps
    }

    fn fault(&self, now: &Parked) -> Option<&'static str> {
        match now {
            Parked { jobs: 2.., .. } => Some("two jobs go on with one run"),
            Parked { phase: Phase::Waiting, jobs: 1.., .. } => Some("a job goes on with a run that waits"),
            Parked { woken: 2.., .. } => Some("one signal woke twice"),
            _ => None,
        }
    }

    fn is_over(&self, now: &Parked) -> bool {
        now.phase == Phase::Over
    }
}

impl Rules {
    /// The end of the job's step: its transaction also finishes the job.
    fn park_or_go_on(self, mut now: Parked) -> Option<Parked> {
        if now.jobs == 0 || now.phase != Phase::Working {
            return None;
        }
        let signalled = match self {
            Self::LookThenPark if now.looked => false,
            Self::LookThenPark if !now.inbox => return None,
            _ => now.inbox,
        };
        now.jobs -= 1;
        now.looked = false;
        if signalled || now.woken > 0 {
            now.inbox = false;
            now.phase = Phase::Over;
        } else {
            now.phase = Phase::Waiting;
        }
        Some(now)
    }

    fn send(self, mut now: Parked) -> Option<Parked> {
        if now.signal != Signal::Unsent {
            return None;
        }
        now.signal = Signal::Sent;
        match self {
            // Who waits is read here, and woken by the next step.
            Self::StoreThenWake if now.phase == Phase::Waiting => now.signal = Signal::Sending,
            Self::AlwaysWake => wake(&mut now),
            _ if now.phase == Phase::Waiting => wake(&mut now),
            _ => now.inbox = true,
        }
        Some(now)
    }
}

fn wake(now: &mut Parked) {
    now.phase = Phase::Working;
    now.jobs += 1;
    now.woken += 1;
}

fn look(now: Parked) -> Option<Parked> {
    (now.jobs > 0 && now.phase == Phase::Working && !now.looked && !now.inbox)
        .then_some(Parked { looked: true, ..now })
}

fn wake_who_waits(mut now: Parked) -> Option<Parked> {
    if now.signal != Signal::Sending || now.phase != Phase::Waiting {
        return None;
    }
    now.signal = Signal::Sent;
    wake(&mut now);
    Some(now)
}

#[test]
fn a_signal_wakes_once_whether_it_comes_before_or_after_the_wait() {
    let found = explore(&Rules::OneRow);
    assert!(matches!(found, Found::Sound { .. }), "{found:?}");
}

#[test]
fn looking_before_parking_loses_the_wake_up() {
    let Found::Stuck { history } = explore(&Rules::LookThenPark) else { panic!("no wake-up was lost") };
    assert_eq!(history, [Step::Look, Step::Send, Step::ParkOrGoOn]);
}

#[test]
fn waking_after_the_commit_loses_the_wake_up_with_its_sender() {
    let Found::Stuck { history } = explore(&Rules::StoreThenWake) else { panic!("no wake-up was lost") };
    assert_eq!(history, [Step::ParkOrGoOn, Step::Send, Step::LoseSender]);
}

#[test]
fn waking_who_does_not_wait_doubles_the_work() {
    let Found::Fault { what, history } = explore(&Rules::AlwaysWake) else { panic!("nothing was doubled") };
    assert_eq!((what, &history[..]), ("two jobs go on with one run", &[Step::Send][..]));
}
