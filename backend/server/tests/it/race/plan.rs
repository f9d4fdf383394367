//! What happens in a race: every call with its size, its client's patience and its provider's fate, from one seed.

use rand::{Rng, SeedableRng, rngs::StdRng};
use std::ops::Range;

/// Keys of each project.
pub(crate) const KEYS: usize = 4;
/// Projects of the organisation.
pub(crate) const PROJECTS: usize = 3;
/// The shortest body, in bytes. Each call's is longer by its number: what a usage row has set aside for the prompt says so
/// which call it is of.
pub(crate) const SHORTEST: usize = 1_000;
/// Deployments that fail now and then; so many that one's pause leaves others.
pub(crate) const FLAKY: usize = 8;

/// When the last client comes, in milliseconds.
const LATEST: u64 = 6_000;
/// The same where all come at once.
const MOMENT: u64 = 100;
/// Answers that are let go before each kill, where they are held.
const BETWEEN: Range<usize> = 50..250;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) n: usize,
    /// Which of the two processes is asked.
    pub(crate) process: usize,
    pub(crate) project: usize,
    pub(crate) key: usize,
    pub(crate) streamed: bool,
    /// The answer limit that the client asks for, in tokens.
    pub(crate) max_tokens: u32,
    /// What the model would say, in tokens.
    pub(crate) wordy: u32,
    pub(crate) fate: Fate,
    /// The client comes after so many milliseconds.
    pub(crate) comes: u64,
    /// The client goes away after so many milliseconds.
    pub(crate) leaves: Option<u64>,
    /// Where answers are held, the lowest of those that wait goes first.
    pub(crate) turn: u64,
    /// The number of the call that the client makes where the line of this one is cut.
    pub(crate) again: Option<usize>,
}

/// What the provider does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answers.
    Good,
    /// Fails once without a token, and answers when it is asked again.
    FailsFirst,
    /// Cuts the line in the middle of the answer.
    Cuts,
    /// Says in the middle of the answer that it has failed.
    Breaks,
    /// Says half of the answer and then nothing.
    Stalls,
}

/// A race.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) calls: Vec<Call>,
    /// Which process is killed, and after how many requests the provider has seen; where answers are held, after how many
    /// more were let go.
    pub(crate) kills: Vec<(usize, usize)>,
}

impl Plan {
    pub(crate) fn new(seed: u64, calls: usize, kills: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let calls: Vec<Call> = (0..calls).map(|n| call(n, &mut rng)).collect();
        // The first early, while most calls are under way, and the last when most have ended.
        let share = calls.len() / 2 / kills.max(1);
        let kills = (0..kills).map(|n| (n % 2, n * share + rng.random_range(10..share.max(11)))).collect();
        Self { seed, calls, kills }
    }

    /// A race of calls that are all there at once, and are answered in an order of the seed's. Clients are patient enough to
    /// see some of their answers, and ask once more when their process is killed: beside the calls, the plan has one for each
    /// that may have to be made again.
    pub(crate) fn at_once(seed: u64, calls: usize, kills: usize) -> Self {
        let mut plan = Self::new(seed, calls, kills);
        // Not the numbers that the calls are made of.
        let mut rng = StdRng::seed_from_u64(!seed);
        for call in &mut plan.calls {
            call.comes = rng.random_range(0..MOMENT);
            call.leaves = call.leaves.map(|after| 3 * after);
            call.turn = rng.random();
            call.again = Some(call.n + calls);
        }
        let again: Vec<Call> = plan.calls.iter().filter_map(Call::again).collect();
        plan.calls.extend(again);
        plan.kills = (0..kills).map(|n| (n % 2, rng.random_range(BETWEEN))).collect();
        plan
    }
}

fn call(n: usize, rng: &mut StdRng) -> Call {
    let streamed = rng.random_bool(0.5);
    let fate = match rng.random_range(0..100) {
        0..6 => Fate::FailsFirst,
        6..12 if streamed => Fate::Cuts,
        12..16 if streamed => Fate::Breaks,
        16..22 if streamed => Fate::Stalls,
        _ => Fate::Good,
    };
    let leaves = (fate == Fate::Stalls || rng.random_bool(0.1)).then(|| rng.random_range(1..1_500));
    Call {
        n,
        process: rng.random_range(0..2),
        project: rng.random_range(0..PROJECTS),
        key: rng.random_range(0..KEYS),
        streamed,
        max_tokens: rng.random_range(20..1_500),
        wordy: rng.random_range(1..1_000),
        fate,
        // Half of them at once, and the others while those are served.
        comes: if rng.random_bool(0.5) { 0 } else { rng.random_range(0..LATEST) },
        leaves,
        turn: 0,
        again: None,
    }
}

impl Call {
    /// The call that its client makes where the line of this one is cut.
    pub(crate) fn again(&self) -> Option<Self> {
        self.again.map(|n| Self { n, comes: 0, again: None, ..self.clone() })
    }

    /// The request, as long as the call's number says.
    pub(crate) fn body(&self) -> String {
        let model = if self.fate == Fate::Good { "good".into() } else { format!("flaky-{}", self.n % FLAKY) };
        let with = |filler: usize| {
            serde_json::json!({
                "model": model, "stream": self.streamed, "max_tokens": self.max_tokens,
                "messages": [{ "role": "user", "content": format!("call {} {}", self.n, "x".repeat(filler)) }],
            })
            .to_string()
        };
        with(SHORTEST + self.n - with(0).len())
    }
}
