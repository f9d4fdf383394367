//! Streams as providers send them, cut at every byte: what they mean depends on the bytes only.

use super::transport::{Decoder, Framing};
use super::{anthropic, gemini, ollama, openai};
use crate::assemble::Assembler;
use crate::error::{ErrorKind, ProviderError};
use crate::sse::{SseDecoder, SseEvent};
use crate::types::{Block, Delta, StopReason, Usage};

/// Larger than any event here, in bytes.
const LIMIT: usize = 1 << 20;

macro_rules! streams {
    ($($name:literal in $file:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../tests/", $file)).as_slice())),*]
    };
}

const STREAMS: [(&str, &[u8]); 26] = streams![
    "openai-text" in "samples/streams/openai-text.sse",
    "openai-calls" in "samples/streams/openai-calls.sse",
    "openai-reasoning" in "samples/streams/openai-reasoning.sse",
    "openai-refusal" in "samples/streams/openai-refusal.sse",
    "openai-without-done" in "samples/streams/openai-without-done.sse",
    "responses-text" in "fixtures/responses_text.sse",
    "responses-calls" in "fixtures/responses_tools.sse",
    "responses-refusal" in "fixtures/responses_refusal.sse",
    "responses-incomplete" in "fixtures/responses_incomplete.sse",
    "azure-text" in "fixtures/azure_stream.sse",
    "azure-asynchronous" in "fixtures/azure_asynchronous.sse",
    "azure-filtered" in "fixtures/azure_filtered.sse",
    "openrouter-text" in "fixtures/openrouter_text.sse",
    "vllm-reasoning" in "fixtures/vllm_reasoning.sse",
    "anthropic-text" in "samples/streams/anthropic-text.sse",
    "anthropic-thinking-calls" in "samples/streams/anthropic-thinking-calls.sse",
    "anthropic-pause" in "samples/streams/anthropic-pause.sse",
    "anthropic-refusal" in "samples/streams/anthropic-refusal.sse",
    "anthropic-window" in "samples/streams/anthropic-window.sse",
    "gemini-calls" in "fixtures/gemini_tools.sse",
    "gemini-call-id" in "fixtures/gemini_call_id.sse",
    "gemini-max-tokens" in "fixtures/gemini_max_tokens.sse",
    "gemini-safety" in "fixtures/gemini_safety.sse",
    "gemini-blocked" in "fixtures/gemini_blocked.sse",
    "ollama-calls" in "fixtures/ollama_tools.ndjson",
    "ollama-length" in "fixtures/ollama_length.ndjson",
];

/// Streams that end in an error of their provider's.
const BROKEN: [(&str, &[u8]); 5] = streams![
    "openrouter-error" in "fixtures/openrouter_error.sse",
    "responses-failed" in "fixtures/responses_failed.sse",
    "anthropic-error" in "fixtures/anthropic_error.sse",
    "anthropic-error-after-content" in "fixtures/anthropic_error_after_content.sse",
    "ollama-error" in "fixtures/ollama_error.ndjson",
];

fn bytes_of(name: &str) -> &'static [u8] {
    STREAMS.iter().chain(&BROKEN).find(|(known, _)| *known == name).unwrap().1
}

fn decoder(name: &str) -> Box<dyn Decoder> {
    match name.split('-').next() {
        Some("openai" | "azure" | "openrouter" | "vllm") => Box::new(openai::OpenAiDecoder::default()),
        Some("responses") => Box::new(openai::ResponsesDecoder::default()),
        Some("anthropic") => Box::new(anthropic::AnthropicDecoder::default()),
        Some("gemini") => Box::new(gemini::GeminiDecoder::default()),
        Some("ollama") => Box::new(ollama::OllamaDecoder::default()),
        _ => unreachable!("nobody reads {name}"),
    }
}

fn events(name: &str, pieces: &[&[u8]]) -> Vec<SseEvent> {
    let mut decoder = match decoder(name).framing() {
        Framing::ServerSentEvents => SseDecoder::new(LIMIT),
        Framing::Lines => SseDecoder::of_lines(LIMIT),
    };
    pieces.iter().flat_map(|piece| decoder.push(piece).unwrap()).collect()
}

fn deltas(name: &str, events: &[SseEvent]) -> Vec<Delta> {
    let mut decoder = decoder(name);
    let mut deltas: Vec<Delta> = events.iter().flat_map(|event| decoder.event(event).unwrap()).collect();
    assert!(decoder.may_end(), "{name}");
    if name.starts_with("ollama") {
        deltas.iter_mut().for_each(without_its_chance);
    }
    deltas
}

/// What is said before the error, and the error.
fn broken(name: &str, events: &[SseEvent]) -> (Vec<Delta>, ProviderError) {
    let mut decoder = decoder(name);
    let mut said = Vec::new();
    for event in events {
        match decoder.event(event) {
            Ok(deltas) => said.extend(deltas),
            Err(error) => {
                assert!(!decoder.may_end(), "{name}");
                return (said, error);
            }
        }
    }
    unreachable!("{name} ends without an error")
}

/// Ollama's calls have no ids: in those that are made up, all but the last number is another one in every reading.
fn without_its_chance(delta: &mut Delta) {
    if let Delta::ToolUse { id, .. } = delta {
        let number = id.rsplit('_').next().unwrap().to_owned();
        *id = format!("call_{number}");
    }
}

fn answer(name: &str) -> (Vec<Block>, StopReason, Usage) {
    let mut answer = Assembler::default();
    for delta in deltas(name, &events(name, &[bytes_of(name)])) {
        answer.push(&delta);
    }
    let usage = answer.usage(99);
    let (blocks, stop) = answer.finish();
    (blocks, stop, usage)
}

#[test]
fn a_stream_that_is_cut_in_two_anywhere_has_the_same_events() {
    for (name, bytes) in STREAMS.into_iter().chain(BROKEN) {
        let whole = events(name, &[bytes]);
        // That a prompt is kept back is said in one event.
        assert_eq!(whole.len() > 1, name != "gemini-blocked", "{name}: {}", whole.len());
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(events(name, &[head, tail]), whole, "{name} at byte {at}");
        }
    }
}

#[test]
fn a_stream_of_single_bytes_means_what_the_whole_does() {
    for (name, bytes) in STREAMS {
        for length in [1, 2, 3, 7, 64] {
            let pieces: Vec<&[u8]> = bytes.chunks(length).collect();
            let cut = deltas(name, &events(name, &pieces));
            assert_eq!(cut, deltas(name, &events(name, &[bytes])), "{name} in pieces of {length}");
        }
    }
    for (name, bytes) in BROKEN {
        for length in [1, 2, 3, 7, 64] {
            let pieces: Vec<&[u8]> = bytes.chunks(length).collect();
            let cut = broken(name, &events(name, &pieces));
            assert_eq!(cut, broken(name, &events(name, &[bytes])), "{name} in pieces of {length}");
        }
    }
}

#[test]
fn an_error_within_a_stream_has_its_providers_class_and_what_was_said_before_it_counts() {
    let overloaded = ErrorKind::Overloaded { retry_after_ms: None };
    for (name, kind, said) in [
        ("openrouter-error", ErrorKind::ServerError, "I will "),
        ("responses-failed", ErrorKind::ServerError, "I will "),
        ("anthropic-error", overloaded, ""),
        ("anthropic-error-after-content", overloaded, "I will commit it and"),
        ("ollama-error", ErrorKind::ServerError, "I will "),
    ] {
        let (deltas, error) = broken(name, &events(name, &[bytes_of(name)]));
        let text = |delta: &Delta| match delta {
            Delta::Text { text, .. } => Some(text.clone()),
            _ => None,
        };
        let text: String = deltas.iter().filter_map(text).collect();
        assert_eq!((error.kind, text.as_str()), (kind, said), "{name}: {error}");
        assert!(error.maybe_billed, "{name}");
    }
}

#[test]
fn what_the_streams_say_is_understood() {
    let call = |id: &str, name: &str, input| Block::ToolUse { id: id.into(), name: name.into(), input };
    let city = || serde_json::json!({"city": "Zürich"});
    let none = || serde_json::json!({});
    let text = || Block::text("naïve café 🦀\n\"quoted\"");
    let usage = Usage { input: 112, output: 40, cache_read: 1_000, reasoning: 12, ..Usage::default() };
    assert_eq!(answer("openai-text"), (vec![text()], StopReason::EndTurn, usage));
    let calls = vec![call("call_a", "weather", city()), call("call_b", "time", none())];
    assert_eq!(answer("openai-calls"), (calls, StopReason::ToolUse, usage));

    let usage = Usage { input: 12, output: 40, cache_read: 1_000, cache_write: 100, ..Usage::default() };
    assert_eq!(answer("anthropic-text"), (vec![text()], StopReason::EndTurn, usage));
    let (blocks, stop, usage) = answer("anthropic-thinking-calls");
    assert_eq!((stop, usage.reasoning), (StopReason::ToolUse, 12));
    assert_eq!(blocks[3..], [call("toolu_a", "weather", city()), call("toolu_b", "time", none())]);
}

#[test]
fn what_the_streams_of_other_formats_say_is_understood() {
    let call = |id: &str, name: &str, input| Block::ToolUse { id: id.into(), name: name.into(), input };
    let calls = |branch: &str, commit: &str| {
        [
            call(branch, "git_branch", serde_json::json!({"name": "story/S-7"})),
            call(commit, "git_commit", serde_json::json!({"message": "m"})),
        ]
    };
    let thought = |text: &str, signature: Option<&str>| Block::Thinking {
        text: text.into(),
        signature: signature.map(str::to_owned),
        model: None,
    };
    let said = || Block::text("I will commit.");

    let usage = Usage { input: 110, output: 65, cache_read: 200, ..Usage::default() };
    assert_eq!(answer("azure-text"), (vec![said()], StopReason::EndTurn, usage));

    let [branch, commit] = calls("call_Il0taoSYJ5Cez7IP_0", "call_Il0taoSYJ5Cez7IP_1");
    let opening = [thought("Looking for the branch.", None), said(), thought("", Some("CiQB0e2Kb3"))];
    let blocks: Vec<Block> = opening.into_iter().chain([branch, commit]).collect();
    let thinking = Usage { reasoning: 24, ..usage };
    assert_eq!(answer("gemini-calls"), (blocks, StopReason::ToolUse, thinking));

    let [branch, commit] = calls("call_0", "call_1");
    let blocks = vec![thought("Looking for the branch.", None), said(), branch, commit];
    let usage = Usage { input: 310, output: 65, ..Usage::default() };
    assert_eq!(answer("ollama-calls"), (blocks, StopReason::ToolUse, usage));
}

#[test]
fn what_the_streams_of_responses_say_is_understood() {
    let usage = Usage { input: 112, output: 40, cache_read: 1_000, reasoning: 12, ..Usage::default() };
    let text = Block::text("naïve café 🦀\n\"quoted\"");
    assert_eq!(answer("responses-text"), (vec![text], StopReason::EndTurn, usage));

    let call = |id: &str, name: &str, input| Block::ToolUse { id: id.into(), name: name.into(), input };
    let blocks = vec![
        Block::Thinking {
            text: "Look for the branch.\n\nThen commit.".into(),
            signature: Some("gAAAAA-sealed".into()),
            model: None,
        },
        call("call_a", "git_branch", serde_json::json!({"name": "story/S-7"})),
        call("call_b", "git_commit", serde_json::json!({"message": "Zürich"})),
    ];
    let kept = Usage { input: 110, output: 65, cache_read: 1_000, cache_write: 100, ..Usage::default() };
    let usage = Usage { reasoning: 24, ..kept };
    assert_eq!(answer("responses-calls"), (blocks, StopReason::ToolUse, usage));
}

#[test]
fn a_call_of_geminis_keeps_its_id_and_every_kind_of_its_tokens_is_counted_once() {
    let thought = Block::Thinking { text: String::new(), signature: Some("CiQB0e2Kb3".into()), model: None };
    let input = serde_json::json!({"name": "story/S-7"});
    let call = Block::ToolUse { id: "call-7".into(), name: "git_branch".into(), input };
    let usage = Usage { input: 117, output: 41, cache_read: 200, reasoning: 24, ..Usage::default() };
    assert_eq!(answer("gemini-call-id"), (vec![thought, call], StopReason::ToolUse, usage));
}

#[test]
fn an_answer_that_was_cut_or_kept_back_is_counted_and_says_what_there_is_of_it() {
    let said = || vec![Block::text("I will commit.")];
    let thought = Block::Thinking { text: "Looking for the branch.".into(), signature: None, model: None };
    let usage = Usage { input: 12, output: 28, reasoning: 28, ..Usage::default() };
    assert_eq!(answer("gemini-max-tokens"), (vec![thought], StopReason::MaxTokens, usage));
    let usage = Usage { input: 12, output: 5, ..Usage::default() };
    assert_eq!(answer("gemini-safety"), (said(), StopReason::Refusal, usage));
    let usage = Usage { input: 12, ..Usage::default() };
    assert_eq!(answer("gemini-blocked"), (Vec::new(), StopReason::Refusal, usage));
    let usage = Usage { input: 12, output: 4, ..Usage::default() };
    assert_eq!(answer("ollama-length"), (said(), StopReason::MaxTokens, usage));
    let usage = Usage { input: 12, output: 900, reasoning: 880, ..Usage::default() };
    let cut = vec![Block::text("I will comm")];
    assert_eq!(answer("responses-incomplete"), (cut, StopReason::MaxTokens, usage));
    let usage = Usage { input: 12, output: 5, ..Usage::default() };
    let refusal = vec![Block::text("I cannot help.")];
    assert_eq!(answer("responses-refusal"), (refusal, StopReason::Refusal, usage));
}

#[test]
fn what_azures_filter_remarks_beside_the_answer_is_no_part_of_it() {
    for (name, stop) in [("azure-asynchronous", StopReason::EndTurn), ("azure-filtered", StopReason::Refusal)]
    {
        let (blocks, stopped, usage) = answer(name);
        assert_eq!((blocks, stopped), (vec![Block::text("I will commit.")], stop), "{name}");
        assert!(usage.estimated && usage.input == 99, "{name} counts nothing: {usage:?}");
    }
}

#[test]
fn what_other_servers_add_to_openais_format_is_counted_once_or_passed_over() {
    let thought = Block::Thinking { text: "Looking for the branch.".into(), signature: None, model: None };
    let blocks = vec![thought, Block::text("I will commit.")];
    let usage = Usage { input: 12, cache_read: 1_000, cache_write: 100, ..Usage::default() };
    let usage = Usage { output: 40, reasoning: 12, ..usage };
    assert_eq!(answer("openrouter-text"), (blocks.clone(), StopReason::EndTurn, usage));
    // Its thoughts stand under their older name and under their newer one.
    let usage = Usage { input: 112, output: 40, ..Usage::default() };
    assert_eq!(answer("vllm-reasoning"), (blocks, StopReason::EndTurn, usage));
}

#[test]
fn every_way_to_stop_is_told_from_the_others() {
    for (name, stop) in [
        ("openai-refusal", StopReason::Refusal),
        ("openai-reasoning", StopReason::MaxTokens),
        ("openai-without-done", StopReason::EndTurn),
        ("anthropic-pause", StopReason::Other("pause_turn".into())),
        ("anthropic-refusal", StopReason::Refusal),
        ("anthropic-window", StopReason::MaxTokens),
    ] {
        assert_eq!(answer(name).1, stop, "{name}");
    }
}
