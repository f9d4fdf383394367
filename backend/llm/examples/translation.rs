//! Writes the page on what translation keeps to `docs/TRANSLATION.md`.

#![expect(clippy::unwrap_used, reason = "the samples are those of the tests")]

#[path = "../tests/samples/mod.rs"]
mod samples;

use samples::translation::{PAGE, page};

fn main() -> std::io::Result<()> {
    std::fs::write(PAGE, page())
}
