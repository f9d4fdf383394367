//! How many tokens a request has, without the provider's tokenizer: an upper bound for reservations, and an estimate
//! for everything else.
//!
//! Today's tokenizers merge bytes (BPE), so a text never has more tokens than bytes: that is the bound. What providers
//! put around it is theirs; the allowances below are above what is published, and not proven. The bound is about four
//! times too high for prose, so the estimate counts runs that every vocabulary merges for less:
//!
//! - ASCII letters of one case count half, rounded up per run, since two-letter
//!   merges are in every vocabulary of 32,000 entries and more; a change of case starts a new run;
//! - a single space before a word belongs to the word; longer white space counts half, rounded up;
//! - digits, signs and every byte outside ASCII count one each.
//!
//! English prose and code come out at about twice the true number.

use crate::types::{Block, ChatRequest};

/// Tokens a provider puts around one message or block: role, separators, ids. Published frames use 3 to 8.
const PER_BLOCK: u32 = 12;
/// Tokens of a provider's own preamble for tool use; the largest published one is below 550.
const TOOL_PREAMBLE: u32 = 600;
/// Tokens around one tool definition beyond its JSON.
const PER_TOOL: u32 = 24;

/// What one picture can cost: twice the largest figure that the two vendors publish for their current models. Nothing
/// in a request that names a picture by its address says how large it is.
const PER_IMAGE: u32 = 8_000;

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Lower,
    Upper,
    Space,
    Other,
}

/// The tokens of a text, for a reservation: never fewer than a tokenizer that merges bytes makes of it.
fn bound_text(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// The tokens of a text, rather too many than too few.
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

/// Upper bound of the prompt tokens of a request: its bytes, and allowances for what the provider adds.
pub fn bound_request(request: &ChatRequest) -> u32 {
    count_request(request, bound_text)
}

/// Upper bound of the prompt tokens of a request in a client's own words. The JSON around every text is longer than
/// what providers put around it, and an escaped character is longer than the character.
pub(crate) fn bound_native(body: &[u8]) -> u32 {
    let count =
        |word: &[u8]| u32::try_from(memchr::memmem::find_iter(body, word).count()).unwrap_or(u32::MAX);
    // The field `image_url` is counted beside its type `image_url`: too many, which a bound may be.
    let images = count(br#""image"#).saturating_add(count(br#""input_image"#));
    let tools = if count(br#""tools""#) > 0 { TOOL_PREAMBLE } else { 0 };
    u32::try_from(body.len())
        .unwrap_or(u32::MAX)
        .saturating_add(PER_BLOCK)
        .saturating_add(tools)
        .saturating_add(images.saturating_mul(PER_IMAGE))
}

/// The prompt tokens of a request, rather too many than too few.
pub fn estimate_request(request: &ChatRequest) -> u32 {
    count_request(request, estimate_text)
}

/// The tokens of a block, rather too many than too few.
pub fn estimate_block(block: &Block) -> u32 {
    PER_BLOCK.saturating_add(count_block(block, estimate_text))
}

fn count_request(request: &ChatRequest, count: fn(&str) -> u32) -> u32 {
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let mut total = PER_BLOCK.saturating_add(count(&request.system));
    for block in blocks {
        total = total.saturating_add(PER_BLOCK).saturating_add(count_block(block, count));
    }
    if !request.tools.is_empty() {
        total = total.saturating_add(TOOL_PREAMBLE);
    }
    for tool in &request.tools {
        let schema = count(&tool.input_schema.to_string());
        let words = count(&tool.name).saturating_add(count(&tool.description));
        total = total.saturating_add(PER_TOOL).saturating_add(schema).saturating_add(words);
    }
    total
}

fn count_block(block: &Block, count: fn(&str) -> u32) -> u32 {
    let sum = |texts: &[&str]| texts.iter().map(|text| count(text)).fold(0, u32::saturating_add);
    match block {
        Block::Text { text } => count(text),
        Block::ToolUse { id, name, input } => sum(&[id, name, &input.to_string()]),
        // Sent back inside a JSON object (see the adapters), hence quoted.
        Block::InvalidToolUse { id, name, raw, .. } => sum(&[id, name, &serde_json::json!(raw).to_string()]),
        Block::ToolResult { tool_use_id, content, images, .. } => {
            let pictures = u32::try_from(images.len()).unwrap_or(u32::MAX).saturating_mul(PER_IMAGE);
            sum(&[tool_use_id, content]).saturating_add(pictures)
        }
        Block::Image { .. } => PER_IMAGE,
        Block::Thinking { text, signature, .. } => sum(&[text, signature.as_deref().unwrap_or_default()]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Message;

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

    #[test]
    fn the_bound_of_a_request_holds_even_if_every_byte_is_a_token() {
        let text = "\u{1f980}{}[]();ab ZZ 12\t".repeat(50);
        let request = ChatRequest {
            system: text.clone(),
            messages: vec![
                Message::user(text.clone()),
                Message::tool_results(vec![Block::ToolResult {
                    tool_use_id: "c".into(),
                    content: text.clone(),
                    is_error: false,
                    images: Vec::new(),
                }]),
            ],
            tools: Vec::new(),
            max_output_tokens: 1,
            temperature: None,
            stop: Vec::new(),
            options: crate::types::Options::default(),
        };
        let bytes = u32::try_from(3 * text.len()).unwrap();
        assert!(bound_request(&request) >= bytes);
        assert!(
            estimate_request(&request) <= bound_request(&request),
            "a charge by estimate fits its reservation"
        );
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
