//! How many tokens a request may have, without the provider's tokenizer: an upper bound for reservations.
//!
//! Today's tokenizers merge bytes (BPE), so a text never has more tokens than bytes. That bound alone is about
//! four times too high for prose and would refuse calls that fit their budget, so runs that every vocabulary
//! merges count for less:
//!
//! - ASCII letters of one case count half, rounded up per run, since two-letter
//!   merges are in every vocabulary of 32,000 entries and more; a change of case starts a new run;
//! - a single space before a word belongs to the word; longer white space counts half, rounded up;
//! - digits, signs and every byte outside ASCII count one each.
//!
//! English prose and code come out at about twice the true number. Fixed allowances are added for the message
//! frames and the tool preamble that providers insert.

use crate::types::{Block, ChatRequest};

/// Tokens a provider puts around one message or block: role, separators, ids. Published frames use 3 to 8.
const PER_BLOCK: u32 = 12;
/// Tokens of a provider's own preamble for tool use; the largest published one is below 550.
const TOOL_PREAMBLE: u32 = 600;
/// Tokens around one tool definition beyond its JSON.
const PER_TOOL: u32 = 24;

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Lower,
    Upper,
    Space,
    Other,
}

/// Upper bound of the tokens of a text.
pub fn estimate_text(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let mut total: u32 = 0;
    let mut at = 0;
    while at < bytes.len() {
        let class = class_of(bytes[at]);
        let run = bytes[at..].iter().take_while(|&&byte| class_of(byte) == class).count();
        let next = bytes.get(at + run).map(|&byte| class_of(byte));
        let word_follows = matches!(next, Some(Class::Lower | Class::Upper));
        let count = match class {
            Class::Other => run,
            Class::Space if run == 1 && bytes[at] == b' ' && word_follows => 0,
            Class::Lower | Class::Upper | Class::Space => run.div_ceil(2),
        };
        total = total.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        at += run;
    }
    total
}

fn class_of(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' => Class::Lower,
        b'A'..=b'Z' => Class::Upper,
        b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
        _ => Class::Other,
    }
}

/// Upper bound of the prompt tokens of a request.
pub fn estimate_request(request: &ChatRequest) -> u32 {
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let mut total = PER_BLOCK.saturating_add(estimate_text(&request.system));
    for block in blocks {
        total = total.saturating_add(PER_BLOCK).saturating_add(estimate_block(block));
    }
    if !request.tools.is_empty() {
        total = total.saturating_add(TOOL_PREAMBLE);
    }
    for tool in &request.tools {
        let schema = estimate_text(&tool.input_schema.to_string());
        let words = estimate_text(&tool.name).saturating_add(estimate_text(&tool.description));
        total = total.saturating_add(PER_TOOL).saturating_add(schema).saturating_add(words);
    }
    total
}

fn estimate_block(block: &Block) -> u32 {
    match block {
        Block::Text { text } => estimate_text(text),
        Block::ToolUse { id, name, input } => sum(&[id, name, &input.to_string()]),
        // Sent back inside a JSON object (see the adapters), hence quoted.
        Block::InvalidToolUse { id, name, raw, .. } => sum(&[id, name, &serde_json::json!(raw).to_string()]),
        Block::ToolResult { tool_use_id, content, .. } => sum(&[tool_use_id, content]),
        Block::Thinking { text, signature, .. } => sum(&[text, signature.as_deref().unwrap_or_default()]),
    }
}

fn sum(texts: &[&str]) -> u32 {
    texts.iter().map(|text| estimate_text(text)).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_texts_stay_above_their_published_counts_and_below_the_byte_count() {
        // Counts of the cl100k vocabulary as its authors print them in their examples.
        for (text, tokens) in
            [("tiktoken is great!", 6), ("2 + 2 = 4", 7), ("antidisestablishmentarianism", 6)]
        {
            let estimate = estimate_text(text);
            assert!(estimate >= tokens, "{text}: {estimate} < {tokens}");
            assert!(usize::try_from(estimate).unwrap() <= text.len(), "{text}: {estimate}");
        }
    }

    proptest! {
        #[test]
        fn a_text_never_counts_more_than_its_bytes_and_never_nothing(text in "\\PC{1,60}") {
            let estimate = usize::try_from(estimate_text(&text)).unwrap();
            prop_assert!(estimate <= text.len());
            prop_assert!(estimate > 0);
        }

        #[test]
        fn more_text_never_counts_fewer_tokens_than_its_parts_minus_one(a in "\\PC{0,40}", b in "\\PC{0,40}") {
            let joined = estimate_text(&format!("{a}{b}"));
            prop_assert!(joined + 1 >= estimate_text(&a).max(estimate_text(&b)));
        }
    }
}
