//! Whether the database takes writes: whoever is refused one says so here, and the readiness looks.

use super::Error;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use syndarix_jobs::EnqueueError;

/// A file of the server's cannot grow.
const DISK_FULL: &str = "53100";
/// It follows another server, or was told to.
const READ_ONLY: &str = "25006";
/// One refusal may pass; what is refused for so long is refused to everybody.
const LASTING: Duration = Duration::from_secs(3);
/// So long after the last one, writes are taken to go through: perhaps nobody has tried.
const QUIET: Duration = Duration::from_secs(15);

/// What was refused of late.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Option<Refused>>);

#[derive(Debug, Clone, Copy)]
struct Refused {
    why: &'static str,
    first: Instant,
    last: Instant,
}

impl Refusals {
    /// Takes note of a write that failed, where the server answers and takes nobody's.
    pub(crate) fn note(&self, error: &sqlx::Error) {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            Some(DISK_FULL) => self.refused("its disk is full", Instant::now()),
            Some(READ_ONLY) => self.refused("it is read-only", Instant::now()),
            _ => {}
        }
    }

    /// The same of a unit of work.
    pub(super) fn note_unit(&self, error: &Error) {
        if let Error::Database(error) | Error::Jobs(EnqueueError::Database(error)) = error {
            self.note(error);
        }
    }

    /// Takes note of what came of a unit's writes, and gives it back.
    pub(super) fn noted<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &done {
            self.note_unit(error);
        }
        done
    }

    /// Why the database has been refusing writes for some time.
    pub(crate) fn lasting(&self) -> Option<&'static str> {
        self.lasting_at(Instant::now())
    }

    fn refused(&self, why: &'static str, now: Instant) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = refused.filter(|one| now.duration_since(one.last) < QUIET);
        *refused = Some(Refused { why, first: before.map_or(now, |one| one.first), last: now });
    }

    fn lasting_at(&self, now: Instant) -> Option<&'static str> {
        let refused = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = |one: &Refused| {
            one.last.duration_since(one.first) >= LASTING && now.duration_since(one.last) < QUIET
        };
        refused.filter(lasts).map(|one| one.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_go_on_last_and_quiet_ends_them() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        refusals.refused("full", start);
        assert_eq!(refusals.lasting_at(start + LASTING), None, "one may pass");
        refusals.refused("full", start + LASTING);
        assert_eq!(refusals.lasting_at(start + LASTING), Some("full"));
        assert_eq!(refusals.lasting_at(start + LASTING + QUIET), None, "nobody is refused any more");
        refusals.refused("full", start + LASTING + QUIET);
        assert_eq!(refusals.lasting_at(start + LASTING + QUIET), None, "that is the first of others");
    }
}
