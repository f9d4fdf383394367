//! Logs: to standard error, so that a command's own output stays clean. What is logged never holds a secret: types
//! that carry one redact themselves. Spans of model calls: to a collector, where the operator names one.

mod otlp;
mod settings;

pub use otlp::{Exporter, Kind, Span, Spans, attribute, exporter};
pub use settings::Tracing;

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged when nothing is said.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,rmcp=warn,tower_http=info";

/// Starts logging, `pretty` or `json`. Errors: a filter or a format that does not read, in a sentence.
pub fn init(format: &str, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!("the log filter `{filter}` does not read ({error}): write it like `info,syndarix=debug`")
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        "json" => subscriber.json().try_init(),
        "pretty" => subscriber.try_init(),
        other => return Err(format!("the log format is `pretty` or `json`, not `{other}`")),
    };
    // Somebody who started logging before (a test) keeps what they have.
    drop(started);
    Ok(())
}
