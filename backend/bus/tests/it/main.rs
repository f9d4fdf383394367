//! The bus against a real PostgreSQL and a real Redis.

mod harness;
mod instances;
mod subscriptions;
