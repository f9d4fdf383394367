//! The bus against a real PostgreSQL and a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod buckets;
mod harness;
mod instances;
mod marks;
mod subscriptions;
