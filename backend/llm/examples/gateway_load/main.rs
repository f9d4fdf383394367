//! The two ends of `make bench-gateway`: an upstream that answers as OpenAI's chat completions do, and a load tool.
//!
//! Both speak HTTP/1.1 by hand on one thread each, so that they take little of the cores that the gateway between them
//! is measured on. `upstream` says its port and serves until it is killed; `load` reads its settings from the standard
//! input, so that no key stands in the list of processes. How the figures are taken stands in docs/BENCHMARKS.md.

mod load;
mod upstream;
mod wire;

use serde_json::Value;
use std::{error::Error, io::Write};

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("upstream") => upstream::serve().await,
        Some("load") => load::run(serde_json::from_reader(std::io::stdin().lock())?).await,
        _ => Err("say `upstream`, or `load` with its settings as JSON on the standard input".into()),
    }
}

/// A line to whoever started this, marked as the programs of benchmarks/peers mark theirs.
pub(crate) fn say(line: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "peer: {line}")?;
    Ok(out.flush()?)
}
