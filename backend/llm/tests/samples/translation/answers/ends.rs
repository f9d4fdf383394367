//! The order in which an answer is streamed, and how it ends.

use std::fmt::Write as _;

use serde_json::{Value, json};
use syndarix_llm::{Endpoint, Wire, inbound};

use super::cases::{all_of_anthropics, all_of_openais, choice, message};
use super::{asked, completion, escaped, given};

const STREAMS: &str = "### Streams of thoughts, a text and a call

| client and model | what is streamed |
|---|---|
";

const STOPS: &str = "### Why the model stopped

| its provider's word | `finish_reason` | `stop_reason` | of a response |
|---|---|---|---|
";

/// Why a model stops, in each provider's words; the last one of each is none that is known.
const WORDS: [(Wire, &str); 13] = [
    (Wire::Anthropic, "end_turn"),
    (Wire::Anthropic, "tool_use"),
    (Wire::Anthropic, "max_tokens"),
    (Wire::Anthropic, "model_context_window_exceeded"),
    (Wire::Anthropic, "stop_sequence"),
    (Wire::Anthropic, "refusal"),
    (Wire::Anthropic, "pause_turn"),
    (Wire::Anthropic, "anything"),
    (Wire::OpenAi, "stop"),
    (Wire::OpenAi, "tool_calls"),
    (Wire::OpenAi, "length"),
    (Wire::OpenAi, "content_filter"),
    (Wire::OpenAi, "anything"),
];

pub(super) fn streams() -> String {
    let cut = choice(json!({}), json!({"finish_reason": "length"}));
    let mut table = STREAMS.to_owned();
    for (who, to, by, body) in [
        (
            "an OpenAI client, a model of Anthropic's",
            Endpoint::ChatCompletions,
            Wire::Anthropic,
            all_of_anthropics(),
        ),
        ("an Anthropic client, a model of OpenAI's", Endpoint::Messages, Wire::OpenAi, all_of_openais()),
        (
            "a client of responses, a model of Anthropic's",
            Endpoint::Responses,
            Wire::Anthropic,
            all_of_anthropics(),
        ),
        ("the same, where a text of OpenAI's is cut", Endpoint::Responses, Wire::OpenAi, cut),
    ] {
        let bytes = inbound::replay(&asked(to, true), "1", 0, &completion(by, &body));
        let frames = bytes.lines().filter_map(|line| line.strip_prefix("data: ")).map(frame);
        let _ = writeln!(table, "| {who} | {} |", frames.collect::<Vec<_>>().join(", "));
    }
    table
}

/// A frame: its delta where frames have no names, its name and what it is about where they have.
fn frame(data: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(data) else { return format!("`{data}`") };
    let word = |place: &str| event.pointer(place).and_then(Value::as_str);
    if let Some(name) = word("/type") {
        let about = ["/content_block/type", "/delta/type", "/item/type"].into_iter().find_map(word);
        return about.map_or_else(|| format!("`{name}`"), |about| format!("`{name}` of `{about}`"));
    }
    match (word("/choices/0/finish_reason"), event.pointer("/choices/0/delta")) {
        (Some(reason), _) => format!("`finish_reason`: `\"{reason}\"`"),
        (None, Some(delta)) => format!("`{}`", escaped(&delta.to_string())),
        (None, None) => "`usage`".to_owned(),
    }
}

pub(super) fn stops() -> String {
    let mut table = STOPS.to_owned();
    for (by, word) in WORDS {
        let (whose, body) = match by {
            Wire::Anthropic => ("Anthropic's", message(json!({"stop_reason": word}))),
            Wire::OpenAi => ("OpenAI's", choice(json!({}), json!({"finish_reason": word}))),
        };
        let read = |to: Endpoint, format: Wire, place: &str| {
            // One format: passed on as it came.
            if by == format {
                return word.to_owned();
            }
            given(to, by, &body).pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let finish = read(Endpoint::ChatCompletions, Wire::OpenAi, "/choices/0/finish_reason");
        let stop = read(Endpoint::Messages, Wire::Anthropic, "/stop_reason");
        let response = given(Endpoint::Responses, by, &body);
        let ended = ["/status", "/incomplete_details/reason"].into_iter().filter_map(|place| {
            let word = response.pointer(place)?.as_str()?;
            Some(format!("`{word}`"))
        });
        let ended = ended.collect::<Vec<_>>().join(", ");
        let _ = writeln!(table, "| {whose} `{word}` | `{finish}` | `{stop}` | {ended} |");
    }
    table
}
