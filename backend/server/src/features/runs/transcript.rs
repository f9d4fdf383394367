//! The conversation of a run, made anew from its recorded steps before every model call.
//!
//! Invariants: a result is whole until the model has answered to it, unless it alone is too large for the window;
//! whatever is left out to make room leaves a note of what it was and how to get it again; the same steps with the same
//! room give the same conversation.

use super::{
    brief::Brief,
    completion,
    steps::{self, StepRow},
};
use crate::features::agents::Told;
use serde_json::Value;
use syndarix_llm::{Block, Completion, Message, Role, estimate_block, estimate_text};

/// What the model hears when it answered without acting.
const NUDGE: &str = "Go on with a tool call, or end your task with `complete_task`.";
/// Texts up to this many bytes are not worth leaving out.
const SHORT: usize = 400;
/// What is left of a result of the newest answer at least, however small the window is, in estimated tokens.
const LEAST: u32 = 1_000;

/// An answer of the model, and what came of it.
struct Exchange {
    /// What the model was told before it.
    before: Vec<Block>,
    answer: Completion,
    results: Vec<Found>,
}

/// The result of one call.
struct Found {
    id: String,
    tool: String,
    step: i32,
    text: String,
    is_error: bool,
}

/// All messages, oldest first, within so many estimated tokens. `fresh` is what the agent has been sent since the last
/// call.
pub(super) fn messages(brief: &Brief, steps: &[StepRow], fresh: &[Told], room: u32) -> Vec<Message> {
    let (mut exchanges, mut rest) = exchanges(steps);
    let task = Message::user(brief.task.clone());
    rest.extend(fresh.iter().map(quoted));
    let room = room.saturating_sub(sum(&task.content)).saturating_sub(sum(&rest));
    make_room(&mut exchanges, room);

    let mut messages = vec![task];
    for exchange in exchanges {
        say(&mut messages, exchange.before.clone());
        messages.push(Message::assistant(exchange.answer.blocks.clone()));
        say(&mut messages, exchange.outcome());
    }
    say(&mut messages, rest);
    messages
}

/// Two messages of one side in a row are one.
fn say(messages: &mut Vec<Message>, content: Vec<Block>) {
    match messages.last_mut() {
        _ if content.is_empty() => {}
        Some(last) if last.role == Role::User => last.content.extend(content),
        _ => messages.push(Message { role: Role::User, content }),
    }
}

/// The exchanges, and what was told since the last one.
fn exchanges(steps: &[StepRow]) -> (Vec<Exchange>, Vec<Block>) {
    let (mut exchanges, mut before) = (Vec::new(), Vec::new());
    let mut steps = steps.iter().peekable();
    while let Some(step) = steps.next() {
        before.extend(told(step).iter().map(quoted));
        let Some(answer) = answer(step) else { continue };
        let mut results = Vec::new();
        while let Some(tool) = steps.next_if(|next| next.kind == "tool") {
            results.push(found(tool));
        }
        exchanges.push(Exchange { before: std::mem::take(&mut before), answer, results });
    }
    (exchanges, before)
}

/// What was told to the agent with this step.
fn told(step: &StepRow) -> Vec<Told> {
    step.told.clone().and_then(|told| serde_json::from_value(told).ok()).unwrap_or_default()
}

/// What a colleague wrote is data, like everything else that a model produced.
fn quoted(told: &Told) -> Block {
    Block::text(told.quoted())
}

/// The answer of a finished model step.
pub(super) fn answer(step: &StepRow) -> Option<Completion> {
    if step.kind != "model" || step.status != "done" {
        return None;
    }
    completion::read(step.result.as_ref()?)
}

fn found(step: &StepRow) -> Found {
    let (id, tool) = (step.call_id.clone().unwrap_or_default(), step.name.clone());
    let (text, is_error) = match &step.result {
        None => (steps::INTERRUPTED.to_owned(), true),
        Some(result) => (
            result.get("text").and_then(Value::as_str).map_or_else(|| result.to_string(), str::to_owned),
            result.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        ),
    };
    Found { id, tool, step: step.number, text, is_error }
}

impl Found {
    fn block(&self) -> Block {
        Block::ToolResult {
            tool_use_id: self.id.clone(),
            content: self.text.clone(),
            is_error: self.is_error,
            images: Vec::new(),
        }
    }

    fn leave_out(&mut self) {
        if self.text.len() > SHORT {
            self.text = format!(
                "[The result of step {} was {} bytes and is left out here; call `{}` again if you need it.]",
                self.step,
                self.text.len(),
                self.tool
            );
        }
    }

    /// Keeps the beginning, as much as this many estimated tokens are.
    fn cut(&mut self, tokens: u32) {
        let (whole, size) = (self.text.len(), estimate_text(&self.text));
        if size <= tokens {
            return;
        }
        let share = u64::try_from(whole).unwrap_or(u64::MAX) * u64::from(tokens) / u64::from(size);
        let kept = steps::head(&self.text, usize::try_from(share).unwrap_or(whole));
        self.text = format!(
            "{kept}\n[These are the first {} of {whole} bytes: more does not fit. Ask `{}` for a smaller part to see the rest.]",
            kept.len(),
            self.tool
        );
    }
}

impl Exchange {
    /// What the model hears of its answer: providers refuse a history in which a call has no result.
    fn outcome(&self) -> Vec<Block> {
        let answered = |id: &str| self.results.iter().find(|found| found.id == id).map(Found::block);
        let interrupted = |id: &str| Block::ToolResult {
            tool_use_id: id.to_owned(),
            content: steps::INTERRUPTED.into(),
            is_error: true,
            images: Vec::new(),
        };
        let results: Vec<Block> = self
            .answer
            .blocks
            .iter()
            .filter_map(|block| match block {
                Block::ToolUse { id, .. } => Some(answered(id).unwrap_or_else(|| interrupted(id))),
                Block::InvalidToolUse { id, .. } => answered(id).or_else(|| block.rejection()),
                _ => None,
            })
            .collect();
        if results.is_empty() { vec![Block::text(NUDGE)] } else { results }
    }

    fn size(&self) -> u32 {
        sum(&self.before).saturating_add(sum(&self.answer.blocks)).saturating_add(sum(&self.outcome()))
    }

    fn leave_out_results(&mut self) {
        self.results.iter_mut().for_each(Found::leave_out);
    }

    fn leave_out_words(&mut self) {
        for block in &mut self.answer.blocks {
            match block {
                Block::ToolUse { input, .. } => shorten(input),
                Block::InvalidToolUse { raw, .. } => leave_out(raw),
                Block::Text { text } => leave_out(text),
                Block::ToolResult { .. } | Block::Thinking { .. } | Block::Image { .. } => {}
            }
        }
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => leave_out(text),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

fn leave_out(text: &mut String) {
    if text.len() > SHORT {
        let note = format!(" [... of {} bytes the rest is left out here]", text.len());
        *text = steps::head(text, SHORT / 4).to_owned() + &note;
    }
}

fn sum(blocks: &[Block]) -> u32 {
    blocks.iter().map(estimate_block).fold(0, u32::saturating_add)
}

/// Leaves out what the model has answered to already, oldest first: results, then its own long words. What it has not
/// seen yet is cut only where it does not fit by itself.
fn make_room(exchanges: &mut [Exchange], room: u32) {
    let mut total = exchanges.iter().map(Exchange::size).fold(0, u32::saturating_add);
    let Some((newest, older)) = exchanges.split_last_mut() else { return };
    for leave_out in [Exchange::leave_out_results, Exchange::leave_out_words] {
        for exchange in &mut *older {
            if total <= room {
                return;
            }
            let before = exchange.size();
            leave_out(exchange);
            total = total.saturating_sub(before).saturating_add(exchange.size());
        }
    }
    if total > room && !newest.results.is_empty() {
        let results: u32 = newest.results.iter().map(|found| estimate_text(&found.text)).sum();
        share_out(newest, room.saturating_sub(total.saturating_sub(results)));
    }
}

/// Small results stay whole, and the large ones get equal shares of what is left.
fn share_out(newest: &mut Exchange, mut room: u32) {
    let mut by_size: Vec<&mut Found> = newest.results.iter_mut().collect();
    by_size.sort_by_cached_key(|found| estimate_text(&found.text));
    let mut left = u32::try_from(by_size.len()).unwrap_or(u32::MAX);
    for found in by_size {
        let share = (room / left.max(1)).max(LEAST);
        found.cut(share);
        room = room.saturating_sub(estimate_text(&found.text).min(share));
        left -= 1;
    }
}

#[cfg(test)]
mod tests;
