//! Finds, starts, watches and stops the PostgreSQL that Syndarix brings along when no `DATABASE_URL` is given.
//!
//! Invariants:
//! * One server per data directory: a lock of our own is taken before anything is touched, and it is held until
//!   the server has ended. "Ready" is said only of our own child, never of whoever answers on the socket.
//! * No server outlives its parent for long: a guard process holds a pipe and stops the server when the pipe
//!   breaks; what the guard missed, the next start ends.
//! * The server listens on a Unix socket in a directory that only its user (and root) may enter, never on TCP.
//! * A data directory is either absent or whole: `initdb` works beside it and the result is renamed into place.
//! * Every wait has a limit, and every error carries the last lines of the log that explains it.
//!
//! An operator who runs Syndarix under systemd wants `KillMode=mixed`: otherwise the server gets its SIGTERM at the
//! same time as Syndarix and refuses the connections the drain still needs.

mod account;
mod binaries;
mod bounded;
#[cfg(feature = "bundled")]
mod bundled;
mod database;
mod embedded;
mod error;
mod home;
mod initdb;
mod leftover;
mod log;
mod options;
mod passwords;
mod run_dir;
mod server;
mod settings;
mod wheel;

pub use binaries::{Binaries, NotFound, Rejected, Source, find_binaries};
pub use embedded::{Died, Embedded, Probe, start};
pub use error::Error;
pub use options::EmbeddedOptions;
pub use server::Stopped;
