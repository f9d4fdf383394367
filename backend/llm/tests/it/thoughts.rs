//! What a model thought, on its way to an OpenAI client and back.

use serde_json::{Value, json};
use syndarix_llm::inbound::{self, Encoder, Reply};
use syndarix_llm::{Block, Delta, StopReason, Usage, Wire};

fn thoughts() -> Vec<Block> {
    let thought = |text: &str, signature: &str| Block::Thinking {
        text: text.into(),
        signature: Some(signature.into()),
        model: None,
    };
    vec![thought("First think.", "sig"), thought("", "redacted_thinking:opaque"), Block::text("Then say.")]
}

fn reply(blocks: Vec<Block>) -> Reply {
    Reply {
        id: "r".into(),
        model: "m".into(),
        created: 0,
        blocks,
        stop: StopReason::EndTurn,
        usage: Usage::default(),
    }
}

/// The assistant's message of a request that sends it back.
fn sent_back(message: &Value) -> Vec<Block> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "go"}, message]});
    inbound::parse(Wire::OpenAi, &body).unwrap().request.messages.remove(1).content
}

#[test]
fn signed_thoughts_of_a_whole_answer_come_back_as_they_were() {
    let answer = inbound::reply(Wire::OpenAi, &reply(thoughts()));

    let message = answer["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "First think.");
    assert_eq!(sent_back(&message), thoughts());
}

#[test]
fn signed_thoughts_of_a_stream_come_in_one_piece_and_back_as_they_were() {
    let mut encoder = Encoder::new(Wire::OpenAi, &reply(Vec::new()), true);
    let deltas = [
        Delta::Thinking { index: 0, text: "First ".into() },
        Delta::Thinking { index: 0, text: "think.".into() },
        Delta::Signature { index: 0, signature: "sig".into() },
        Delta::Signature { index: 1, signature: "redacted_thinking:opaque".into() },
        Delta::Usage { usage: Usage::default() },
        Delta::Text { index: 2, text: "Then say.".into() },
        Delta::Finished { stop: StopReason::EndTurn },
    ];
    let frames: String = deltas.iter().map(|delta| encoder.delta(delta)).collect();

    let (mut shown, mut proofs, mut said) = (String::new(), Vec::new(), String::new());
    for frame in frames.split_terminator("\n\n") {
        let chunk: Value = serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        shown.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        said.push_str(delta["content"].as_str().unwrap_or_default());
        proofs.extend(delta["thinking_blocks"].as_array().into_iter().flatten().cloned());
    }
    assert_eq!(shown, "First think.");
    let message = json!({"role": "assistant", "content": said, "thinking_blocks": proofs});
    assert_eq!(sent_back(&message), thoughts());
}

#[test]
fn thoughts_in_openrouters_words_are_understood() {
    let details = json!([
        {"type": "reasoning.text", "text": "First think.", "signature": "sig", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "opaque"},
        {"type": "reasoning.summary", "summary": "s"},
    ]);
    let message = json!({"role": "assistant", "content": "Then say.", "reasoning_details": details});
    assert_eq!(sent_back(&message), thoughts());
}
