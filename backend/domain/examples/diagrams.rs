//! Writes the diagrams of the machines to `docs/machines.md`.

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let page = Path::new(samples::diagrams::PAGE);
    if let Some(folder) = page.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(page, samples::diagrams::page()?)?;
    Ok(())
}
