//! Property: what both formats can say is the same after it went over both.

use proptest::prelude::*;

use super::round_trip::{deployment, request};
use super::{Deployment, ProviderKind, Wire, anthropic, openai};
use crate::ask::{Ask, Endpoint, Native};
use crate::inbound;
use crate::types::{Block, ChatRequest, Effort, Reasoning, ToolChoice};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_request_of_what_both_can_say_is_the_same_after_it_went_over_both(request in sayable()) {
        let (claude, gpt) = (claude(), gpt(&request));
        let said = openai::encode(&gpt, &request, request.max_output_tokens);
        // Neighbours of one role are one message from here on.
        let read = inbound::parse(Wire::OpenAi, &said).unwrap().request;

        let there = anthropic::encode(&claude, &read, read.max_output_tokens);
        let back = inbound::parse(Wire::Anthropic, &there).unwrap().request;

        let first = openai::encode(&gpt, &read, read.max_output_tokens);
        prop_assert_eq!(openai::encode(&gpt, &back, back.max_output_tokens), first);
    }

    #[test]
    fn of_a_request_of_what_both_can_say_nothing_is_dropped(request in sayable()) {
        let (claude, gpt) = (claude(), gpt(&request));
        let body = openai::encode(&gpt, &request, request.max_output_tokens);
        let native = Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap();

        prop_assert_eq!(Ask::Native(&native).dropped(&claude), Ok(Vec::new()));
    }
}
