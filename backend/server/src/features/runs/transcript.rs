//! The conversation of a run, made anew from its recorded steps before every model call.

use super::{brief::Brief, completion, steps::StepRow};
use serde_json::Value;
use syndarix_llm::{Block, Completion, Message, estimate_text};

/// What the model hears when it answered without acting.
const NUDGE: &str = "Go on with a tool call, or end your task with `complete_task`.";
/// The conversation is kept below this estimate, in tokens; the window of the smallest deployment that is supported.
const BUDGET_TOKENS: u32 = 120_000;
/// Results of the newest steps that are never shortened.
const KEEP_WHOLE: usize = 8;

/// All messages, oldest first.
pub(super) fn messages(brief: &Brief, steps: &[StepRow]) -> Vec<Message> {
    let cut = shortened(steps);
    let mut messages = vec![Message::user(brief.task.clone())];
    let mut steps = steps.iter().enumerate().peekable();
    while let Some((_, step)) = steps.next() {
        let Some(completion) = answer(step) else { continue };
        let asked = completion.blocks.iter().any(is_call);
        messages.push(Message::assistant(completion.blocks.clone()));
        let mut results = Vec::new();
        while let Some((index, tool)) = steps.next_if(|(_, next)| next.kind == "tool") {
            results.push(result(tool, index < cut));
        }
        messages.push(if asked {
            Message::tool_results(with_every_call(&completion, &results))
        } else {
            Message::user(NUDGE)
        });
    }
    messages
}

/// The answer of a finished model step.
pub(super) fn answer(step: &StepRow) -> Option<Completion> {
    if step.kind != "model" || step.status != "done" {
        return None;
    }
    completion::read(step.result.as_ref()?)
}

fn is_call(block: &Block) -> bool {
    matches!(block, Block::ToolUse { .. } | Block::InvalidToolUse { .. })
}

/// Providers refuse a history in which a call has no result.
fn with_every_call(completion: &Completion, results: &[Block]) -> Vec<Block> {
    let answered = |id: &str| {
        results
            .iter()
            .find(|block| matches!(block, Block::ToolResult { tool_use_id, .. } if tool_use_id == id))
    };
    completion
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::ToolUse { id, .. } => Some(answered(id).cloned().unwrap_or_else(|| interrupted(id))),
            Block::InvalidToolUse { id, .. } => answered(id).cloned().or_else(|| block.rejection()),
            _ => None,
        })
        .collect()
}

fn interrupted(id: &str) -> Block {
    Block::ToolResult {
        tool_use_id: id.to_owned(),
        content:
            "This call was interrupted; it is not known whether it took effect. Look before you repeat it."
                .into(),
        is_error: true,
    }
}

fn result(step: &StepRow, shorten: bool) -> Block {
    let id = step.call_id.clone().unwrap_or_default();
    let Some(result) = &step.result else { return interrupted(&id) };
    let text = match result.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => result.to_string(),
    };
    let content = if shorten && text.len() > 400 {
        format!(
            "[The result of step {} was {} bytes and is left out here; call `{}` again if you need it.]",
            step.number,
            text.len(),
            step.name
        )
    } else {
        text
    };
    let is_error = result.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    Block::ToolResult { tool_use_id: id, content, is_error }
}

/// Steps before this index have their long results left out, so that the whole fits the window. Said in the text,
/// never silently.
fn shortened(steps: &[StepRow]) -> usize {
    let sizes: Vec<u32> = steps
        .iter()
        .map(|step| step.result.as_ref().map_or(0, |result| estimate_text(&result.to_string())))
        .collect();
    let mut total: u32 = sizes.iter().sum();
    let last = steps.len().saturating_sub(KEEP_WHOLE);
    let mut cut = 0;
    while total > BUDGET_TOKENS && cut < last {
        total -= if steps[cut].kind == "tool" { sizes[cut] } else { 0 };
        cut += 1;
    }
    cut
}
