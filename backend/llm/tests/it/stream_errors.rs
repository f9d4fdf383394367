//! Errors that a provider sends within its stream, in its own words, before the first content and after it. The streams are
//! in the shapes of the documentation, in `tests/fixtures`.

use serde_json::{Value, json};
use syndarix_llm::{CallError, Deployment, Endpoint, ErrorKind, ProviderKind, Usage};

use crate::harness::{Hooks, Server, call, gateway, kinds, policy, request};
use crate::streams::{native, stream};
use crate::wires::raw;

const BEFORE: &str = include_str!("../fixtures/anthropic_error.sse");
const AFTER: &str = include_str!("../fixtures/anthropic_error_after_content.sse");
const SOUND: &str = include_str!("../samples/streams/anthropic-text.sse");
const ROUTER: &str = include_str!("../fixtures/openrouter_error.sse");
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const ERROR: &str = "event: error\n";
const OVERLOADED: ErrorKind = ErrorKind::Overloaded { retry_after_ms: None };
const CLIENTS: [Endpoint; 2] = [Endpoint::Messages, Endpoint::ChatCompletions];

fn chain(first: &Server, second: &Server) -> Vec<Deployment> {
    vec![
        first.deployment("first", ProviderKind::Anthropic),
        second.deployment("second", ProviderKind::Anthropic),
    ]
}

/// What the provider had counted when it broke off. It is no last word, and so an estimate.
fn told(output: u32) -> Usage {
    Usage { input: 12, output, cache_read: 1_000, cache_write: 100, estimated: true, ..Usage::default() }
}

/// What that costs, in micro-USD.
fn cost(output: u32) -> i64 {
    12 * 3 + 1_000 * 3 / 10 + 100 * 15 / 4 + i64::from(output) * 15
}

fn last(frames: &str) -> Value {
    let data = frames.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    serde_json::from_str(data).unwrap()
}

#[tokio::test]
async fn an_overloaded_provider_is_left_for_the_next_before_the_first_content_and_without_a_trace() {
    for cut in [7, 4_096] {
        let (overloaded, sound) = (raw(BEFORE, cut).await, raw(SOUND, cut).await);
        for endpoint in CLIENTS {
            let (bytes, hooks) = stream(chain(&overloaded, &sound), native(endpoint, true)).await;

            let settled = hooks.settled();
            let errors: Vec<_> =
                settled.iter().map(|settled| settled.error.as_ref().map(|error| error.kind)).collect();
            assert_eq!(errors, [Some(OVERLOADED), None], "{endpoint:?}");
            assert!(!bytes.contains("error") && !bytes.contains("Overloaded"), "{bytes}");
            if endpoint == Endpoint::Messages {
                assert_eq!(bytes, SOUND.replace(PING, ""));
            } else {
                assert!(bytes.ends_with("data: [DONE]\n\n"), "{bytes}");
            }
            // The prompt was read, and may be charged for.
            assert_eq!((settled[0].usage, settled[0].cost.micro_usd), (told(1), cost(1)));
        }
    }
}

#[tokio::test]
async fn an_overloaded_provider_after_the_first_content_ends_the_stream_with_an_error_and_is_paid_for() {
    for cut in [7, 4_096] {
        let (overloaded, sound) = (raw(AFTER, cut).await, raw(SOUND, cut).await);
        for endpoint in CLIENTS {
            let (bytes, hooks) = stream(chain(&overloaded, &sound), native(endpoint, true)).await;

            let settled = hooks.settled();
            assert_eq!(settled.len(), 1, "nobody else is asked");
            assert_eq!(settled[0].error.as_ref().unwrap().kind, OVERLOADED);
            let usage = settled[0].usage;
            assert_eq!((usage, settled[0].cost.micro_usd), (told(usage.output), cost(usage.output)));
            assert!(usage.output > 1, "what was said counts: {usage:?}");

            let error = last(&bytes);
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains("broke off") && message.contains("Overloaded"), "{message}");
            assert!(!bytes.contains("message_stop") && !bytes.contains("[DONE]"), "{bytes}");
            if endpoint == Endpoint::Messages {
                let (said, ..) = AFTER.split_once(ERROR).unwrap();
                let (before, frame) = bytes.split_once(ERROR).unwrap();
                assert_eq!(before, said.replace(PING, ""));
                assert_eq!(frame.matches("data: ").count(), 1, "nothing follows it");
                assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("api_error")));
            }
        }
    }
}

#[tokio::test]
async fn an_overloaded_provider_is_asked_again_and_its_class_is_told_when_it_stays_so() {
    let overloaded = raw(BEFORE, 4_096).await;
    let chain = vec![overloaded.deployment("d", ProviderKind::Anthropic)];
    let hooks = Hooks::default();

    let error = call(&gateway(policy(1)), chain, &request("go"), &hooks).await.unwrap_err();

    assert!(matches!(error, CallError::Exhausted { retry_after_ms: Some(_), .. }), "{error}");
    let failed = || ("d".to_owned(), Some(OVERLOADED));
    assert_eq!(kinds(&error), [failed(), failed()]);
    assert!(hooks.settled().iter().all(|settled| settled.usage == told(1)));
}

#[tokio::test]
async fn an_error_in_the_place_of_a_whole_message_has_its_class() {
    let body = "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
    let (one, other) = (raw(body, 4_096).await, raw(body, 4_096).await);

    let (_, hooks) = stream(chain(&one, &other), native(Endpoint::Messages, false)).await;

    let errors = hooks.settled().into_iter().map(|settled| settled.error.unwrap());
    let errors: Vec<_> = errors.map(|error| (error.kind, error.message)).collect();
    assert_eq!(errors, [(OVERLOADED, "Overloaded".to_owned()), (OVERLOADED, "Overloaded".to_owned())]);
}

#[tokio::test]
async fn a_routers_error_within_a_stream_ends_it_in_the_clients_format() {
    let router = raw(ROUTER, 11).await;
    for endpoint in CLIENTS {
        let chain = vec![router.deployment("router", ProviderKind::OpenAiCompatible)];
        let (bytes, hooks) = stream(chain, native(endpoint, true)).await;

        let settled = hooks.settled();
        let error = settled[0].error.as_ref().unwrap();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::ServerError, "The provider went away."));
        assert!(settled[0].usage.estimated && settled[0].usage.output > 0, "{settled:?}");
        assert!(last(&bytes)["error"]["message"].as_str().unwrap().contains("went away"), "{bytes}");
        assert!(bytes.contains("I will ") && !bytes.contains("PROCESSING"), "{bytes}");
        assert!(!bytes.contains("message_stop") && !bytes.contains("[DONE]"), "{bytes}");
    }
}
