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

use crate::ask::Files;
use crate::provider::{Deployment, Wire};
use crate::types::{Block, ChatRequest};

/// Tokens a provider puts around one message or block: role, separators, ids. Published frames use 3 to 8.
const PER_BLOCK: u32 = 12;
/// Tokens of a provider's own preamble for tool use; the largest published one is below 550.
const TOOL_PREAMBLE: u32 = 600;
/// Tokens around one tool definition beyond its JSON.
const PER_TOOL: u32 = 24;

/// Tokens of a tool that the provider describes to the model itself; the largest published ones, for a screen with its
/// instructions, are below 1,300.
const PER_VENDORS_TOOL: u32 = 2_000;

/// What one picture costs, rather too much than too little. Anthropic's largest are below 4,800 tokens.
const PER_IMAGE: u32 = 8_000;
/// What a picture can cost at a model of OpenAI's format that is not below: 30,000 patches of the newest models, at the
/// 1.62 tokens that a patch costs at the small ones; 48,169 at `gpt-4o-mini`. Nothing in a request that names a picture by
/// its address says how large it is.
const LARGEST_IMAGE: u32 = 50_000;
/// Models whose pictures are smaller, by the beginning of their name, from what OpenAI publishes of patches and tiles.
const SMALLER_IMAGES: [(&str, u32); 9] = [
    // 10,000 patches.
    ("gpt-5.5", 16_200),
    ("gpt-5.4", 16_200),
    // 2,500 patches at the most, or some tiles.
    ("gpt-5.3", PER_IMAGE),
    ("gpt-5.2", PER_IMAGE),
    ("gpt-5.1", PER_IMAGE),
    ("gpt-5-", PER_IMAGE),
    ("gpt-4.1", PER_IMAGE),
    ("o3", PER_IMAGE),
    ("o4-mini", PER_IMAGE),
];
/// What a document of unknown length counts as where its provider does not say: thirty pages or so.
const PER_DOCUMENT: u32 = 100_000;

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

/// Upper bound of the prompt tokens of a request, its pictures apart: its bytes, and allowances for what the provider adds.
pub(crate) fn bound_request(request: &ChatRequest) -> u32 {
    count_request(request, bound_text, 0)
}

/// Upper bound of the prompt tokens of a request in a client's own words, its pictures and documents apart. The JSON around
/// every text is longer than what providers put around it, and an escaped character is longer than the character. Whether
/// it has tools, and how many the provider describes itself, the caller says.
pub(crate) fn bound_native(body: &[u8], (has_tools, vendors_tools): (bool, u32)) -> u32 {
    u32::try_from(body.len())
        .unwrap_or(u32::MAX)
        .saturating_add(PER_BLOCK)
        .saturating_add(if has_tools { TOOL_PREAMBLE } else { 0 })
        .saturating_add(vendors_tools.saturating_mul(PER_VENDORS_TOOL))
}

/// Upper bound of what pictures and documents add at this deployment. A packed page, or one that is named by its address, may
/// be of any length, but for the model's window, beyond which a provider refuses the prompt.
pub(crate) fn bound_files(files: Files, deployment: &Deployment) -> u32 {
    let window = deployment.context_window;
    if files.documents > 0 { window } else { files.images.saturating_mul(per_image(deployment)).min(window) }
}

fn per_image(deployment: &Deployment) -> u32 {
    if deployment.provider.wire() != Some(Wire::OpenAi) {
        return PER_IMAGE;
    }
    let smaller = SMALLER_IMAGES.iter().find(|(name, _)| deployment.model.starts_with(name));
    smaller.map_or(LARGEST_IMAGE, |(_, tokens)| *tokens)
}

/// What pictures and documents are, rather too many than too few.
pub(crate) fn estimate_files(files: Files) -> u32 {
    let images = files.images.saturating_mul(PER_IMAGE);
    images.saturating_add(files.documents.saturating_mul(PER_DOCUMENT))
}

/// The prompt tokens of a request, rather too many than too few.
pub fn estimate_request(request: &ChatRequest) -> u32 {
    count_request(request, estimate_text, PER_IMAGE)
}

/// The tokens of a block, rather too many than too few.
pub fn estimate_block(block: &Block) -> u32 {
    PER_BLOCK.saturating_add(count_block(block, estimate_text, PER_IMAGE))
}

fn count_request(request: &ChatRequest, count: fn(&str) -> u32, per_image: u32) -> u32 {
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let mut total = PER_BLOCK.saturating_add(count(&request.system));
    for block in blocks {
        total = total.saturating_add(PER_BLOCK).saturating_add(count_block(block, count, per_image));
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

fn count_block(block: &Block, count: fn(&str) -> u32, per_image: u32) -> u32 {
    let sum = |texts: &[&str]| texts.iter().map(|text| count(text)).fold(0, u32::saturating_add);
    match block {
        Block::Text { text } => count(text),
        Block::ToolUse { id, name, input } => sum(&[id, name, &input.to_string()]),
        // Sent back inside a JSON object (see the adapters), hence quoted.
        Block::InvalidToolUse { id, name, raw, .. } => sum(&[id, name, &serde_json::json!(raw).to_string()]),
        Block::ToolResult { tool_use_id, content, images, .. } => {
            let pictures = u32::try_from(images.len()).unwrap_or(u32::MAX).saturating_mul(per_image);
            sum(&[tool_use_id, content]).saturating_add(pictures)
        }
        Block::Image { .. } => per_image,
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
