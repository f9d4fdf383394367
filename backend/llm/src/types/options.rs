//! Wishes of a caller beside the conversation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Wishes beyond the conversation; the provider's default where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Whether, and which, tool must be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The JSON schema that the answer must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Whether the answer must be a JSON object, of any shape.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub json_object: bool,
    /// Whom the provider may hold to account for misuse, as an opaque name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long the model may think first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Names of the tools whose arguments must fit their schema exactly.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub strict_tools: BTreeSet<String>,
    /// Where the prompt is to be kept for the next call. None: where an agent's call has them, at the end of the
    /// system prompt and of the conversation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheMark>,
}

/// How long the model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// As much as this word means to the provider.
    Effort(Effort),
    /// At most so many tokens.
    Budget(u32),
}

/// A provider's word for how much is thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// As little as there is.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More than much.
    XHigh,
    /// All there is.
    Max,
}

impl Effort {
    /// The word, as both formats write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max]
            .into_iter()
            .find(|effort| effort.as_str() == word)
    }

    /// What the word is worth where a number of tokens is wanted.
    pub fn budget(self) -> u32 {
        match self {
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh => 32_768,
            Self::Max => 65_536,
        }
    }

    /// The word for a number of tokens: one of the three that every reasoning model knows.
    pub fn of_budget(tokens: u32) -> Self {
        match tokens {
            0..=4_095 => Self::Low,
            4_096..=12_287 => Self::Medium,
            _ => Self::High,
        }
    }
}

/// The prompt up to here is worth keeping for the next call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMark {
    /// The last thing that is kept.
    pub after: CachePlace,
    /// For how long; the provider's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<CacheTime>,
}

/// Something in a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePlace {
    /// The tool of this name.
    Tool(String),
    /// So many bytes of the system prompt.
    System(usize),
    /// A block, by the number of its message and its own.
    Block(usize, usize),
}

/// For how long a prompt is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheTime {
    /// Five minutes.
    #[serde(rename = "5m")]
    Short,
    /// An hour, which costs more.
    #[serde(rename = "1h")]
    Long,
}

impl CacheTime {
    /// As Anthropic writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "5m",
            Self::Long => "1h",
        }
    }
}

/// Whether a tool is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Any,
    /// This one.
    Tool(String),
}
