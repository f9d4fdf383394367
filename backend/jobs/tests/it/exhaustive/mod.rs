//! Every interleaving of a small queue, without a database: what random tests may miss is visited here.
//!
//! The grain is the committed transaction, as the statements of `src/` make them; `model.rs` holds the statements to
//! the same rules. Each rule is shown to matter: without it, the search finds the interleaving that breaks the queue.

mod explore;
mod leases;
mod parking;
