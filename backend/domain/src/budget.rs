//! Budget maths: reserve the worst case before a call, settle the real cost after it.
//!
//! Invariant: at every moment `spent + reserved <= hard limit`, whatever the order of reservations and
//! settlements, as long as a settlement is not above its reservation. The database holds the numbers; the same
//! rule stands in its one update statement, and a property test keeps the two alike.

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
