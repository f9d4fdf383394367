//! Streams as providers send them, cut at every byte: what they mean depends on the bytes only.

use super::transport::Decoder;
use super::{anthropic, openai};
use crate::assemble::Assembler;
use crate::sse::{SseDecoder, SseEvent};
use crate::types::{Block, Delta, StopReason, Usage};

macro_rules! streams {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../tests/samples/streams/", $name, ".sse")).as_slice())),*]
    };
}

const STREAMS: [(&str, &[u8]); 10] = streams![
    "openai-text",
    "openai-calls",
    "openai-reasoning",
    "openai-refusal",
    "openai-without-done",
    "anthropic-text",
    "anthropic-thinking-calls",
    "anthropic-pause",
    "anthropic-refusal",
    "anthropic-window",
];

fn bytes_of(name: &str) -> &'static [u8] {
    STREAMS.iter().find(|(known, _)| *known == name).unwrap().1
}

fn events(pieces: &[&[u8]]) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::new(1 << 20);
    pieces.iter().flat_map(|piece| decoder.push(piece).unwrap()).collect()
}

fn deltas(name: &str, events: &[SseEvent]) -> Vec<Delta> {
    let mut decoder: Box<dyn Decoder> = if name.starts_with("openai") {
        Box::new(openai::OpenAiDecoder::default())
    } else {
        Box::new(anthropic::AnthropicDecoder::default())
    };
    let deltas = events.iter().flat_map(|event| decoder.event(event).unwrap()).collect();
    assert!(decoder.may_end(), "{name}");
    deltas
}

fn answer(name: &str) -> (Vec<Block>, StopReason, Usage) {
    let mut answer = Assembler::default();
    for delta in deltas(name, &events(&[bytes_of(name)])) {
        answer.push(&delta);
    }
    let usage = answer.usage(99);
    let (blocks, stop) = answer.finish();
    (blocks, stop, usage)
}

#[test]
fn a_stream_that_is_cut_in_two_anywhere_has_the_same_events() {
    for (name, bytes) in STREAMS {
        let whole = events(&[bytes]);
        assert!(whole.len() > 1, "{name}");
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(events(&[head, tail]), whole, "{name} at byte {at}");
        }
    }
}

#[test]
fn a_stream_of_single_bytes_means_what_the_whole_does() {
    for (name, bytes) in STREAMS {
        for length in [1, 2, 3, 7, 64] {
            let pieces: Vec<&[u8]> = bytes.chunks(length).collect();
            let cut = deltas(name, &events(&pieces));
            assert_eq!(cut, deltas(name, &events(&[bytes])), "{name} in pieces of {length}");
        }
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
