//! Answers that are read while they are made.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::post;
use futures::StreamExt;
use serde_json::{Value, json};
use syndarix_llm::inbound::Relay;
use syndarix_llm::{Delta, Deployment, Endpoint, ErrorKind, Event, Native, ProviderKind, scripted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::harness::{Hooks, Server, gateway, group, policy};

const SOUND: &str = "[[rule]]\nname = 'r'\nanswer.text = 'one two three four five six seven eight nine ten'\n\
                     answer.usage = { input = 70, output = 20 }\n";

fn script(fault: &str) -> String {
    format!("{SOUND}fault = {{ {fault} }}\n")
}

pub(crate) fn native(endpoint: Endpoint, stream: bool) -> Native {
    let body = json!({
        "model": "test", "max_tokens": 90, "stream": stream, "messages": [{"role": "user", "content": "go"}],
    });
    Native::parse(endpoint, body.to_string().into()).unwrap()
}

/// A call in a task of its own, as the server makes it.
struct Asked {
    hooks: Arc<Hooks>,
    events: mpsc::Receiver<Event>,
    task: JoinSet<()>,
}

fn ask(chain: Vec<Deployment>, native: Native, room: usize) -> Asked {
    let hooks = Arc::new(Hooks::default());
    let (out, events) = mpsc::channel(room);
    let mut task = JoinSet::new();
    let seen = Arc::clone(&hooks);
    task.spawn(async move { gateway(policy(0)).answer(&group(chain), &native, &*seen, out).await });
    Asked { hooks, events, task }
}

/// The client's whole stream, and how many pieces came before its end.
pub(crate) async fn stream(chain: Vec<Deployment>, native: Native) -> (String, Arc<Hooks>) {
    let mut relay = Relay::new(&native, "1".into(), 0);
    let mut asked = ask(chain, native, 8);
    let mut bytes = String::new();
    while let Some(event) = asked.events.recv().await {
        match event {
            Event::Head(head) => bytes += &relay.head(&head),
            Event::Piece(piece) => bytes += &relay.piece(&piece),
            Event::End(result) => bytes += &relay.end(&result),
        }
    }
    asked.task.join_next().await.unwrap().unwrap();
    (bytes, asked.hooks)
}

const PAIRS: [(Endpoint, ProviderKind); 4] = [
    (Endpoint::ChatCompletions, ProviderKind::OpenAi),
    (Endpoint::ChatCompletions, ProviderKind::Anthropic),
    (Endpoint::Messages, ProviderKind::OpenAi),
    (Endpoint::Messages, ProviderKind::Anthropic),
];

fn data(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn an_answer_ends_as_the_clients_format_says_whoever_gave_it() {
    let server = Server::scripted(SOUND).await;
    for (endpoint, kind) in PAIRS {
        let (bytes, hooks) = stream(vec![server.deployment("d", kind)], native(endpoint, true)).await;
        let text: String = data(&bytes)
            .iter()
            .filter_map(|event| {
                let text = [event.pointer("/choices/0/delta/content"), event.pointer("/delta/text")];
                text.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
            })
            .collect();
        assert_eq!(text, "one two three four five six seven eight nine ten", "{endpoint:?} {kind:?}");
        let end = if endpoint == Endpoint::Messages { "event: message_stop\n" } else { "data: [DONE]\n" };
        assert_eq!(bytes.matches(end).count(), 1, "{bytes}");
        assert!(!bytes.contains("\"choices\":[]"), "usage that nobody asked for is not sent: {bytes}");
        let settled = hooks.settled();
        assert_eq!((settled.len(), settled[0].usage.prompt(), settled[0].usage.output), (1, 70, 20));
    }
}

#[tokio::test]
async fn the_first_words_are_passed_on_before_the_provider_says_the_last() {
    for (endpoint, kind) in PAIRS {
        let (server, may_end) = waiting_with_its_end().await;
        let mut asked = ask(vec![server.deployment("d", kind)], native(endpoint, true), 8);
        let mut said = 0;
        while let Some(event) = asked.events.recv().await {
            let Event::Piece(piece) = event else { continue };
            said += piece.deltas.iter().filter(|delta| matches!(delta, Delta::Text { .. })).count();
            if said > 0 {
                may_end.store(true, Ordering::SeqCst);
            }
        }
        assert!(said > 1, "{endpoint:?} {kind:?}: {said}");
    }
}

/// A provider that keeps all but its first pieces back until its flag is set.
async fn waiting_with_its_end() -> (Server, Arc<AtomicBool>) {
    let may_end = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&may_end);
    let script = scripted::Script::from_toml(&script("kind = 'slow_stream', chunk_ms = 1")).unwrap();
    let waits = move |response: Response| {
        let flag = Arc::clone(&flag);
        async move {
            let (head, body) = response.into_parts();
            let pieces = body.into_data_stream().enumerate().then(move |(number, piece)| {
                let flag = Arc::clone(&flag);
                async move {
                    while number >= 5 && !flag.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    piece
                }
            });
            Response::from_parts(head, Body::from_stream(pieces))
        }
    };
    (Server::of(scripted::router(script).layer(map_response(waits))).await, may_end)
}

#[tokio::test]
async fn a_failure_before_the_first_content_leaves_no_trace_in_the_stream() {
    let broken = Server::scripted(&script("kind = 'cut_stream', after_chunks = 1")).await;
    let busy = Server::scripted(&script("kind = 'status', status = 429, retry_after_seconds = 90")).await;
    let sound = Server::scripted(SOUND).await;
    for (endpoint, kind) in PAIRS {
        let chain = vec![
            busy.deployment("a", ProviderKind::OpenAi),
            broken.deployment("b", ProviderKind::Anthropic),
            broken.deployment("c", ProviderKind::OpenAi),
            sound.deployment("d", kind),
        ];
        let (bytes, hooks) = stream(chain, native(endpoint, true)).await;
        let errors: Vec<bool> = hooks.settled().iter().map(|settled| settled.error.is_some()).collect();
        assert_eq!(errors, [true, true, true, false]);
        assert!(!bytes.contains("error"), "{bytes}");
        let begun =
            bytes.matches("message_start\n").count() + bytes.matches("\"role\":\"assistant\",\"c").count();
        assert!(begun <= 2, "it begins once: {bytes}");
        assert!(bytes.ends_with("data: [DONE]\n\n") || bytes.ends_with("\"message_stop\"}\n\n"), "{bytes}");
    }
}

#[tokio::test]
async fn a_failure_after_content_ends_in_an_error_and_nothing_else() {
    let broken = Server::scripted(&script("kind = 'cut_stream', after_chunks = 4")).await;
    let sound = Server::scripted(SOUND).await;
    for (endpoint, kind) in PAIRS {
        let chain = vec![broken.deployment("a", kind), sound.deployment("b", kind)];
        let (bytes, hooks) = stream(chain, native(endpoint, true)).await;
        let last = data(&bytes).pop().unwrap();
        assert!(last["error"]["message"].as_str().unwrap().contains("broke off"), "{bytes}");
        assert!(!bytes.contains("[DONE]") && !bytes.contains("message_stop"), "{bytes}");
        let settled = hooks.settled();
        assert_eq!((settled.len(), settled[0].usage.estimated), (1, true), "nobody else is asked");
        assert!(settled[0].usage.output > 0);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_moves_on_even_after_its_first_words() {
    let broken = Server::scripted(&script("kind = 'cut_stream', after_chunks = 4")).await;
    let sound = Server::scripted(SOUND).await;
    let chain =
        vec![broken.deployment("a", ProviderKind::Anthropic), sound.deployment("b", ProviderKind::Anthropic)];
    let mut asked = ask(chain, native(Endpoint::ChatCompletions, false), 8);
    let Some(Event::Head(head)) = asked.events.recv().await else { panic!("no head") };
    assert_eq!((head.deployment.as_str(), head.native), ("b", false));
    let Some(Event::End(result)) = asked.events.recv().await else { panic!("no end") };
    assert_eq!(result.unwrap().text(), "one two three four five six seven eight nine ten");
}

/// A provider that never stops, counts what it has sent, and knows when nobody listens any more.
async fn endless(every: Duration) -> (Server, Arc<AtomicU32>, Arc<AtomicBool>) {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (sent, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, flag) = (Arc::clone(&sent), Arc::clone(&gone));
    let handler = move || {
        let (count, guard) = (Arc::clone(&count), Gone(Arc::clone(&flag)));
        async move {
            let chunk =
                json!({"model": "m", "choices": [{"index": 0, "delta": {"content": "x".repeat(4_000)}}]});
            let chunk = Bytes::from(format!("data: {chunk}\n\n"));
            let body = futures::stream::repeat(()).then(move |()| {
                let (chunk, count, _kept) = (chunk.clone(), Arc::clone(&count), &guard);
                count.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(every).await;
                    Ok::<_, Infallible>(chunk)
                }
            });
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body))
        }
    };
    let router = Router::new().route("/v1/chat/completions", post(handler));
    (Server::of(router).await, sent, gone)
}

async fn until(what: &str, limit: Duration, mut test: impl FnMut() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_the_provider_and_the_attempt_is_recorded() {
    for streamed in [true, false] {
        let (server, sent, gone) = endless(Duration::from_millis(10)).await;
        let chain =
            vec![server.deployment("d", ProviderKind::OpenAi), server.deployment("e", ProviderKind::OpenAi)];
        // A client of the other format, so that a plain call, too, reads a stream.
        let mut asked = ask(chain, native(Endpoint::Messages, streamed), 8);
        if streamed {
            assert!(matches!(asked.events.recv().await, Some(Event::Head(_))));
        }
        until("it answers", Duration::from_secs(5), || sent.load(Ordering::SeqCst) > 3).await;
        drop(asked.events);
        // It would go on for ever.
        until("the provider is stopped", Duration::from_secs(5), || gone.load(Ordering::SeqCst)).await;
        asked.task.join_next().await.unwrap().unwrap();
        let settled = asked.hooks.settled();
        assert_eq!(settled.len(), 1, "recorded once, and nobody else is asked");
        assert_eq!(settled[0].error.clone().unwrap().kind, ErrorKind::Cancelled);
        assert!(settled[0].usage.estimated && settled[0].usage.output > 0 && settled[0].usage.input > 0);
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_slows_the_provider_down() {
    let (server, sent, _gone) = endless(Duration::ZERO).await;
    let mut asked =
        ask(vec![server.deployment("d", ProviderKind::OpenAi)], native(Endpoint::ChatCompletions, true), 4);
    assert!(matches!(asked.events.recv().await, Some(Event::Head(_))));
    // What is under way fills the sockets' buffers, some megabytes at most; then the provider has to wait.
    let mut before = 0;
    let mut still = 0;
    until("it comes to rest", Duration::from_secs(20), || {
        let now = sent.load(Ordering::SeqCst);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        still > 100
    })
    .await;
    assert!(before < 10_000, "{before} pieces of 4 kB were taken from the provider for a reader of none");
    for _ in 0..2_000 {
        assert!(matches!(asked.events.recv().await, Some(Event::Piece(_))));
    }
    until("it goes on", Duration::from_secs(5), || sent.load(Ordering::SeqCst) > before).await;
}

#[tokio::test]
async fn a_provider_of_the_clients_format_is_sent_and_heard_word_by_word() {
    let seen = Arc::new(std::sync::Mutex::new(Value::Null));
    let kept = Arc::clone(&seen);
    let handler = move |body: Bytes| {
        *kept.lock().unwrap() = serde_json::from_slice(&body).unwrap();
        async {
            let first = json!({"id": "a", "model": "m", "system_fingerprint": "fp", "choices": [{"index": 0,
                "logprobs": {"content": [1]}, "delta": {"role": "assistant", "content": "hi"}}]});
            let last = json!({"id": "a", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
            let usage =
                json!({"id": "a", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}});
            let body =
                format!("data: {first}\n\n: comment\n\ndata: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
            ([(CONTENT_TYPE, "text/event-stream")], body)
        }
    };
    let server = Server::of(Router::new().route("/v1/chat/completions", post(handler))).await;
    let mut body = json!({
        "model": "test", "stream": true, "logit_bias": {"1": 2}, "max_tokens": 3,
        "messages": [{"role": "user", "content": [{"type": "video", "of": "tomorrow"}]}],
    });
    let native = Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap();
    let (bytes, hooks) = stream(vec![server.deployment("d", ProviderKind::OpenAi)], native).await;

    body["model"] = json!("scripted-test");
    body["stream_options"] = json!({"include_usage": true});
    assert_eq!(*seen.lock().unwrap(), body);
    let events = data(&bytes);
    assert_eq!(events.len(), 2, "usage was not asked for: {bytes}");
    assert_eq!(events[0]["system_fingerprint"], "fp");
    assert_eq!(events[0]["choices"][0]["logprobs"]["content"][0], 1);
    assert_eq!((hooks.settled()[0].usage.input, hooks.settled()[0].usage.output), (5, 6));
}
