//! Time and ids, handed in wherever they are needed, so that a test can hold them still.

use std::sync::{Arc, Mutex, PoisonError};
use syndarix_domain::Timestamp;
use uuid::{ContextV7, Uuid};

/// Tells the time: the system's, or one that a test sets.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    fixed: Option<Arc<Mutex<Timestamp>>>,
}

impl Clock {
    /// A clock that stands still until it is set.
    pub fn fixed(at: Timestamp) -> Self {
        Self { fixed: Some(Arc::new(Mutex::new(at))) }
    }

    /// Now, to the microsecond: what PostgreSQL stores, so that what was written equals what is read.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        let now = match &self.fixed {
            Some(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
            None => chrono::Utc::now(),
        };
        chrono::SubsecRound::trunc_subsecs(now, 6)
    }

    /// Sets a fixed clock; the system's clock is left alone.
    pub fn set(&self, at: Timestamp) {
        if let Some(fixed) = &self.fixed {
            *fixed.lock().unwrap_or_else(PoisonError::into_inner) = at;
        }
    }
}

/// Makes ids that sort in the order in which they were made, also within one millisecond: rows of one
/// transaction keep their order.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    counter: Arc<Mutex<ContextV7>>,
}

impl Ids {
    /// A new UUIDv7 of this moment.
    pub fn next(&self, now: Timestamp) -> Uuid {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(uuid::Timestamp::from_unix(&*counter, seconds, now.timestamp_subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_sort_in_the_order_in_which_they_were_made() {
        let (ids, clock) = (Ids::default(), Clock::fixed(Timestamp::UNIX_EPOCH));
        let made: Vec<Uuid> = (0..10_000).map(|_| ids.next(clock.now())).collect();
        assert!(made.is_sorted() && made.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
