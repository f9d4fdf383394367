//! Time and ids, handed in wherever they are needed, so that a test can hold them still.

use std::sync::{Arc, Mutex, PoisonError};
use syndarix_domain::Timestamp;
use uuid::{Builder, Uuid};

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

/// Makes time-ordered ids.
#[derive(Debug, Clone, Default)]
pub struct Ids;

impl Ids {
    /// A new UUIDv7 of this moment.
    pub fn next(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
    }
}
