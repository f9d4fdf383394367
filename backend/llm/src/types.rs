//! The vocabulary that every provider is translated to and from.
//!
//! All of it is persisted as JSON in step rows, so a variant or field is added, never renamed.

mod options;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Cause;

pub use options::{CacheMark, CachePlace, CacheTime, Effort, Options, Reasoning, ToolChoice};

/// What is asked of a model, independent of who serves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Standing instructions; empty means none.
    #[serde(default)]
    pub system: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    #[serde(default)]
    pub tools: Vec<ToolSpec>,
    /// Upper limit of the answer, in tokens, reasoning included. The deployment's own limit caps it further.
    pub max_output_tokens: u32,
    /// Sampling temperature; the provider's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Strings at which the model stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// What else some callers ask for.
    #[serde(default)]
    pub options: Options,
}

impl ChatRequest {
    /// Every picture, also those of tools.
    pub(crate) fn images(&self) -> impl Iterator<Item = &Image> {
        self.messages.iter().flat_map(|message| &message.content).flat_map(|block| match block {
            Block::Image { image } => std::slice::from_ref(image),
            Block::ToolResult { images, .. } => images,
            _ => &[],
        })
    }

    /// The tool that each call names, by the call's id: some formats want it with the result.
    pub(crate) fn call_names(&self) -> HashMap<&str, &str> {
        let blocks = self.messages.iter().flat_map(|message| &message.content);
        blocks
            .filter_map(|block| match block {
                Block::ToolUse { id, name, .. } | Block::InvalidToolUse { id, name, .. } => {
                    Some((id.as_str(), name.as_str()))
                }
                _ => None,
            })
            .collect()
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Image {
    /// Its bytes.
    Data {
        /// Such as `image/png`.
        media_type: String,
        /// In base64.
        data: String,
    },
    /// Where the provider fetches it.
    Url {
        /// The address.
        url: String,
    },
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person, or the tools answering on their behalf.
    User,
    /// The model.
    Assistant,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Block>,
}

impl Message {
    /// A user message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: vec![Block::text(text)] }
    }

    /// An assistant message, usually the blocks of a [`Completion`].
    pub fn assistant(content: Vec<Block>) -> Self {
        Self { role: Role::Assistant, content }
    }

    /// The results of tool calls, as one user message.
    pub fn tool_results(content: Vec<Block>) -> Self {
        Self { role: Role::User, content }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// A picture, said by the user.
    Image {
        /// Which.
        image: Image,
    },
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// The model wants a tool called; `input` is a JSON object.
    ToolUse {
        /// The call's id, echoed by its result.
        id: String,
        /// The tool.
        name: String,
        /// The arguments: always a JSON object.
        input: Value,
    },
    /// The model wanted a tool called but its arguments are not a JSON object. Never run it: answer with
    /// [`Block::rejection`], so that the model can correct itself.
    InvalidToolUse {
        /// The call's id, echoed by its result.
        id: String,
        /// The tool.
        name: String,
        /// The arguments as they came.
        raw: String,
        /// What is wrong with them.
        error: String,
    },
    /// What a tool answered.
    ToolResult {
        /// The call this answers.
        tool_use_id: String,
        /// The answer: text, often JSON.
        content: String,
        /// Whether the tool failed.
        #[serde(default)]
        is_error: bool,
        /// Pictures that belong to the answer, after its text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// The model's reasoning; `signature` proves its origin to the provider that made it.
    Thinking {
        /// The reasoning as far as it was shown.
        text: String,
        /// The provider's signature. Without one the block is not sent back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// The deployment's model that reasoned. Signatures hold for their own model, so no other is sent them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
}

impl Block {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The error result that hands an invalid tool call back to the model; `None` for any other block.
    pub fn rejection(&self) -> Option<Self> {
        let Self::InvalidToolUse { id, name, error, .. } = self else { return None };
        Some(Self::ToolResult {
            tool_use_id: id.clone(),
            content: format!(
                "The call of `{name}` was not run: its arguments are not a JSON object ({error}). Call it again \
                 with valid JSON."
            ),
            is_error: true,
            images: Vec::new(),
        })
    }
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Unique within the request.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON schema of its arguments.
    pub input_schema: Value,
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said all.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// The answer reached its token limit and is cut.
    MaxTokens,
    /// It produced a stop string.
    StopSequence,
    /// It, or the provider's filter, refused.
    Refusal,
    /// Anything else, in the provider's word.
    Other(String),
}

/// Tokens of one attempt. The classes do not overlap, but for those that are said to be a part
/// of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the provider's cache.
    pub input: u32,
    /// Answer tokens, reasoning included.
    pub output: u32,
    /// Prompt tokens read from the provider's cache.
    #[serde(default)]
    pub cache_read: u32,
    /// Prompt tokens written to the provider's cache.
    #[serde(default)]
    pub cache_write: u32,
    /// The part of `cache_write` that is kept for an hour, which costs more.
    #[serde(default)]
    pub cache_write_1h: u32,
    /// The part of `input` that was pictures, where the provider says so.
    #[serde(default)]
    pub image: u32,
    /// The part of `input` that was sound.
    #[serde(default)]
    pub audio: u32,
    /// The part of `output` that was sound.
    #[serde(default)]
    pub audio_output: u32,
    /// The part of `output` that was reasoning.
    #[serde(default)]
    pub reasoning: u32,
    /// Whether any figure was counted here because the provider gave none.
    #[serde(default)]
    pub estimated: bool,
}

impl Usage {
    /// All prompt tokens, cached or not.
    pub fn prompt(&self) -> u32 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// What the model said, in order.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: StopReason,
    /// What it used.
    pub usage: Usage,
    /// The name of the deployment that answered.
    pub deployment: String,
    /// Who served it, as in the price table ("anthropic", "openai", ...).
    pub provider: String,
    /// The model's name as the provider gave it.
    pub model: String,
    /// Whether a scripted endpoint answered instead of a model.
    pub simulated: bool,
    /// From sending the request to the last byte of the answer, in milliseconds.
    pub latency_ms: u64,
    /// Cost of this attempt in micro-USD, rounded up.
    pub cost_micro_usd: i64,
    /// Whether the price is unknown, so that `cost_micro_usd` is the dearest known rates' figure.
    pub price_unknown: bool,
    /// What the call went through before it, in order: deployments that failed or were passed over. Of this call only: it
    /// is kept nowhere.
    #[serde(skip)]
    pub before: Vec<Cause>,
}

impl Completion {
    /// All text of the answer, joined.
    pub fn text(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| if let Block::Text { text } = block { Some(text.as_str()) } else { None })
            .collect()
    }
}

/// One piece of a streamed answer. `index` keeps pieces of one block together and orders the blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    /// A provider began to answer. A second one in a call means a new attempt, before any content.
    Started {
        /// The model's name as the provider gave it.
        model: String,
        /// Whether a scripted endpoint answers.
        simulated: bool,
    },
    /// More text.
    Text {
        /// The block.
        index: u32,
        /// What is added.
        text: String,
    },
    /// More reasoning.
    Thinking {
        /// The block.
        index: u32,
        /// What is added.
        text: String,
    },
    /// More of the signature of a reasoning block.
    Signature {
        /// The block.
        index: u32,
        /// What is added.
        signature: String,
    },
    /// A tool call begins.
    ToolUse {
        /// The block.
        index: u32,
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a tool call's arguments.
    ToolInput {
        /// The block.
        index: u32,
        /// A fragment of JSON text; whole only when the block is.
        json: String,
    },
    /// Figures so far; each replaces the one before.
    Usage {
        /// Cumulative figures of this attempt.
        usage: Usage,
    },
    /// The model stopped.
    Finished {
        /// Why.
        stop: StopReason,
    },
}

impl Delta {
    /// Whether this carries part of the answer, after which the attempt cannot be repeated unseen.
    pub fn is_content(&self) -> bool {
        !matches!(self, Self::Started { .. } | Self::Usage { .. } | Self::Finished { .. })
    }
}
