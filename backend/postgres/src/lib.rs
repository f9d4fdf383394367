//! syndarix-postgres.
