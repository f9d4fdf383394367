//! The diagrams in the documentation are those of the code.

use crate::samples::diagrams::{PAGE, page};

#[test]
fn diagrams_in_docs_are_current() {
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page().unwrap(),
        "docs/machines.md is not what the machines do: run `cargo run -p syndarix-domain --example diagrams`"
    );
}
