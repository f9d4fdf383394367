//! What operators see of model calls: figures for Prometheus, and spans for an OpenTelemetry collector.

use crate::gateway::{Desk, SOUND, chat, deployment, serve};
use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    routing::post,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use syndarix::telemetry::{self, Tracing};
use syndarix_llm::{ModelGroup, ProviderKind, Secret, scripted};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[tokio::test]
async fn a_call_is_measured_by_what_the_operator_configured_and_by_nobodys_id() {
    // Nothing is where this one is looked for.
    let (nowhere, _missing) = serve(Router::new()).await;
    let scripted = |text: &str| scripted::router(scripted::Script::from_toml(text).unwrap());
    // An answer that comes in one packet has no pace.
    let paced = format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 5 }}\n");
    let (address, _provider) = serve(scripted(&paced)).await;
    let busy = "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 600 }\n";
    let (busy, _limited) = serve(scripted(busy)).await;
    let chain = vec![
        deployment("measured-first", ProviderKind::OpenAi, nowhere),
        deployment("measured-second", ProviderKind::OpenAi, address),
    ];
    let left_alone = vec![deployment("measured-busy", ProviderKind::OpenAi, busy)];
    let groups = vec![ModelGroup::new("measured", chain), ModelGroup::new("busy", left_alone)];
    let desk = Desk::with(groups).await;
    let mut streamed = chat("measured");
    streamed["stream"] = json!(true);
    for (path, body) in [("/v1/messages", &chat("measured")), ("/v1/chat/completions", &streamed)] {
        let (status, headers, answer) = desk.ask(path, &desk.key, body).await;
        assert_eq!(
            (status, &headers["x-syndarix-attempts"]),
            (StatusCode::OK, &HeaderValue::from(2)),
            "{answer}"
        );
    }
    let (status, _, answer) = desk.ask("/v1/messages", &desk.key, &chat("busy")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    let (id, _) = desk.make(json!({ "name": "another" })).await;

    let request = axum::http::Request::get("/metrics").body(Body::empty()).unwrap();
    let (_, _, metrics) = desk.send(request).await;
    for line in [
        "syndarix_gateway_calls_total{dialect=\"messages\",group=\"measured\",outcome=\"answered\"} 1\n",
        "syndarix_gateway_calls_total{dialect=\"chat_completions\",group=\"measured\",outcome=\"answered\"} 1\n",
        "syndarix_gateway_attempts_bucket{group=\"measured\",le=\"1\"} 0\n",
        "syndarix_gateway_attempts_bucket{group=\"measured\",le=\"2\"} 2\n",
        "syndarix_gateway_upstream_seconds_count{deployment=\"measured-first\",outcome=\"failed\"} 2\n",
        "syndarix_gateway_upstream_seconds_count{deployment=\"measured-second\",outcome=\"answered\"} 2\n",
        "syndarix_gateway_upstream_seconds_bucket{deployment=\"measured-second\",outcome=\"answered\",le=\"600\"} 2\n",
        // Of the one that was streamed only.
        "syndarix_gateway_first_token_seconds_count{deployment=\"measured-second\"} 1\n",
        "syndarix_gateway_tokens_per_second_count{deployment=\"measured-second\"} 1\n",
        "syndarix_gateway_breaker_state{deployment=\"measured-second\"} 0\n",
        "syndarix_gateway_breaker_state{deployment=\"measured-busy\"} 2\n",
        "syndarix_gateway_added_seconds_bucket{dialect=\"messages\",le=\"0.0001\"}",
        "syndarix_ledger_post_seconds_bucket{le=\"0.0001\"}",
        "syndarix_ledger_batch_size_bucket{le=\"1\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains(&desk.project) && !metrics.contains(&id), "{metrics}");
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What arrives at the collector's door, and what a provider is told of traces.
#[derive(Clone, Default)]
struct Seen {
    requests: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    parents: Arc<Mutex<Vec<Option<String>>>>,
}

impl Seen {
    /// A stand-in for a collector, with its one path.
    fn collector(&self) -> Router {
        let requests = Arc::clone(&self.requests);
        let take = async move |headers: HeaderMap, Json(body): Json<Value>| {
            requests.lock().unwrap().push((headers, body));
            Json(json!({}))
        };
        Router::new().route("/v1/traces", post(take))
    }

    /// A provider that notes whose span each request is part of.
    fn provider(&self) -> Router {
        let parents = Arc::clone(&self.parents);
        let note = move |request: Request, next: Next| {
            let parent =
                request.headers().get("traceparent").map(|parent| parent.to_str().unwrap().to_owned());
            parents.lock().unwrap().push(parent);
            next.run(request)
        };
        let script = scripted::Script::from_toml(SOUND).unwrap();
        scripted::router(script).layer(middleware::from_fn(note))
    }

    /// Every span, with its attributes as a plain object.
    fn spans(&self) -> Vec<(Value, Value)> {
        let requests = self.requests.lock().unwrap();
        let all = requests.iter().flat_map(|(_, body)| {
            body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        });
        all.map(|span| {
            let attributes = span["attributes"].as_array().unwrap().iter().map(|one| {
                let value = one["value"].as_object().unwrap().values().next().unwrap().clone();
                (one["key"].as_str().unwrap().to_owned(), value)
            });
            let attributes = Value::Object(attributes.collect());
            (span, attributes)
        })
        .collect()
    }
}

/// Asks one question as part of a trace, while a collector listens; what everybody saw.
async fn traced(content: bool, parent: &str) -> Seen {
    let seen = Seen::default();
    let (collector, _collecting) = serve(seen.collector()).await;
    let (address, _provider) = serve(seen.provider()).await;
    let (nowhere, _missing) = serve(Router::new()).await;
    let chain = vec![
        deployment("first", ProviderKind::OpenAi, nowhere),
        deployment("second", ProviderKind::Anthropic, address),
    ];
    let desk = Desk::with(vec![ModelGroup::new("traced", chain)]).await;
    let settings = Tracing {
        endpoint: Some(format!("http://{collector}/")),
        headers: Some(Secret::new("authorization=Bearer collect")),
        content,
    };
    let (spans, exporter) = telemetry::exporter(&settings, "instance-1").unwrap().unwrap();
    desk.app.app.models.trace_to(spans);
    let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
    exporter.spawn(&tasks, ending.clone());

    let request = axum::http::Request::post("/v1/chat/completions")
        .header(header::AUTHORIZATION, format!("Bearer {}", desk.key))
        .header("traceparent", parent)
        .body(Body::from(chat("traced").to_string()));
    let (status, _, answer) = desk.send(request.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // Whoever stops says what is left.
    ending.cancel();
    tasks.close();
    tasks.wait().await;
    seen
}

#[tokio::test]
async fn a_call_and_its_attempts_are_spans_of_the_clients_trace_and_say_nothing_of_what_was_said() {
    let seen = traced(false, PARENT).await;
    let spans = seen.spans();
    let named = |name: &str| spans.iter().find(|(span, _)| span["name"] == name).expect(name);
    let (call, about) = named("chat traced");
    let (trace, parent) = (&PARENT[3..35], &PARENT[36..52]);
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|(span, _)| span["traceId"] == trace), "{spans:?}");
    assert_eq!((&call["parentSpanId"], &call["kind"]), (&json!(parent), &json!(2)));
    assert_eq!(about["gen_ai.operation.name"], "chat");
    assert_eq!(about["gen_ai.request.model"], "traced");
    assert_eq!(about["syndarix.attempts"], "2");
    assert_eq!(
        [&about["gen_ai.usage.input_tokens"], &about["gen_ai.usage.output_tokens"]],
        [&json!("70"), &json!("20")]
    );

    let (failed, why) = named("chat model-of-first");
    assert_eq!((&failed["parentSpanId"], &failed["status"]["code"]), (&call["spanId"], &json!(2)));
    assert_eq!(why["error.type"], "not_found");
    let (answered, about) = named("chat model-of-second");
    assert_eq!((&answered["parentSpanId"], &answered["kind"]), (&call["spanId"], &json!(3)));
    assert_eq!((&answered["status"], &about["gen_ai.provider.name"]), (&json!({}), &json!("anthropic")));
    assert_eq!(about["gen_ai.response.finish_reasons"]["values"], json!([{ "stringValue": "stop" }]));
    let told = format!("00-{trace}-{}-01", answered["spanId"].as_str().unwrap());
    assert_eq!(*seen.parents.lock().unwrap(), [Some(told)], "the provider's spans hang below its attempt");

    let requests = seen.requests.lock().unwrap();
    let (headers, body) = &requests[0];
    assert_eq!(headers["authorization"], "Bearer collect");
    let resource = body["resourceSpans"][0]["resource"]["attributes"].to_string();
    assert!(resource.contains("service.name") && resource.contains("instance-1"), "{resource}");
    assert!(!body.to_string().contains("one two three"), "what a model says is told to nobody: {body}");
}

#[tokio::test]
async fn what_was_said_is_told_where_the_operator_wants_it() {
    let seen = traced(true, PARENT).await;
    let spans = seen.spans();
    let (_, about) = spans.iter().find(|(span, _)| span["name"] == "chat traced").unwrap();
    let said = |key: &str| serde_json::from_str::<Value>(about[key].as_str().unwrap()).unwrap();
    assert_eq!(said("gen_ai.input.messages")[0]["parts"][0]["content"], "go");
    assert_eq!(said("gen_ai.output.messages")[0]["role"], "assistant");
    assert!(said("gen_ai.output.messages").to_string().contains("one two three"));
}

#[tokio::test]
async fn a_trace_that_its_beginner_does_not_keep_is_passed_on_as_it_came() {
    let dropped = PARENT.replace("-01", "-00");
    let seen = traced(false, &dropped).await;
    assert_eq!(seen.spans(), []);
    assert_eq!(*seen.parents.lock().unwrap(), [Some(dropped)]);
}
