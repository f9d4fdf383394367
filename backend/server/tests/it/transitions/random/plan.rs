//! What is asked for in a round: commands in each other's way, all from one seed.

use rand::{Rng, SeedableRng, rngs::StdRng};
use syndarix::config::process_env;

pub(super) const COMMANDS: u32 = 150;
/// Streams that are there from the start: so few that commands are in each other's way.
pub(super) const STREAMS: usize = 6;
/// Streams that several commands create.
pub(super) const LATE: usize = 3;
pub(super) const KEYS: u32 = 6;

/// A command. Its number is the name that it gives to a stream, so that the log says whose each event is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command {
    pub(super) n: u32,
    pub(super) stream: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Renames the stream.
    Rename,
    /// Renames another in the same unit.
    Both { other: usize },
    /// Moves the stream twice in one unit, and writes down which name it found.
    Twice,
    /// Creates a stream that others create as well.
    Create { late: usize },
    /// Is decided before somebody else moves the stream, and committed after.
    Stale,
    /// Comes under a key that others come under as well.
    Keyed(Key),
    /// Is what a job does, which ends with it.
    Job(Held),
    /// Comes to nothing in the middle.
    Fails(Failure),
    /// Its caller goes away, after so many looks at whether it is committed.
    Leaves { looks: u32 },
}

/// Two of the same key are the same request or another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Key {
    pub(super) key: u32,
    pub(super) request: u8,
}

/// What becomes of the lease of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Held {
    Kept,
    LostBefore,
    LostAfterTheDecision,
}

impl Held {
    pub(super) const ALL: [Self; 3] = [Self::Kept, Self::LostBefore, Self::LostAfterTheDecision];
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// The unit is given up before its commit.
    Dropped,
    /// The database refuses a job of the unit, after its head was moved.
    Refused,
    /// The database refuses the statement that would write the unit.
    Numberless,
}

impl Failure {
    pub(super) const ALL: [Self; 3] = [Self::Dropped, Self::Refused, Self::Numberless];
}

impl What {
    fn of(stream: usize, rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..24 => Self::Rename,
            24..34 => Self::Both { other: (stream + rng.random_range(1..STREAMS)) % STREAMS },
            34..46 => Self::Twice,
            46..52 => Self::Create { late: rng.random_range(0..LATE) },
            52..62 => Self::Stale,
            62..76 => {
                let key = rng.random_range(0..KEYS);
                Self::Keyed(Key { key, request: rng.random_bool(0.3).into() })
            }
            76..86 => Self::Job(Held::ALL[rng.random_range(0..Held::ALL.len())]),
            86..94 => Self::Fails(Failure::ALL[rng.random_range(0..Failure::ALL.len())]),
            _ => Self::Leaves { looks: 1_u32 << rng.random_range(0..11_u32) },
        }
    }

    /// How many events it has where it is done.
    pub(super) fn events(self) -> usize {
        if matches!(self, Self::Both { .. } | Self::Twice) { 2 } else { 1 }
    }
}

/// The seed that is given to play a plan again, or a new one.
pub(super) fn seed() -> u64 {
    let given = process_env("SYNDARIX_TRANSITIONS_SEED").and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| rand::random::<u32>().into())
}

pub(super) fn plan(seed: u64) -> Vec<Command> {
    let mut rng = StdRng::seed_from_u64(seed);
    let command = |n| {
        let stream = rng.random_range(0..STREAMS);
        Command { n, stream, what: What::of(stream, &mut rng) }
    };
    (0..COMMANDS).map(command).collect()
}

/// The commands under keys.
pub(super) fn keyed(plan: &[Command]) -> impl Iterator<Item = (&Command, Key)> {
    plan.iter().filter_map(|command| match command.what {
        What::Keyed(key) => Some((command, key)),
        _ => None,
    })
}

pub(super) fn key_of(plan: &[Command], n: u32) -> Option<Key> {
    keyed(plan).find_map(|(command, key)| (command.n == n).then_some(key))
}
