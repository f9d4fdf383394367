//! The application, tested through its router against a real PostgreSQL.

mod floor;
mod support;
