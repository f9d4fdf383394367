//! A conversation while it is read: neighbours of one role become one message, and the caller's cache marks are kept
//! beside it, since the neutral vocabulary has no place for hints within what is said.

use serde_json::Value;

use crate::provider::anthropic::REDACTED;
use crate::types::{Block, CacheMark, CachePlace, CacheTime, Message, Role};

/// A caller's wish that the prompt be kept up to here; how long, if it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(Option<CacheTime>);

/// A block and the mark on it.
pub(super) type Marked = (Block, Option<Mark>);

/// The mark on a content part, a block, a tool or a message: Anthropic's own, and what clients of the other format
/// write in the same words.
pub(super) fn mark_of(value: &Value) -> Option<Mark> {
    let mark = value.get("cache_control").filter(|mark| mark.is_object())?;
    Some(Mark(match mark.get("ttl").and_then(Value::as_str) {
        Some("1h") => Some(CacheTime::Long),
        Some("5m") => Some(CacheTime::Short),
        _ => None,
    }))
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: String,
    pub(super) messages: Vec<Message>,
    pub(super) marks: Vec<CacheMark>,
}

impl Conversation {
    /// Adds to the system prompt.
    pub(super) fn instruct(&mut self, text: &str, mark: Option<Mark>) {
        self.system.push_str(text);
        self.mark(CachePlace::System(self.system.len()), mark);
    }

    /// Adds to the system prompt what stands by itself.
    pub(super) fn instruct_apart(&mut self, text: &str, mark: Option<Mark>) {
        if !self.system.is_empty() {
            self.system.push_str("\n\n");
        }
        self.instruct(text, mark);
    }

    /// Adds blocks.
    pub(super) fn say(&mut self, role: Role, blocks: Vec<Marked>) {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(Message { role, content: Vec::new() });
        }
        let place = self.messages.len() - 1;
        for (block, mark) in blocks {
            let content = &mut self.messages[place].content;
            content.push(block);
            let number = content.len() - 1;
            self.mark(CachePlace::Block(place, number), mark);
        }
    }

    /// Adds a block, if there is one.
    pub(super) fn say_if(&mut self, role: Role, block: Option<Marked>) {
        if let Some(block) = block {
            self.say(role, vec![block]);
        }
    }

    /// Marks something.
    pub(super) fn mark(&mut self, after: CachePlace, mark: Option<Mark>) {
        if let Some(Mark(time)) = mark {
            self.marks.push(CacheMark { after, time });
        }
    }
}

/// A model's thoughts, if somebody can prove them: without a signature no provider takes them back.
pub(super) fn signed(text: &str, signature: &str) -> Option<Block> {
    let signature = Some(signature.to_owned()).filter(|signature| !signature.is_empty());
    signature.map(|signature| Block::Thinking {
        text: text.to_owned(),
        signature: Some(signature),
        model: None,
    })
}

/// Thoughts that the provider encrypted.
pub(super) fn redacted(data: &str) -> Option<Block> {
    if data.is_empty() { None } else { signed("", &format!("{REDACTED}{data}")) }
}

/// Thoughts as Anthropic's format has them; none where they are not signed. The other format's clients send the same
/// list beside a message, as they were given it.
pub(super) fn thinking_block(block: &Value) -> Option<Block> {
    let text = |key| block.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "redacted_thinking" => redacted(text("data")),
        _ => signed(text("thinking"), text("signature")),
    }
}
