//! The two ends of `make bench-gateway`: an upstream that answers as OpenAI's chat completions do, and a load tool; and the
//! least that could stand between them.
//!
//! Both ends speak HTTP/1.1 by hand on one thread each, so that they take little of the cores that the gateway between them
//! is measured on. `upstream` says its port and serves until it is killed; `load` reads its settings from the standard
//! input, so that no key stands in the list of processes. How the figures are taken stands in docs/BENCHMARKS.md.

mod load;
mod relay;
mod upstream;
mod wire;

use serde_json::Value;
use std::{error::Error, io::Write};
use tokio::runtime::{Builder, Runtime};

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let one_thread = || Builder::new_current_thread().enable_all().build();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("upstream"), None) => one_thread()?.block_on(upstream::serve()),
        (Some("load"), None) => {
            one_thread()?.block_on(load::run(serde_json::from_reader(std::io::stdin().lock())?))
        }
        // As gateways are: a thread for each core.
        (Some("relay"), Some(upstream)) => Runtime::new()?.block_on(relay::serve(upstream)),
        _ => Err("say `upstream`, `relay http://HOST:PORT`, or `load` with its settings as JSON on the standard input".into()),
    }
}

/// A line to whoever started this, marked as the programs of benchmarks/peers mark theirs.
pub(crate) fn say(line: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "peer: {line}")?;
    Ok(out.flush()?)
}
