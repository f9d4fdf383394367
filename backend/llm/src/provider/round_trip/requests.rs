//! Requests of every kind that both wires know, made at random.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::types::{
    Block, CacheMark, CachePlace, CacheTime, ChatRequest, Image, Message, Options, Role, ToolChoice, ToolSpec,
};

pub(super) fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::Null),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    });
    prop::collection::btree_map("[a-z]{1,6}", tree, 0..3).prop_map(|map| json!(map))
}

fn text() -> impl Strategy<Value = Block> {
    "\\PC{1,30}".prop_map(|text| Block::Text { text })
}

fn tool_use() -> impl Strategy<Value = Block> {
    ("[a-z0-9_]{1,8}", "[a-z_]{1,8}", input()).prop_map(|(id, name, input)| Block::ToolUse {
        id,
        name,
        input,
    })
}

fn tool_result() -> impl Strategy<Value = Block> {
    // A result that begins with the error mark itself cannot be told from a failed one in OpenAI's format.
    ("[a-z0-9_]{1,8}", "[^\\[]\\PC{0,30}", any::<bool>(), prop::collection::vec(image(), 0..2)).prop_map(
        |(tool_use_id, content, is_error, images)| Block::ToolResult {
            tool_use_id,
            content,
            is_error,
            images,
        },
    )
}

fn image() -> impl Strategy<Value = Image> {
    prop_oneof![
        "[A-Za-z0-9+/]{4,12}".prop_map(|data| Image::Data { media_type: "image/png".into(), data }),
        "https://[a-z]{1,8}/[a-z]{1,8}".prop_map(|url| Image::Url { url }),
    ]
}

fn picture() -> impl Strategy<Value = Block> {
    image().prop_map(|image| Block::Image { image })
}

prop_compose! {
    fn options()(
        top_p in prop::option::of(0.0..1.0f64),
        tool_choice in prop::option::of(prop_oneof![
            Just(ToolChoice::Auto), Just(ToolChoice::Any), Just(ToolChoice::Tool("t".into()))]),
        alone in prop::option::of(Just(false)),
        output_schema in prop::option::of(input()),
        user in prop::option::of("[a-z]{1,8}"),
        strict in any::<bool>(),
    ) -> Options {
        let strict_tools = strict.then(|| "t".to_owned()).into_iter().collect();
        Options {
            top_p, tool_choice, parallel_tool_calls: alone, output_schema, user, strict_tools, ..Options::default()
        }
    }
}

fn thinking() -> impl Strategy<Value = Block> {
    ("\\PC{0,20}", "[a-z0-9]{1,12}").prop_map(|(text, signature)| Block::Thinking {
        text,
        signature: Some(signature),
        model: Some("m".into()),
    })
}

/// An assistant's blocks in the order in which models say them.
pub(super) fn said() -> impl Strategy<Value = Vec<Block>> {
    (prop::option::of(thinking()), prop::option::of(text()), prop::collection::vec(tool_use(), 0..4))
        .prop_map(|(thinking, text, calls)| thinking.into_iter().chain(text).chain(calls).collect())
}

/// Something to mark, by an index among all that can be, and for how long it is to be kept.
pub(in crate::provider) type Pick = (Index, Option<CacheTime>);

/// As many as Anthropic takes, or fewer.
pub(in crate::provider) fn picks() -> impl Strategy<Value = Vec<Pick>> {
    let time = prop_oneof![Just(CacheTime::Short), Just(CacheTime::Long)];
    prop::collection::vec((any::<Index>(), prop::option::of(time)), 0..5)
}

/// Everything that can be marked, in the order in which a request is read.
fn places(request: &ChatRequest) -> Vec<CachePlace> {
    let tools = request.tools.iter().map(|tool| CachePlace::Tool(tool.name.clone()));
    let paragraphs = request.system.match_indices("\n\n").map(|(at, _)| at);
    let ends = paragraphs.chain((!request.system.is_empty()).then_some(request.system.len()));
    let blocks = request.messages.iter().enumerate().flat_map(|(place, message)| {
        (0..message.content.len()).map(move |number| CachePlace::Block(place, number))
    });
    tools.chain(ends.map(CachePlace::System)).chain(blocks).collect()
}

fn marked(mut request: ChatRequest, picks: &[Pick]) -> ChatRequest {
    let places = places(&request);
    let picked: BTreeMap<usize, Option<CacheTime>> =
        picks.iter().map(|(index, time)| (index.index(places.len()), *time)).collect();
    let marks = picked.into_iter().map(|(number, time)| CacheMark { after: places[number].clone(), time });
    request.options.cache = marks.collect();
    request
}

prop_compose! {
    pub(in crate::provider) fn request()(
        // Each stands by itself: a mark within one would cut it in two.
        instructions in prop::collection::vec("\\PC{1,20}", 0..4),
        turns in prop::collection::vec(
            (prop::collection::vec(tool_result(), 0..3), prop::option::of(text()),
             prop::option::of(picture()), said()), 1..4),
        options in options(),
        temperature in prop::option::of(0.0..2.0f64),
        stop in prop::collection::vec("[a-z]{1,5}", 0..3),
        max_output_tokens in 1u32..100_000,
        picks in picks(),
    ) -> ChatRequest {
        let system = instructions.join("\n\n");
        let mut messages = Vec::new();
        for (results, text, picture, said) in turns {
            // The API takes no conversation in which nothing is said.
            let text = text.or_else(|| messages.is_empty().then(|| Block::text("go")));
            messages.push(Message { role: Role::User, content: results.into_iter().chain(text).chain(picture).collect() });
            messages.push(Message { role: Role::Assistant, content: said });
        }
        let tools = vec![ToolSpec { name: "t".into(), description: "d".into(), input_schema: json!({"type": "object"}) }];
        marked(ChatRequest { system, messages, tools, max_output_tokens, temperature, stop, options }, &picks)
    }
}
