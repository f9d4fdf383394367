//! A response as typed events.
//!
//! Invariants: events are numbered from 0 without a gap; an item is added, filled and done before the next is added;
//! what the last event holds is what the events before it said.

use serde_json::{Value, json};

use super::reply::{self, call_item, item_id, message, output_text, reasoning, summary};
use crate::inbound::{Fault, Reply};
use crate::types::{Delta, StopReason, Usage};

/// An item that is being filled.
#[derive(Debug)]
enum Filling {
    Message { text: String },
    Reasoning { text: String, signature: String },
    Call { call: String, name: String, arguments: String },
}

#[derive(Debug)]
struct Open {
    /// The neutral number of its block.
    block: u32,
    id: String,
    filling: Filling,
}

/// Writes events.
#[derive(Debug)]
pub(crate) struct Encoder {
    head: Value,
    id: String,
    usage: Usage,
    stop: StopReason,
    sequence: u64,
    open: Option<Open>,
    done: Vec<Value>,
}

impl Encoder {
    pub(in crate::inbound) fn new(head: &Reply, asked: &Value) -> Self {
        Self {
            head: reply::head(head, asked),
            id: head.id.clone(),
            usage: head.usage,
            stop: StopReason::EndTurn,
            sequence: 0,
            open: None,
            done: Vec::new(),
        }
    }

    pub(in crate::inbound) fn start(&mut self) -> String {
        let head = self.head.clone();
        let created = self.event("response.created", json!({"response": head}));
        created + &self.event("response.in_progress", json!({"response": head}))
    }

    pub(in crate::inbound) fn delta(&mut self, delta: &Delta) -> String {
        match delta {
            Delta::Text { index, text } => self.text(*index, text),
            Delta::Thinking { index, text } => self.think(*index, text),
            Delta::Signature { index, signature } => {
                let frames = self.thinking(*index);
                if let Some(Open { filling: Filling::Reasoning { signature: sum, .. }, .. }) = &mut self.open
                {
                    sum.push_str(signature);
                }
                frames
            }
            Delta::ToolUse { index, id, name } => {
                let filling =
                    Filling::Call { call: id.clone(), name: name.clone(), arguments: String::new() };
                self.open(*index, "fc", filling)
            }
            Delta::ToolInput { index, json } => self.arguments(*index, json),
            Delta::Usage { usage } => {
                self.usage = *usage;
                String::new()
            }
            Delta::Finished { stop } => {
                self.stop = stop.clone();
                String::new()
            }
            Delta::Started { .. } => String::new(),
        }
    }

    fn text(&mut self, block: u32, more: &str) -> String {
        let mut frames = self.open(block, "msg", Filling::Message { text: String::new() });
        if let Some(Open { id, filling: Filling::Message { text }, .. }) = &mut self.open {
            text.push_str(more);
            let piece = json!({"item_id": id, "content_index": 0, "delta": more, "logprobs": []});
            frames += &self.piece("response.output_text.delta", piece);
        }
        frames
    }

    fn thinking(&mut self, block: u32) -> String {
        self.open(block, "rs", Filling::Reasoning { text: String::new(), signature: String::new() })
    }

    fn think(&mut self, block: u32, more: &str) -> String {
        let mut frames = self.thinking(block);
        if let Some(Open { id, filling: Filling::Reasoning { text, .. }, .. }) = &mut self.open
            && !more.is_empty()
        {
            let (id, begins) = (id.clone(), text.is_empty());
            text.push_str(more);
            if begins {
                let part = json!({"item_id": id, "summary_index": 0, "part": summary("")});
                frames += &self.piece("response.reasoning_summary_part.added", part);
            }
            let piece = json!({"item_id": id, "summary_index": 0, "delta": more});
            frames += &self.piece("response.reasoning_summary_text.delta", piece);
        }
        frames
    }

    fn arguments(&mut self, block: u32, more: &str) -> String {
        match &mut self.open {
            Some(Open { block: known, id, filling: Filling::Call { arguments, .. } }) if *known == block => {
                arguments.push_str(more);
                let piece = json!({"item_id": id, "delta": more});
                self.piece("response.function_call_arguments.delta", piece)
            }
            _ => String::new(),
        }
    }

    /// Adds an item, unless it is the one that is being filled.
    fn open(&mut self, block: u32, kind: &str, filling: Filling) -> String {
        if self.open.as_ref().is_some_and(|open| open.block == block) {
            return String::new();
        }
        let mut frames = self.close();
        let id = item_id(&self.id, kind, self.done.len());
        let item = match &filling {
            Filling::Message { .. } => message(&id, "", "in_progress"),
            Filling::Reasoning { .. } => reasoning(&id, "", ""),
            Filling::Call { call, name, .. } => {
                let mut item = call_item(&id, call, name, "");
                item["status"] = json!("in_progress");
                item
            }
        };
        let is_message = matches!(filling, Filling::Message { .. });
        self.open = Some(Open { block, id: id.clone(), filling });
        frames += &self.piece("response.output_item.added", json!({"item": item}));
        if is_message {
            let part = json!({"item_id": id, "content_index": 0, "part": output_text("")});
            frames += &self.piece("response.content_part.added", part);
        }
        frames
    }

    /// The item that was being filled is done.
    fn close(&mut self) -> String {
        let Some(Open { id, filling, .. }) = self.open.take() else { return String::new() };
        let mut frames = String::new();
        let item = match filling {
            Filling::Message { text } => {
                let said = json!({"item_id": id, "content_index": 0, "text": text, "logprobs": []});
                frames += &self.piece("response.output_text.done", said);
                let part = json!({"item_id": id, "content_index": 0, "part": output_text(&text)});
                frames += &self.piece("response.content_part.done", part);
                message(&id, &text, "completed")
            }
            Filling::Reasoning { text, signature } => {
                if !text.is_empty() {
                    let said = json!({"item_id": id, "summary_index": 0, "text": text});
                    frames += &self.piece("response.reasoning_summary_text.done", said);
                    let part = json!({"item_id": id, "summary_index": 0, "part": summary(&text)});
                    frames += &self.piece("response.reasoning_summary_part.done", part);
                }
                reasoning(&id, &text, &signature)
            }
            Filling::Call { call, name, arguments } => {
                let said = json!({"item_id": id, "name": name, "arguments": arguments});
                frames += &self.piece("response.function_call_arguments.done", said);
                call_item(&id, &call, &name, &arguments)
            }
        };
        frames += &self.piece("response.output_item.done", json!({"item": item}));
        self.done.push(item);
        frames
    }

    pub(in crate::inbound) fn finish(&mut self) -> String {
        let frames = self.close();
        let output = std::mem::take(&mut self.done);
        let response = reply::ended(self.head.clone(), &self.stop, &self.usage, &output);
        let is_whole = response["status"] == "completed";
        let name = if is_whole { "response.completed" } else { "response.incomplete" };
        frames + &self.event(name, json!({"response": response}))
    }

    /// The frame that ends a stream which cannot be finished.
    pub(in crate::inbound) fn fail(&self, fault: &Fault) -> String {
        fault.event(self.sequence)
    }

    /// An event of the item that is next in the response's output.
    fn piece(&mut self, name: &str, mut data: Value) -> String {
        data["output_index"] = json!(self.done.len());
        self.event(name, data)
    }

    fn event(&mut self, name: &str, mut data: Value) -> String {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        format!("event: {name}\ndata: {data}\n\n")
    }
}
