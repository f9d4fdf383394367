//! Money in whole micro-dollars. Never a float: sums of a million calls must be exact.

use serde::{Deserialize, Serialize};
use std::{fmt, iter::Sum};

/// An amount in millionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Adds; stops at the end of the range instead of wrapping, as a budget must then refuse.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts; stops at the end of the range instead of wrapping.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars with as many places as a small call needs: `$0.004200`, `$12.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (dollars, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if micros % 10_000 == 0 {
            write!(f, "{sign}${dollars}.{:02}", micros / 10_000)
        } else {
            write!(f, "{sign}${dollars}.{micros:06}")
        }
    }
}
