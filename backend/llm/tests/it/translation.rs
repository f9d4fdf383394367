//! What the documentation says of translation is what happens.

use crate::samples::translation::{PAGE, page};

#[test]
fn the_page_on_translation_is_current() {
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page(),
        "docs/TRANSLATION.md is not what translation does: run `cargo run -p syndarix-llm --example translation`"
    );
}
