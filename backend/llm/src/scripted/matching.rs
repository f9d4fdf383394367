//! Which rule answers a conversation, and what to say when none does.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::faults::{Counters, Fault};
use super::scenario::{Rule, Script, When};
use crate::types::{Block, ChatRequest, Role};

/// How many near rules an error names.
const NEAR: usize = 3;
/// How much of a text an error quotes, in characters.
const QUOTE: usize = 160;

/// The rule that answers, and its fault unless that has been used up.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) rule: &'a Rule,
    pub(super) fault: Option<&'a Fault>,
}

/// What rules look at.
pub(super) struct View<'a> {
    request: &'a ChatRequest,
    pub(super) turn: usize,
    last: String,
}

impl<'a> View<'a> {
    pub(super) fn of(request: &'a ChatRequest) -> Self {
        let turn = request.messages.iter().filter(|message| message.role == Role::Assistant).count();
        let last = request.messages.last().map(|message| text_of(&message.content)).unwrap_or_default();
        Self { request, turn, last }
    }

    /// Every tool result in order, with the name of the tool that was called.
    pub(super) fn results(&self) -> Vec<(&'a str, &'a str)> {
        let blocks = || self.request.messages.iter().flat_map(|message| &message.content);
        let name_of = |wanted: &str| {
            blocks().find_map(|block| match block {
                Block::ToolUse { id, name, .. } | Block::InvalidToolUse { id, name, .. } if id == wanted => {
                    Some(name.as_str())
                }
                _ => None,
            })
        };
        blocks()
            .filter_map(|block| match block {
                Block::ToolResult { tool_use_id, content, .. } => {
                    Some((name_of(tool_use_id).unwrap_or_default(), content.as_str()))
                }
                _ => None,
            })
            .collect()
    }

    /// The texts in which captures are looked for: the system prompt, then the first user message.
    pub(super) fn sources(&self) -> [String; 2] {
        let first = self.request.messages.iter().find(|message| message.role == Role::User);
        [self.request.system.clone(), first.map(|message| text_of(&message.content)).unwrap_or_default()]
    }

    /// Stands for the conversation, however far it has come.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.sources().hash(&mut hasher);
        hasher.finish()
    }
}

fn text_of(blocks: &[Block]) -> String {
    let texts: Vec<&str> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            Block::ToolResult { content, .. } => Some(content.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

/// The first rule that fits. Errors: the words for people when there is none.
pub(super) fn choose<'a>(
    script: &'a Script,
    counters: &Counters,
    request: &ChatRequest,
) -> Result<Choice<'a>, String> {
    let view = View::of(request);
    let mut near = Vec::new();
    for (number, rule) in script.rules.iter().enumerate() {
        let misses = misses(&rule.when, &view);
        if !misses.is_empty() {
            near.push((misses.len(), rule, misses));
            continue;
        }
        let Some(fault) = &rule.fault else { return Ok(Choice { rule, fault: None }) };
        if rule.times.is_none_or(|times| counters.take(number, view.key(), times)) {
            return Ok(Choice { rule, fault: Some(fault) });
        }
        if rule.answer.is_some() {
            return Ok(Choice { rule, fault: None });
        }
        near.push((1, rule, vec!["its fault has been used up".to_owned()]));
    }
    near.sort_by_key(|(count, ..)| *count);
    Err(describe(&view, &near))
}

fn describe(view: &View<'_>, near: &[(usize, &Rule, Vec<String>)]) -> String {
    let tools: Vec<&str> = view.request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let near: Vec<String> = near
        .iter()
        .take(NEAR)
        .map(|(_, rule, misses)| format!("`{}` ({})", rule.name, misses.join("; ")))
        .collect();
    format!(
        "no rule of the script fits. Asked: turn {}; tools [{}]; system \"{}\"; last \"{}\". Nearest rules: {}",
        view.turn,
        tools.join(", "),
        quote(&view.request.system),
        quote(&view.last),
        near.join(", "),
    )
}

fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE).collect();
    if quoted.len() < text.len() {
        quoted.push_str("...");
    }
    quoted
}

/// Every condition that does not hold.
fn misses(when: &When, view: &View<'_>) -> Vec<String> {
    let mut misses = Vec::new();
    for text in when.system_contains.iter().filter(|text| !view.request.system.contains(text.as_str())) {
        misses.push(format!("the system prompt lacks \"{text}\""));
    }
    if let Some(regex) = when.system_matches.as_ref().filter(|regex| !regex.is_match(&view.request.system)) {
        misses.push(format!("the system prompt does not match /{regex}/"));
    }
    for tool in
        when.tools.iter().filter(|tool| !view.request.tools.iter().any(|offered| offered.name == **tool))
    {
        misses.push(format!("the tool {tool} is not offered"));
    }
    if let Some(turn) = when.turn.filter(|turn| !turn.contains(view.turn)) {
        misses.push(format!("the turn is {}, not {turn:?}", view.turn));
    }
    let [_, first] = view.sources();
    for text in when.first_contains.iter().filter(|text| !first.contains(text.as_str())) {
        misses.push(format!("the first user message lacks \"{text}\""));
    }
    for text in when.last_contains.iter().filter(|text| !view.last.contains(text.as_str())) {
        misses.push(format!("the last message lacks \"{text}\""));
    }
    if let Some(regex) = when.last_matches.as_ref().filter(|regex| !regex.is_match(&view.last)) {
        misses.push(format!("the last message does not match /{regex}/"));
    }
    if let Some(tool) = &when.last_tool {
        let last = view.results().last().map(|(name, _)| (*name).to_owned());
        if last.as_deref() != Some(tool) {
            misses.push(format!("the last tool result is of {last:?}, not {tool}"));
        }
    }
    misses
}
