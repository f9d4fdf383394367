//! Holds an embedded server until its standard input ends:
//! `cargo run -p syndarix-postgres --example hold -- DATA_DIR RUN_BASE`.
//!
//! The tests kill it in all the ways a process can die.

#![expect(clippy::print_stdout, reason = "the URL is for whoever started this")]

use std::io::Read;
use std::path::PathBuf;
use syndarix_postgres::{EmbeddedOptions, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut options = EmbeddedOptions::platform_default(|name| std::env::var_os(name)?.into_string().ok());
    options.data_dir = arguments.next().ok_or("usage: hold DATA_DIR [RUN_BASE]")?;
    options.run_base = arguments.next().unwrap_or(options.run_base);
    let server = start(options).await?;
    println!("{} {}", server.pid(), server.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    server.stop().await?;
    Ok(())
}
