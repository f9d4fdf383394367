//! Makes `cargo build` work without Node: when the web UI was not built, a page says so.

use std::{error::Error, fs, path::Path};

const NOT_BUILT: &str = "<!doctype html><title>Syndarix</title><h1>The web UI was not built</h1>\
     <p>Run <code>make build</code>, or use the API: see <a href=\"/docs\">/docs</a>.</p>";

fn main() -> Result<(), Box<dyn Error>> {
    let dist = Path::new("../../frontend/dist");
    if !dist.join("index.html").exists() {
        fs::create_dir_all(dist)?;
        fs::write(dist.join("index.html"), NOT_BUILT)?;
    }
    println!("cargo:rerun-if-changed=../../frontend/dist");
    println!("cargo:rerun-if-changed=../../migrations");
    Ok(())
}
