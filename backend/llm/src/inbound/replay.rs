//! An answer that is known already, as a stream.

use super::Relay;
use crate::ask::Native;
use crate::gateway::Head;
use crate::provider::Piece;
use crate::types::{Block, Completion, Delta};

/// The whole stream of an answer, in the client's format. `unique` names it, `created` is Unix time in seconds.
pub fn replay(native: &Native, unique: &str, created: u64, completion: &Completion) -> String {
    let mut relay = Relay::new(native, unique.to_owned(), created);
    let head = Head {
        deployment: completion.deployment.clone(),
        model: completion.model.clone(),
        // In our own words: the provider's bytes are not kept.
        native: false,
        attempt: 0,
        simulated: completion.simulated,
        dropped: Vec::new(),
        prompt_tokens: completion.usage.prompt(),
    };
    let mut out = relay.head(&head);
    out.push_str(&relay.piece(&Piece { deltas: deltas(completion), raw: None }));
    out.push_str(&relay.end(&Ok(completion.clone())));
    out
}

fn deltas(completion: &Completion) -> Vec<Delta> {
    let blocks = (0..).zip(&completion.blocks).flat_map(|(index, block)| pieces(index, block));
    let end = [Delta::Usage { usage: completion.usage }, Delta::Finished { stop: completion.stop.clone() }];
    blocks.chain(end).collect()
}

fn pieces(index: u32, block: &Block) -> Vec<Delta> {
    let call = |id: &String, name: &String, json: String| {
        vec![Delta::ToolUse { index, id: id.clone(), name: name.clone() }, Delta::ToolInput { index, json }]
    };
    match block {
        Block::Text { text } => vec![Delta::Text { index, text: text.clone() }],
        Block::Thinking { text, signature, .. } => {
            let signature = signature.clone().map(|signature| Delta::Signature { index, signature });
            std::iter::once(Delta::Thinking { index, text: text.clone() }).chain(signature).collect()
        }
        Block::ToolUse { id, name, input } => call(id, name, input.to_string()),
        Block::InvalidToolUse { id, name, raw, .. } => call(id, name, raw.clone()),
        // No model says these.
        Block::Image { .. } | Block::ToolResult { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ask::Endpoint;
    use crate::types::{StopReason, Usage};

    #[test]
    fn a_known_answer_is_streamed_in_both_formats_from_its_beginning_to_its_end() {
        let completion = Completion {
            blocks: vec![
                Block::Thinking { text: "hm".into(), signature: Some("sig".into()), model: None },
                Block::text("Well."),
                Block::ToolUse { id: "c1".into(), name: "look".into(), input: json!({"at": [1]}) },
            ],
            stop: StopReason::ToolUse,
            usage: Usage { input: 7, output: 3, ..Usage::default() },
            deployment: "d".into(),
            provider: "p".into(),
            model: "m".into(),
            simulated: false,
            latency_ms: 1,
            cost_micro_usd: 1,
            price_unknown: false,
        };
        for (endpoint, ends, said) in [
            (Endpoint::ChatCompletions, "data: [DONE]\n\n", ["Well.", "tool_calls", "look", "c1"]),
            (
                Endpoint::Messages,
                "message_stop\"}\n\n",
                ["Well.", "signature_delta", "input_json_delta", "tool_use"],
            ),
            (Endpoint::Responses, "", ["Well.", "function_call", "look", "response.completed"]),
        ] {
            let body = json!({"model": "g", "stream": true, "max_tokens": 9, "messages": [], "input": "x"});
            let native = Native::parse(endpoint, body.to_string().into()).unwrap();
            let stream = replay(&native, "u", 1, &completion);
            assert!(stream.ends_with(ends), "{endpoint:?}: {stream}");
            for word in said {
                assert!(stream.contains(word), "{endpoint:?} {word}: {stream}");
            }
        }
    }
}
