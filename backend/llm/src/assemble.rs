//! Puts streamed pieces together to the blocks of a message.
//!
//! Invariant: whatever pieces come, the result is well-formed: a tool call whose arguments are not a JSON object
//! becomes [`Block::InvalidToolUse`], never an error and never a guess.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::tokens::estimate_text;
use crate::types::{Block, Delta, StopReason, Usage};

#[derive(Debug)]
enum Building {
    Text(String),
    Thinking { text: String, signature: Option<String> },
    Tool { id: String, name: String, json: String },
}

/// The state of an answer that is still being streamed.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: BTreeMap<u32, Building>,
    usage: Option<Usage>,
    stop: Option<StopReason>,
    model: String,
}

impl Assembler {
    /// Adds a piece. A piece for a block of another sort is ignored: adapters number blocks so that it cannot be.
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Started { model, .. } => model.clone_into(&mut self.model),
            Delta::Text { index, text } => {
                if let Building::Text(sum) = self.part(*index, || Building::Text(String::new())) {
                    sum.push_str(text);
                }
            }
            Delta::Thinking { index, text } => {
                if let Building::Thinking { text: sum, .. } = self.thinking(*index) {
                    sum.push_str(text);
                }
            }
            Delta::Signature { index, signature } => {
                if let Building::Thinking { signature: sum, .. } = self.thinking(*index) {
                    sum.get_or_insert_default().push_str(signature);
                }
            }
            Delta::ToolUse { index, id, name } => {
                let (id, name) = (id.clone(), name.clone());
                self.part(*index, || Building::Tool { id, name, json: String::new() });
            }
            Delta::ToolInput { index, json } => {
                if let Some(Building::Tool { json: sum, .. }) = self.parts.get_mut(index) {
                    sum.push_str(json);
                }
            }
            Delta::Usage { usage } => self.usage = Some(*usage),
            Delta::Finished { stop } => self.stop = Some(stop.clone()),
        }
    }

    fn part(&mut self, index: u32, new: impl FnOnce() -> Building) -> &mut Building {
        self.parts.entry(index).or_insert_with(new)
    }

    fn thinking(&mut self, index: u32) -> &mut Building {
        self.part(index, || Building::Thinking { text: String::new(), signature: None })
    }

    /// The model's name as the provider gave it; empty before it did.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The prompt's tokens as the provider counts them; 0 before it did.
    pub fn prompt(&self) -> u32 {
        self.usage.map_or(0, |usage| usage.prompt())
    }

    /// Whether the model said why it stopped, without which the answer is not whole.
    pub fn is_finished(&self) -> bool {
        self.stop.is_some()
    }

    /// The provider's figures if the answer is whole and it gave some; otherwise the larger of what it gave and
    /// what is counted here, marked estimated. `prompt_estimate` is the count of the request in tokens.
    pub fn usage(&self, prompt_estimate: u32) -> Usage {
        self.usage_or(|| prompt_estimate)
    }

    /// The same; the request is counted only where the provider did not.
    pub fn usage_or(&self, prompt_estimate: impl FnOnce() -> u32) -> Usage {
        // Some servers report zeros for "I did not count"; taking them at their word would make calls free.
        let reported = self.usage.filter(|usage| usage.prompt() > 0);
        match reported {
            Some(usage) if self.is_finished() && (usage.output > 0 || self.parts.is_empty()) => usage,
            Some(usage) => {
                Usage { output: usage.output.max(self.counted_output()), estimated: true, ..usage }
            }
            None => {
                let given = self.usage.map_or(0, |usage| usage.output);
                let output = given.max(self.counted_output());
                Usage { input: prompt_estimate(), output, estimated: true, ..Usage::default() }
            }
        }
    }

    fn counted_output(&self) -> u32 {
        self.parts
            .values()
            .map(|part| match part {
                Building::Text(text) | Building::Thinking { text, .. } => estimate_text(text),
                Building::Tool { name, json, .. } => estimate_text(name).saturating_add(estimate_text(json)),
            })
            .fold(0, u32::saturating_add)
    }

    /// The blocks, and why the model stopped. An answer with tool calls stops for them, whatever word the
    /// provider used, unless it was cut.
    pub fn finish(self) -> (Vec<Block>, StopReason) {
        let blocks: Vec<Block> = self.parts.into_values().filter_map(into_block).collect();
        let calls = blocks.iter().any(|b| matches!(b, Block::ToolUse { .. } | Block::InvalidToolUse { .. }));
        let stop = match self.stop {
            Some(StopReason::EndTurn) | None if calls => StopReason::ToolUse,
            Some(stop) => stop,
            None => StopReason::Other("unfinished".to_owned()),
        };
        (blocks, stop)
    }
}

fn into_block(part: Building) -> Option<Block> {
    match part {
        Building::Text(text) => (!text.is_empty()).then_some(Block::Text { text }),
        Building::Thinking { text, signature } => Some(Block::Thinking { text, signature, model: None }),
        Building::Tool { id, name, json } => Some(tool_block(id, name, json)),
    }
}

/// A tool call from its argument text; no text at all means no arguments.
pub(crate) fn tool_block(id: String, name: String, json: String) -> Block {
    if json.trim().is_empty() {
        return Block::ToolUse { id, name, input: Value::Object(serde_json::Map::new()) };
    }
    match serde_json::from_str::<Value>(&json) {
        Ok(input @ Value::Object(_)) => Block::ToolUse { id, name, input },
        Ok(_) => Block::InvalidToolUse { id, name, raw: json, error: "not an object".to_owned() },
        Err(error) => Block::InvalidToolUse { id, name, raw: json, error: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_no_json_object_become_a_marked_call_that_can_be_rejected() {
        for raw in ["{\"a\":", "[1]", "\"text\"", "nonsense"] {
            let block = tool_block("c1".into(), "commit".into(), raw.into());
            let Block::InvalidToolUse { raw: kept, .. } = &block else { unreachable!("{block:?}") };
            assert_eq!(kept, raw);
            assert!(matches!(block.rejection(), Some(Block::ToolResult { is_error: true, .. })));
        }
        assert!(matches!(tool_block("c".into(), "n".into(), " ".into()), Block::ToolUse { .. }));
    }

    #[test]
    fn zero_usage_from_a_provider_is_replaced_by_a_marked_count() {
        let mut answer = Assembler::default();
        answer.push(&Delta::Text { index: 0, text: "four words of text".into() });
        answer.push(&Delta::Usage { usage: Usage::default() });
        answer.push(&Delta::Finished { stop: StopReason::EndTurn });
        let usage = answer.usage(12);
        assert!(usage.estimated && usage.input == 12 && usage.output >= 4, "{usage:?}");
    }

    #[test]
    fn usage_of_a_cut_answer_is_at_least_what_was_seen() {
        let mut answer = Assembler::default();
        answer.push(&Delta::Usage { usage: Usage { input: 9, output: 1, ..Usage::default() } });
        answer.push(&Delta::Text { index: 0, text: "one two three four five six".into() });
        let usage = answer.usage(500);
        assert!(usage.estimated && usage.input == 9 && usage.output >= 6, "{usage:?}");
    }
}
