//! Properties: what both formats can say is the same after it went over both; of what only Anthropic's can say, that is lost
//! which the client is told, and nothing else.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::round_trip::{Pick, automatic_marks, deployment, picks, request, shown_by_the_user};
use super::{Deployment, ProviderKind, Wire, anthropic, openai};
use crate::ask::{Ask, Endpoint, Native};
use crate::inbound;
use crate::types::{Block, CacheMark, CachePlace, ChatRequest, Effort, Message, Reasoning, Role, ToolChoice};

/// A request of what both can say: no pictures in results, which only one has a place for, and one way of sampling.
fn sayable() -> impl Strategy<Value = ChatRequest> {
    let effort = prop_oneof![Just(Effort::Low), Just(Effort::Medium), Just(Effort::High)];
    let reasoning = prop::option::of(effort.prop_map(Reasoning::Effort));
    (request(), reasoning).prop_map(|(mut request, reasoning)| {
        for block in request.messages.iter_mut().flat_map(|message| &mut message.content) {
            if let Block::ToolResult { images, .. } = block {
                images.clear();
            }
        }
        request.max_output_tokens += 40_000;
        request.temperature = request.temperature.map(|temperature| temperature.min(1.0));
        request.options.top_p = request.options.top_p.filter(|_| request.temperature.is_none());
        if request.options.parallel_tool_calls.is_some() {
            request.options.tool_choice.get_or_insert(ToolChoice::Auto);
        }
        let forced = matches!(request.options.tool_choice, Some(ToolChoice::Any | ToolChoice::Tool(_)));
        if reasoning.is_some() && !forced {
            request.options.reasoning = reasoning;
            (request.temperature, request.options.top_p) = (None, None);
        }
        request
    })
}

/// Newer models think as they like, so that nothing of the history forbids it.
fn claude() -> Deployment {
    Deployment { model: "claude-sonnet-5".into(), ..deployment(ProviderKind::Anthropic) }
}

fn gpt(request: &ChatRequest) -> Deployment {
    Deployment {
        accepts_temperature: request.options.reasoning.is_none(),
        ..deployment(ProviderKind::OpenAi)
    }
}

/// A chat some of whose messages are marked, and its tool, as its clients write that for Anthropic's models.
fn marked(mut chat: Value, picks: &[Pick]) -> Value {
    let messages = chat["messages"].as_array().map_or(0, Vec::len);
    for (index, time) in picks {
        let place = index.index(messages + 1);
        let marked = if place < messages { &mut chat["messages"][place] } else { &mut chat["tools"][0] };
        marked["cache_control"] = json!({"type": "ephemeral"});
        if let Some(time) = time {
            marked["cache_control"]["ttl"] = json!(time.as_str());
        }
    }
    chat
}

/// What is marked, wherever it stands, and for how long.
fn marks(request: &ChatRequest) -> Vec<String> {
    let thing = |mark: &CacheMark| match &mark.after {
        CachePlace::Tool(name) => format!("the tool {name}, {:?}", mark.time),
        CachePlace::System(end) => format!("the prompt up to {end}, {:?}", mark.time),
        CachePlace::Block(place, number) => {
            format!("{:?}, {:?}", request.messages[*place].content[*number], mark.time)
        }
    };
    let mut marks: Vec<String> = request.options.cache.iter().map(thing).collect();
    marks.sort_unstable();
    marks
}

/// What is lost of a message on its way over a chat completion, by the names that the client is told.
const LOST: [&str; 12] = [
    "cache_control",
    "diagnostics",
    "messages.citations",
    "messages.thinking",
    "service_tier",
    "temperature",
    "thinking",
    "thinking.display",
    "tools.defer_loading",
    "tools.input_examples",
    "top_k",
    "top_p",
];

/// What a client of Anthropic's may say besides: the name, the object that it stands in, and a value.
type More = (&'static str, &'static str, Value);

fn more() -> Vec<More> {
    vec![
        ("diagnostics", "", json!({})),
        ("messages.citations", "/messages/0/content/0", json!([{"type": "char_location"}])),
        ("service_tier", "", json!("auto")),
        ("tools.defer_loading", "/tools/0", json!(true)),
        ("tools.input_examples", "/tools/0", json!([{}])),
        ("top_k", "", json!(5)),
    ]
}

fn field(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, field)| field)
}

fn thinking() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "disabled"})),
        Just(json!({"type": "between_tools"})),
        Just(json!({"type": "adaptive"})),
        Just(json!({"type": "adaptive", "display": "summarized"})),
        (1_024u32..60_000).prop_map(|tokens| json!({"type": "enabled", "budget_tokens": tokens})),
    ]
}

prop_compose! {
    /// A message as a client of Anthropic's writes it.
    fn message()(
        mut request in request(),
        thinking in prop::option::of(thinking()),
        effort in prop::option::of(prop::sample::select(vec!["low", "medium", "high"])),
        more in prop::sample::subsequence(more(), 0..=6),
    ) -> Value {
        for block in request.messages.iter_mut().flat_map(|message| &mut message.content) {
            if let Block::Thinking { model, .. } = block {
                *model = None;
            }
        }
        let mut said = anthropic::encode(&claude(), &request, request.max_output_tokens);
        if let Some(thinking) = thinking {
            if let Some(effort) = effort.filter(|_| thinking["type"] == "adaptive") {
                said["output_config"]["effort"] = json!(effort);
            }
            said["thinking"] = thinking;
        }
        for (name, place, value) in more {
            said.pointer_mut(place).unwrap()[field(name)] = value;
        }
        said
    }
}

fn says(said: &Value, name: &str) -> bool {
    let content = said["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
    let mut blocks = content.filter_map(Value::as_array).flatten();
    match name {
        "cache_control" => said.to_string().contains("\"cache_control\""),
        "messages.thinking" => blocks.any(|block| block["type"] == "thinking"),
        "thinking.display" => said["thinking"].get("display").is_some(),
        name => {
            let place =
                more().into_iter().find(|(known, ..)| *known == name).map_or("", |(_, place, _)| place);
            said.pointer(place).and_then(|object| object.get(field(name))).is_some()
        }
    }
}

/// What has to be lost of it where the model takes a temperature, and so is none that reasons, and where it does not.
fn has_no_place(said: &Value, name: &str, samples: bool) -> bool {
    let thinking = said["thinking"]["type"].as_str();
    match name {
        "temperature" | "top_p" => says(said, name) && !samples,
        "thinking" => match thinking {
            Some("between_tools") => true,
            Some("adaptive" | "enabled") => samples,
            _ => false,
        },
        name => says(said, name),
    }
}

/// Texts side by side are one.
fn joined(blocks: Vec<Block>, between: &str) -> Vec<Block> {
    let mut joined: Vec<Block> = Vec::new();
    for block in blocks {
        if let Block::Text { text: more } = &block
            && let Some(Block::Text { text }) = joined.last_mut()
        {
            text.push_str(between);
            text.push_str(more);
        } else {
            joined.push(block);
        }
    }
    joined
}

/// Messages as chat completions have them. A user's texts are paragraphs, after what tools gave; a model said one text,
/// before its calls.
fn told(messages: &[Message]) -> Vec<Message> {
    let mut told: Vec<Message> = Vec::new();
    for Message { role, content } in messages.iter().cloned() {
        let content = match role {
            Role::User => joined(shown_by_the_user(content), "\n\n"),
            Role::Assistant => {
                let is_text = |block: &Block| matches!(block, Block::Text { .. });
                let (texts, calls): (Vec<_>, Vec<_>) = content.into_iter().partition(is_text);
                joined(texts, "").into_iter().chain(calls).collect()
            }
        };
        match told.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(content),
            _ => told.push(Message { role, content }),
        }
    }
    told
}

/// A message's meaning without what the client was told is lost. A word stands for a number of tokens to think.
fn without(read: &ChatRequest, lost: &[String], samples: bool) -> ChatRequest {
    let is_lost = |name: &str| lost.iter().any(|lost| lost == name);
    let mut kept = read.clone();
    if is_lost("messages.thinking") {
        for message in &mut kept.messages {
            message.content.retain(|block| !matches!(block, Block::Thinking { .. }));
        }
    }
    kept.messages = told(&kept.messages);
    kept.temperature = kept.temperature.filter(|_| !is_lost("temperature"));
    kept.options.top_p = kept.options.top_p.filter(|_| !is_lost("top_p"));
    kept.options.reasoning = match kept.options.reasoning {
        _ if is_lost("thinking") => None,
        // Whoever does not reason need not be told so.
        Some(Reasoning::Off) if samples => None,
        Some(Reasoning::Budget(tokens)) => Some(Reasoning::Effort(Effort::of_budget(tokens))),
        as_it_was => as_it_was,
    };
    if is_lost("cache_control") {
        kept.options.cache.clear();
    }
    kept
}

/// The same as Anthropic is sent it: results first, and marked where nobody marks anything.
fn sent(mut kept: ChatRequest) -> ChatRequest {
    for message in &mut kept.messages {
        let is_result = |block: &Block| matches!(block, Block::ToolResult { .. });
        let (results, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut message.content).into_iter().partition(is_result);
        message.content = results.into_iter().chain(rest).collect();
    }
    kept.options.cache = automatic_marks(&kept.system, &kept.messages);
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_request_of_what_both_can_say_is_the_same_after_it_went_over_both(request in sayable(), picks in picks()) {
        let (claude, gpt) = (claude(), gpt(&request));
        let said = marked(openai::encode(&gpt, &request, request.max_output_tokens), &picks);
        // Neighbours of one role are one message from here on.
        let read = inbound::parse(Wire::OpenAi, &said).unwrap().request;

        let there = anthropic::encode(&claude, &read, read.max_output_tokens);
        let back = inbound::parse(Wire::Anthropic, &there).unwrap().request;

        let first = openai::encode(&gpt, &read, read.max_output_tokens);
        prop_assert_eq!(openai::encode(&gpt, &back, back.max_output_tokens), first);
        // Where nobody marks anything, the gateway does.
        prop_assert!(read.options.cache.is_empty() || marks(&back) == marks(&read), "{:?}", there);
        prop_assert_eq!(read.options.cache.is_empty(), picks.is_empty());
    }

    #[test]
    fn of_a_request_of_what_both_can_say_nothing_is_dropped(request in sayable(), picks in picks()) {
        let (claude, gpt) = (claude(), gpt(&request));
        let body = marked(openai::encode(&gpt, &request, request.max_output_tokens), &picks);
        let native = Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap();

        prop_assert_eq!(Ask::Native(&native).dropped(&claude), Ok(Vec::new()));
    }

    #[test]
    fn of_a_message_that_went_over_the_other_format_that_is_lost_which_is_named(
        said in message(),
        samples in any::<bool>(),
    ) {
        let (claude, gpt) =
            (claude(), Deployment { accepts_temperature: samples, ..deployment(ProviderKind::OpenAi) });
        let native = Native::parse(Endpoint::Messages, said.to_string().into()).unwrap();
        let lost = Ask::Native(&native).dropped(&gpt).unwrap();
        let read = inbound::parse(Wire::Anthropic, &said).unwrap().request;

        let there = openai::encode(&gpt, &read, read.max_output_tokens);
        let back = inbound::parse(Wire::OpenAi, &there).unwrap().request;
        let again = anthropic::encode(&claude, &back, back.max_output_tokens);

        let expected: Vec<&str> =
            LOST.into_iter().filter(|name| has_no_place(&said, name, samples)).collect();
        prop_assert_eq!(&lost, &expected);
        let kept = without(&read, &lost, samples);
        prop_assert_eq!(&back, &kept);
        prop_assert_eq!(inbound::parse(Wire::Anthropic, &again).unwrap().request, sent(kept));
    }
}

#[test]
fn what_is_lost_of_a_message_is_what_the_page_on_translation_says() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TRANSLATION.md"));
    let title = "An Anthropic client, a model of OpenAI's\n";
    let section = page.split("\n## ").find_map(|section| section.strip_prefix(title)).unwrap();
    let last_column = section.lines().filter_map(|row| row.rsplit('|').nth(1));
    let named: BTreeSet<&str> = last_column.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();

    // Chat completions have a place for the last one, and responses have none.
    let lost: BTreeSet<&str> = LOST.into_iter().chain(["stop_sequences"]).collect();
    assert_eq!(named, lost);
}
