//! What the documentation says of translation is what happens.

use crate::samples::translation::answers::{Fate, directions};
use crate::samples::translation::{PAGE, page};

#[test]
fn the_page_on_translation_is_current() {
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page(),
        "docs/TRANSLATION.md is not what translation does: run `cargo run -p syndarix-llm --example translation`"
    );
}

/// Of all answers: by whom, to whom, and what.
fn that_are(fate: Fate) -> Vec<(&'static str, &'static str)> {
    let all =
        directions().into_iter().flat_map(|(who, cases)| cases.into_iter().map(move |case| (who, case)));
    all.filter(|(_, case)| case.fate() == fate).map(|(who, case)| (who, case.says)).collect()
}

const TO_CHAT: &str = "A model of Anthropic's, an OpenAI client";
const TO_MESSAGES: &str = "A model of OpenAI's, an Anthropic client";
const ANTHROPICS_RESPONSE: &str = "A model of Anthropic's, a client of responses";
const OPENAIS_RESPONSE: &str = "A model of OpenAI's, a client of responses";

#[test]
fn of_an_answer_only_what_the_clients_format_has_no_place_for_is_lost() {
    let lost = [
        (TO_CHAT, "citations"),
        (TO_CHAT, "which stop string it was"),
        (TO_CHAT, "at which tier it was served"),
        (TO_MESSAGES, "annotations"),
        (TO_MESSAGES, "`logprobs`"),
        (TO_MESSAGES, "when it answered"),
        (TO_MESSAGES, "at which tier and by which system it was served"),
        (ANTHROPICS_RESPONSE, "citations"),
        (OPENAIS_RESPONSE, "annotations"),
        (OPENAIS_RESPONSE, "`logprobs`"),
    ];
    assert_eq!(that_are(Fate::Lost), lost);
}

#[test]
fn of_an_answer_only_what_each_format_counts_names_or_seals_in_its_own_way_is_changed() {
    let changed = [
        (TO_CHAT, "a text in two blocks"),
        (TO_CHAT, "tokens"),
        (TO_CHAT, "its id"),
        (TO_MESSAGES, "tokens"),
        (TO_MESSAGES, "tokens, where it is said what was written to the cache"),
        (TO_MESSAGES, "its id"),
        (ANTHROPICS_RESPONSE, "thoughts"),
        (ANTHROPICS_RESPONSE, "thoughts that are encrypted"),
        (ANTHROPICS_RESPONSE, "tokens"),
    ];
    assert_eq!(that_are(Fate::Changed), changed);
}
