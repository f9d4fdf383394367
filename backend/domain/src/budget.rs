//! Budget maths: reserve the worst case before a call, settle the real cost after it.
//!
//! Invariant: at every moment `spent + reserved <= hard limit`, whatever the order of reservations and
//! settlements, as long as a settlement is not above its reservation. The database holds the numbers; the same
//! rule stands in its one update statement, and a property test (`server/tests/it/budgets.rs`) keeps the two alike.

use crate::money::MicroUsd;
use serde::{Deserialize, Serialize};

/// One budget: a node of the tree organisation > project > sprint > instance > run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Calls stop here; `None` is no limit.
    pub hard_limit: Option<MicroUsd>,
    /// People are warned here.
    pub soft_limit: Option<MicroUsd>,
    /// Settled cost.
    pub spent: MicroUsd,
    /// Worst cost of calls under way.
    pub reserved: MicroUsd,
}

impl Budget {
    /// What may still be reserved; `None` is no limit.
    pub fn available(&self) -> Option<MicroUsd> {
        self.hard_limit.map(|limit| limit.minus(self.spent).minus(self.reserved))
    }

    /// Sets an amount aside, or says how much is missing.
    pub fn reserve(&mut self, amount: MicroUsd) -> Result<(), MicroUsd> {
        match self.available() {
            Some(available) if amount > available => Err(amount.minus(available)),
            _ => {
                self.reserved = self.reserved.plus(amount);
                Ok(())
            }
        }
    }

    /// Ends a reservation with the real cost.
    pub fn settle(&mut self, reserved: MicroUsd, cost: MicroUsd) {
        self.reserved = self.reserved.minus(reserved);
        self.spent = self.spent.plus(cost);
    }
}

/// People are told when this much of a soft limit is reached, in percent.
pub const ALERTS: [u8; 3] = [80, 90, 100];

/// Which alerts are due when what is spent grows from `before` to `after`: each once, however the calls fall.
pub fn crossed(soft_limit: MicroUsd, before: MicroUsd, after: MicroUsd) -> impl Iterator<Item = u8> {
    let reaches = move |spent: MicroUsd, percent: u8| {
        i128::from(spent.0) * 100 >= i128::from(soft_limit.0) * i128::from(percent)
    };
    ALERTS.into_iter().filter(move |&percent| !reaches(before, percent) && reaches(after, percent))
}
