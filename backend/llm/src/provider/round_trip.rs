//! Property tests: what goes out over a wire and comes back is the same.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::transport::Decoder;
use super::{Deployment, ProviderKind, Wire, anthropic, gemini, ollama, openai};
use crate::assemble::Assembler;
use crate::inbound::{self, Encoder, Reply};
use crate::sse::SseDecoder;
use crate::types::{
    Block, CacheMark, CachePlace, ChatRequest, Delta, Message, StopReason, ToolChoice, Usage,
};

mod requests;

pub(super) use requests::{Pick, picks, request};
use requests::{input, said};

pub(super) fn deployment(kind: ProviderKind) -> Deployment {
    Deployment {
        model: "m".into(),
        context_window: 1_000_000,
        max_output: 1_000_000,
        accepts_temperature: true,
        ..Deployment::new("d", kind, "http://localhost/v1".parse().unwrap())
    }
}

/// In OpenAI's format a tool's pictures are shown by the user, after what was said.
pub(super) fn shown_by_the_user(content: Vec<Block>) -> Vec<Block> {
    let mut shown = Vec::new();
    let mut results = Vec::new();
    for block in content {
        match block {
            Block::ToolResult { tool_use_id, content, is_error, images } => {
                shown.extend(images.into_iter().map(|image| Block::Image { image }));
                results.push(Block::ToolResult { tool_use_id, content, is_error, images: Vec::new() });
            }
            other => shown.push(other),
        }
    }
    results.into_iter().chain(shown).collect()
}

/// What a wire keeps: neighbours of one role are one message, empty ones vanish, OpenAI has no reasoning and no marks.
fn normal(request: &ChatRequest, wire: Wire) -> ChatRequest {
    let mut messages: Vec<Message> = Vec::new();
    for message in &request.messages {
        let keep = |block: &&Block| !(wire == Wire::OpenAi && matches!(block, Block::Thinking { .. }));
        let content: Vec<Block> = message
            .content
            .iter()
            .filter(keep)
            .cloned()
            .map(|block| match block {
                Block::Thinking { text, signature, .. } => Block::Thinking { text, signature, model: None },
                block => block,
            })
            .collect();
        let content = if wire == Wire::OpenAi { shown_by_the_user(content) } else { content };
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == message.role => last.content.extend(content),
            _ => messages.push(Message { role: message.role, content }),
        }
    }
    let mut options = request.options.clone();
    if wire == Wire::Anthropic && options.parallel_tool_calls.is_some() {
        // The wish stands within the choice, which is then made.
        options.tool_choice.get_or_insert(ToolChoice::Auto);
    }
    let mut temperature = request.temperature;
    if wire == Wire::Anthropic {
        // Its models take one of the two, and a temperature up to 1.
        options.top_p = options.top_p.filter(|_| temperature.is_none());
        temperature = temperature.map(|temperature| temperature.min(1.0));
    }
    options.cache = match wire {
        Wire::OpenAi => Vec::new(),
        // The marks that are set where nobody sets any.
        Wire::Anthropic if options.cache.is_empty() => automatic_marks(&request.system, &messages),
        Wire::Anthropic => read_again(request),
    };
    ChatRequest { messages, temperature, options, ..request.clone() }
}

/// What a wire keeps of an answer: OpenAI's has thoughts without their model's signature.
fn answered(blocks: &[Block], wire: Wire) -> Vec<Block> {
    let kept = blocks.iter().cloned().filter_map(|block| match block {
        Block::Thinking { text, .. } if wire == Wire::OpenAi => {
            (!text.is_empty()).then_some(Block::Thinking { text, signature: None, model: None })
        }
        Block::Thinking { text, signature, .. } => Some(Block::Thinking { text, signature, model: None }),
        block => Some(block),
    });
    kept.collect()
}

/// The marks by where things stand once neighbours of one role are one message. Anthropic takes none on thoughts.
fn read_again(request: &ChatRequest) -> Vec<CacheMark> {
    let mut starts = Vec::new();
    let (mut place, mut length, mut role) = (0, 0, None);
    for message in &request.messages {
        if !message.content.is_empty() && role.is_some_and(|role| role != message.role) {
            (place, length) = (place + 1, 0);
        }
        starts.push((place, length));
        if !message.content.is_empty() {
            role = Some(message.role);
            length += message.content.len();
        }
    }
    let moved = |mark: &CacheMark| {
        let CachePlace::Block(message, number) = mark.after else { return Some(mark.clone()) };
        let is_thought = matches!(request.messages[message].content[number], Block::Thinking { .. });
        let (place, before) = starts[message];
        let after = CachePlace::Block(place, before + number);
        (!is_thought).then_some(CacheMark { after, time: mark.time })
    };
    request.options.cache.iter().filter_map(moved).collect()
}

/// Why an answer stopped, in the words that the client's format has for it: as `docs/TRANSLATION.md` lists them.
fn stopped(stop: StopReason, wire: Wire) -> StopReason {
    match (stop, wire) {
        (StopReason::Other(word), Wire::Anthropic) if word == "pause_turn" => StopReason::Other(word),
        (StopReason::Other(_), _) | (StopReason::StopSequence, Wire::OpenAi) => StopReason::EndTurn,
        (stop, _) => stop,
    }
}

pub(super) fn automatic_marks(system: &str, messages: &[Message]) -> Vec<CacheMark> {
    let system = (!system.is_empty()).then_some(CachePlace::System(system.len()));
    let last =
        messages.last().filter(|message| !matches!(message.content.last(), Some(Block::Thinking { .. })));
    let last = last.map(|last| CachePlace::Block(messages.len() - 1, last.content.len() - 1));
    system.into_iter().chain(last).map(|after| CacheMark { after, time: None }).collect()
}

/// Streams blocks out through the encoder and back in through SSE decoder, wire decoder and assembler.
fn stream(wire: Wire, deltas: &[Delta], cuts: &[usize]) -> Assembler {
    let head = Reply {
        id: "id".into(),
        model: "m".into(),
        created: 0,
        blocks: Vec::new(),
        stop: StopReason::EndTurn,
        usage: Usage { input: 3, ..Usage::default() },
    };
    let mut encoder = Encoder::new(wire, &head, true);
    let mut bytes = encoder.start();
    for delta in deltas {
        bytes += &encoder.delta(delta);
    }
    bytes += &encoder.finish();
    let mut decoder: Box<dyn Decoder> = match wire {
        Wire::OpenAi => Box::new(openai::OpenAiDecoder::default()),
        Wire::Anthropic => Box::new(anthropic::AnthropicDecoder::default()),
    };
    let mut sse = SseDecoder::new(1 << 20);
    let mut answer = Assembler::default();
    let mut rest = bytes.as_bytes();
    for cut in cuts.iter().cycle() {
        let (head, tail) = rest.split_at((*cut).min(rest.len()));
        for event in sse.push(head).unwrap() {
            decoder.event(&event).unwrap().iter().for_each(|delta| answer.push(delta));
        }
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    assert!(decoder.is_done());
    answer
}

/// Every reason to stop.
fn stop() -> impl Strategy<Value = StopReason> {
    let others = ["pause_turn", "anything"].map(|word| StopReason::Other(word.into()));
    let known = [
        StopReason::EndTurn,
        StopReason::ToolUse,
        StopReason::MaxTokens,
        StopReason::StopSequence,
        StopReason::Refusal,
    ];
    prop::sample::select([known.as_slice(), others.as_slice()].concat())
}

/// A model's blocks in small pieces.
fn pieces(blocks: &[Block]) -> Vec<Delta> {
    let split = |text: &str| {
        text.chars().collect::<Vec<_>>().chunks(3).map(|c| c.iter().collect()).collect::<Vec<String>>()
    };
    let mut deltas = Vec::new();
    for (index, block) in (0..).zip(blocks) {
        match block {
            Block::Text { text } => {
                deltas.extend(split(text).into_iter().map(|text| Delta::Text { index, text }));
            }
            Block::Thinking { text, signature, .. } => {
                deltas.extend(split(text).into_iter().map(|text| Delta::Thinking { index, text }));
                deltas.extend(signature.clone().map(|signature| Delta::Signature { index, signature }));
            }
            Block::ToolUse { id, name, input } => {
                deltas.push(Delta::ToolUse { index, id: id.clone(), name: name.clone() });
                deltas.extend(
                    split(&input.to_string()).into_iter().map(|json| Delta::ToolInput { index, json }),
                );
            }
            _ => unreachable!("models do not say {block:?}"),
        }
    }
    deltas
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_request_means_the_same_on_the_other_side(request in request()) {
        for kind in [ProviderKind::OpenAi, ProviderKind::OpenAiCompatible, ProviderKind::Anthropic] {
            let deployment = deployment(kind);
            let wire = kind.wire().unwrap();
            let body = match wire {
                Wire::OpenAi => openai::encode(&deployment, &request, request.max_output_tokens),
                Wire::Anthropic => anthropic::encode(&deployment, &request, request.max_output_tokens),
            };
            let parsed = inbound::parse(wire, &body).unwrap();
            prop_assert!(parsed.stream && parsed.model == "m");
            prop_assert_eq!(parsed.request, normal(&request, wire));
        }
    }

    #[test]
    fn a_streamed_answer_arrives_as_it_was_said_wherever_the_bytes_are_cut(
        blocks in said(),
        stop in stop(),
        cuts in prop::collection::vec(1usize..40, 1..20),
        output in 1u32..5_000,
    ) {
        for wire in [Wire::OpenAi, Wire::Anthropic] {
            let mut deltas = pieces(&blocks);
            let usage = Usage { input: 3, output, cache_read: 2, ..Usage::default() };
            deltas.extend([Delta::Usage { usage }, Delta::Finished { stop: stop.clone() }]);
            let answer = stream(wire, &deltas, &cuts);
            prop_assert_eq!(answer.usage(99), Usage { estimated: false, ..usage });
            let expected = answered(&blocks, wire);
            let calls = expected.iter().any(|block| matches!(block, Block::ToolUse { .. }));
            let stop = match stopped(stop.clone(), wire) {
                StopReason::EndTurn if calls => StopReason::ToolUse,
                stop => stop,
            };
            prop_assert_eq!(answer.finish(), (expected, stop));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(data in "\\PC{0,80}", json in input()) {
        use crate::sse::SseEvent;
        let shapes = [
            json!({"choices": [&json]}),
            json!({"candidates": [&json], "usageMetadata": &json}),
            json!({"candidates": [{"content": {"parts": [&json, {"functionCall": &json}]}}]}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": &json}),
            json!({"type": "response.completed", "response": &json}),
            json!({"message": &json, "done": true}),
            json!({"message": {"tool_calls": [{"function": {"name": "f", "arguments": &json}}]}}),
        ];
        let written = shapes.iter().map(Value::to_string).chain([data, json.to_string()]);
        for data in written {
            let event = SseEvent { event: String::new(), data };
            let _either = openai::OpenAiDecoder::default().event(&event);
            let _either = openai::ResponsesDecoder::default().event(&event);
            let _either = anthropic::AnthropicDecoder::default().event(&event);
            let _either = gemini::GeminiDecoder::default().event(&event);
            let _either = ollama::OllamaDecoder::default().event(&event);
        }
    }
}
