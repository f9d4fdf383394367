//! Providers with an API of their own: what they are sent, and what is made of what they answer. The answers are in the
//! shapes of their documentation, in `tests/fixtures`.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use syndarix_llm::inbound::Fault;
use syndarix_llm::{
    Block, ChatRequest, Completion, Deployment, Endpoint, ErrorKind, Event, Image, Message, Native,
    ProviderKind, Raw, Role, StopReason, ToolChoice, Usage,
};
use tokio::sync::mpsc;

use crate::harness::{Hooks, Server, call, deployment, gateway, group, kinds, policy, request, tool_use};

/// What a provider was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) address: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A server that answers everything with one recorded answer, and remembers what it was sent.
pub(crate) async fn recorded(
    status: u16,
    kind: &'static str,
    answer: &'static str,
) -> (Server, Arc<Mutex<Vec<Sent>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    let handle = move |request: Request| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            seen.lock().unwrap().push(Sent {
                address: parts.uri.to_string(),
                headers: parts.headers,
                body: serde_json::from_slice(&body).unwrap(),
            });
            (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, kind)], answer).into_response()
        }
    };
    (Server::of(Router::new().fallback(handle)).await, sent)
}

pub(crate) const SSE: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
pub(crate) const JSON: &str = "application/json";
const GEMINI: &str = include_str!("../fixtures/gemini_tools.sse");
const OLLAMA: &str = include_str!("../fixtures/ollama_tools.ndjson");
const OLLAMA_ERROR: &str = include_str!("../fixtures/ollama_error.ndjson");
const AZURE: &str = include_str!("../fixtures/azure_stream.sse");
const VOYAGE: &str = include_str!("../fixtures/voyage_embeddings.json");
const GEMINI_EMBED: &str = include_str!("../fixtures/gemini_embed.json");
const OLLAMA_EMBED: &str = include_str!("../fixtures/ollama_embed.json");

fn at(server: &Server, kind: ProviderKind, path: &str, model: &str) -> Deployment {
    Deployment { model: model.into(), ..deployment("d", kind, &server.url(path)) }
}

/// A conversation with everything that providers have a word for.
fn everything() -> ChatRequest {
    let mut asked = request("go");
    let picture = Image::Data { media_type: "image/png".into(), data: "aGk=".into() };
    asked.messages = vec![
        Message {
            role: Role::User,
            content: vec![Block::text("what is it?"), Block::Image { image: picture }],
        },
        Message::assistant(vec![
            Block::text("I look"),
            Block::ToolUse { id: "c1".into(), name: "git_branch".into(), input: json!({"name": "x"}) },
        ]),
        Message::tool_results(vec![Block::ToolResult {
            tool_use_id: "c1".into(),
            content: "no such branch".into(),
            is_error: true,
            images: Vec::new(),
        }]),
    ];
    asked.options.tool_choice = Some(ToolChoice::Tool("git_commit".into()));
    asked.options.top_p = Some(0.9);
    asked
}

async fn asked(deployment: Deployment, request: &ChatRequest) -> Completion {
    call(&gateway(policy(0)), vec![deployment], request, &Hooks::default()).await.unwrap()
}

/// The calls of the fixtures of both, which say the same.
fn check_calls(answer: &Completion) {
    let calls: Vec<_> = answer.blocks.iter().filter(|block| matches!(block, Block::ToolUse { .. })).collect();
    assert_eq!(tool_use(calls[0]), ("git_branch", &json!({"name": "story/S-7"})));
    assert_eq!(tool_use(calls[1]), ("git_commit", &json!({"message": "m"})));
    let mut ids: Vec<&String> = calls
        .iter()
        .filter_map(|block| if let Block::ToolUse { id, .. } = block { Some(id) } else { None })
        .collect();
    ids.dedup();
    assert!(ids.len() == 2 && ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    assert_eq!((answer.text().as_str(), &answer.stop), ("I will commit.", &StopReason::ToolUse));
    assert!(matches!(&answer.blocks[0], Block::Thinking { text, .. } if text == "Looking for the branch."));
}

#[tokio::test]
async fn gemini_is_asked_and_understood_in_its_own_format() {
    let (server, sent) = recorded(200, SSE, GEMINI).await;
    let answer = asked(at(&server, ProviderKind::Gemini, "/v1beta", "gemini-3.5-flash"), &everything()).await;
    check_calls(&answer);
    let usage = Usage { input: 110, output: 65, cache_read: 200, reasoning: 24, ..Usage::default() };
    assert_eq!((answer.usage, answer.provider.as_str()), (usage, "gemini"));
    assert_eq!((answer.model.as_str(), answer.price_unknown), ("gemini-3.5-flash", false));
    let Sent { address, headers, body } = sent.lock().unwrap()[0].clone();
    assert_eq!(address, "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(headers["x-goog-api-key"], "key-of-the-test");
    let contents = json!([
        {"role": "user", "parts": [{"text": "what is it?"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
        {"role": "model", "parts": [{"text": "I look"},
            {"functionCall": {"id": "c1", "name": "git_branch", "args": {"name": "x"}},
             "thoughtSignature": "skip_thought_signature_validator"}]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "c1", "name": "git_branch", "response": {"error": "no such branch"}}}]},
    ]);
    assert_eq!(body["contents"], contents);
    assert_eq!(body["systemInstruction"]["parts"][0]["text"], "You are the engineer. story id: S-7.");
    assert_eq!(body["tools"][0]["functionDeclarations"][1]["name"], "git_commit");
    assert_eq!(
        body["tools"][0]["functionDeclarations"][1]["parametersJsonSchema"],
        json!({"type": "object"})
    );
    let choice = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["git_commit"]}});
    assert_eq!(body["toolConfig"], choice);
    let config = json!({"maxOutputTokens": 500, "temperature": 0.2, "topP": 0.9, "stopSequences": ["END"]});
    assert_eq!(body["generationConfig"], config);
}

#[tokio::test]
async fn geminis_refusals_have_the_class_that_they_mean() {
    let quota = r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7.5s"}]}}"#;
    let key = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#;
    let long = r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#;
    for (status, body, kind) in [
        (429, quota, ErrorKind::RateLimited { retry_after_ms: Some(7_500) }),
        (400, key, ErrorKind::Auth),
        (400, long, ErrorKind::ContextTooLong),
        (
            503,
            r#"[{"error":{"code":503,"message":"The model is overloaded."}}]"#,
            ErrorKind::Overloaded { retry_after_ms: None },
        ),
    ] {
        let (server, _) = recorded(status, JSON, body).await;
        let chain = vec![at(&server, ProviderKind::Gemini, "/v1beta", "gemini-3.5-flash")];
        let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(kind))], "{body}");
        assert!(!error.to_string().contains("\"code\""), "its words, not its document: {error}");
    }
}

#[tokio::test]
async fn ollama_is_asked_and_understood_in_its_own_format() {
    let (server, sent) = recorded(200, LINES, OLLAMA).await;
    // The address of its compatible endpoint leads there, too.
    for path in ["", "/v1"] {
        let answer = asked(at(&server, ProviderKind::Ollama, path, "qwen3:8b"), &everything()).await;
        check_calls(&answer);
        assert_eq!(answer.usage, Usage { input: 310, output: 65, ..Usage::default() });
    }
    let Sent { address, body, .. } = sent.lock().unwrap()[1].clone();
    assert_eq!(address, "/api/chat");
    let messages = json!([
        {"role": "system", "content": "You are the engineer. story id: S-7."},
        {"role": "user", "content": "what is it?", "images": ["aGk="]},
        {"role": "assistant", "content": "I look",
         "tool_calls": [{"function": {"name": "git_branch", "arguments": {"name": "x"}}}]},
        {"role": "tool", "tool_name": "git_branch", "content": "[tool error] no such branch"},
    ]);
    assert_eq!(body["messages"], messages);
    let options =
        json!({"num_predict": 500, "num_ctx": 100_000, "temperature": 0.2, "top_p": 0.9, "stop": ["END"]});
    assert_eq!((&body["options"], &body["stream"]), (&options, &json!(true)));
    assert_eq!(body["tools"][0]["function"]["name"], "git_branch");
}

#[tokio::test]
async fn an_error_of_ollama_is_one_wherever_it_comes() {
    let cut = "{\"model\":\"m\",\"message\":{\"content\":\"a\"},\"done\":false}\n";
    for (status, kind, body, expected) in [
        (404, JSON, "{\"error\":\"model 'm' not found\"}", ErrorKind::NotFound),
        (200, LINES, cut, ErrorKind::Connection),
        (200, LINES, OLLAMA_ERROR, ErrorKind::ServerError),
        (200, LINES, "nonsense\n", ErrorKind::Malformed),
    ] {
        let (server, _) = recorded(status, kind, body).await;
        let chain = vec![at(&server, ProviderKind::Ollama, "", "m")];
        let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(expected))], "{body}");
    }
}

/// A client's answer that is not streamed, and what it was told was left out.
pub(crate) async fn native(
    deployment: Deployment,
    endpoint: Endpoint,
    body: &Value,
) -> Result<(Value, Vec<String>, Usage), Fault> {
    let native = Native::parse(endpoint, body.to_string().into()).unwrap();
    let (out, mut events) = mpsc::channel(8);
    let (hooks, group) = (Hooks::default(), group(vec![deployment]));
    let reading = async {
        let (mut whole, mut dropped) = (Value::Null, Vec::new());
        while let Some(event) = events.recv().await {
            match event {
                Event::Head(head) => dropped = head.dropped,
                Event::Piece(piece) => {
                    if let Some(Raw::Whole(bytes)) = piece.raw {
                        whole = serde_json::from_slice(&bytes).unwrap();
                    }
                }
                Event::End(result) => {
                    let completion = result.map_err(|error| Fault::from(&error))?;
                    if whole.is_null() {
                        whole = syndarix_llm::inbound::whole(&native, "1", 0, &completion);
                    }
                    return Ok((whole, dropped, completion.usage));
                }
            }
        }
        panic!("no end");
    };
    let gateway = gateway(policy(0));
    let (result, ()) = tokio::join!(reading, gateway.answer(&group, &native, &hooks, out));
    result
}

#[tokio::test]
async fn azure_is_asked_at_its_own_addresses_with_the_clients_own_words() {
    let (server, sent) = recorded(200, SSE, AZURE).await;
    let mut dated = at(&server, ProviderKind::AzureOpenAi, "", "my-gpt");
    dated.api_version = Some("2024-10-21".into());
    let newest = at(&server, ProviderKind::AzureOpenAi, "/openai/v1", "my-gpt");
    for deployment in [dated, newest] {
        let answer = asked(deployment, &request("go")).await;
        assert_eq!((answer.text().as_str(), answer.model.as_str()), ("I will commit.", "gpt-4.1-2025-04-14"));
        assert_eq!(answer.usage, Usage { input: 110, output: 65, cache_read: 200, ..Usage::default() });
    }
    let sent = sent.lock().unwrap().clone();
    let addresses: Vec<&str> = sent.iter().map(|sent| sent.address.as_str()).collect();
    let dated = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(addresses, [dated, "/openai/v1/chat/completions"]);
    for sent in &sent {
        assert_eq!(sent.headers["api-key"], "key-of-the-test");
        assert!(!sent.headers.contains_key("authorization"));
        assert_eq!(
            (&sent.body["model"], &sent.body["max_completion_tokens"]),
            (&json!("my-gpt"), &json!(500))
        );
    }
}

#[tokio::test]
async fn voyage_makes_embeddings_for_clients_of_openais_format() {
    let (server, sent) = recorded(200, JSON, VOYAGE).await;
    let deployment = at(&server, ProviderKind::Voyage, "/v1", "voyage-3.5");
    let body = json!({
        "model": "embeddings", "input": ["a", "b"], "dimensions": 256, "encoding_format": "float",
        "input_type": "document", "user": "maria",
    });
    let (answer, dropped, usage) = native(deployment.clone(), Endpoint::Embeddings, &body).await.unwrap();
    assert_eq!(answer["data"][0]["embedding"], json!([-0.0131, 0.02, -0.0049]));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 10, "total_tokens": 10}));
    assert_eq!((usage, dropped), (Usage { input: 10, ..Usage::default() }, vec!["user".to_owned()]));
    let Sent { address, headers, body } = sent.lock().unwrap()[0].clone();
    assert_eq!(
        (address.as_str(), &headers["authorization"]),
        ("/v1/embeddings", &"Bearer key-of-the-test".parse().unwrap())
    );
    let expected = json!({
        "model": "voyage-3.5", "input": ["a", "b"], "input_type": "document", "output_dimension": 256,
    });
    assert_eq!(body, expected);
    // It can do nothing else, and takes no tokens instead of texts.
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "go"}]});
    for (endpoint, body) in
        [(Endpoint::ChatCompletions, chat), (Endpoint::Embeddings, json!({"model": "m", "input": [[1, 2]]}))]
    {
        let fault = native(deployment.clone(), endpoint, &body).await.unwrap_err();
        assert_eq!(fault.status, 400, "{fault:?}");
    }
}

#[tokio::test]
async fn gemini_makes_embeddings_text_by_text_and_what_it_does_not_count_is_estimated() {
    let (server, sent) = recorded(200, JSON, GEMINI_EMBED).await;
    let deployment = at(&server, ProviderKind::Gemini, "/v1beta", "gemini-embedding-001");
    let body = json!({
        "model": "embeddings", "input": ["a", "b"], "dimensions": 3, "task_type": "RETRIEVAL_DOCUMENT", "user": "maria",
    });
    let (answer, dropped, usage) = native(deployment.clone(), Endpoint::Embeddings, &body).await.unwrap();
    assert_eq!(
        answer["data"][1],
        json!({"object": "embedding", "index": 1, "embedding": [-0.0131, 0.02, -0.0049]})
    );
    assert_eq!(
        (&answer["model"], &answer["usage"]["prompt_tokens"]),
        (&json!("gemini-embedding-001"), &json!(4))
    );
    assert_eq!((usage, dropped), (Usage { input: 4, ..Usage::default() }, vec!["user".to_owned()]));
    let Sent { address, headers, body } = sent.lock().unwrap()[0].clone();
    assert_eq!(address, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(headers["x-goog-api-key"], "key-of-the-test");
    let request = |text: &str| {
        json!({"model": "models/gemini-embedding-001", "taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 3,
            "content": {"parts": [{"text": text}]}})
    };
    assert_eq!(body, json!({"requests": [request("a"), request("b")]}));

    // A vector is missing: an answer that cannot be matched to the texts is none.
    let three = json!({"model": "m", "input": ["a", "b", "c"]});
    assert_eq!(native(deployment, Endpoint::Embeddings, &three).await.unwrap_err().status, 503);

    let uncounted = r#"{"embeddings":[{"values":[0.5,-0.25,0.125]}]}"#;
    let (server, _) = recorded(200, JSON, uncounted).await;
    let deployment = at(&server, ProviderKind::Gemini, "/v1beta", "gemini-embedding-001");
    let one = json!({"model": "m", "input": "some words", "encoding_format": "base64"});
    let (packed, _, usage) = native(deployment, Endpoint::Embeddings, &one).await.unwrap();
    assert_eq!(packed["data"][0]["embedding"], "AAAAPwAAgL4AAAA+");
    assert!(usage.estimated && usage.input >= 2, "{usage:?}");
}

#[tokio::test]
async fn ollama_makes_embeddings_in_the_numbers_that_the_client_wants() {
    let (server, sent) = recorded(200, JSON, OLLAMA_EMBED).await;
    let deployment = at(&server, ProviderKind::Ollama, "", "all-minilm");
    let ask = |format: &str| json!({"model": "m", "input": "a", "encoding_format": format});
    let (floats, _, usage) = native(deployment.clone(), Endpoint::Embeddings, &ask("float")).await.unwrap();
    assert_eq!((&floats["data"][0]["embedding"], usage.input), (&json!([0.5, -0.25, 0.125]), 8));
    let (packed, ..) = native(deployment, Endpoint::Embeddings, &ask("base64")).await.unwrap();
    assert_eq!(packed["data"][0]["embedding"], "AAAAPwAAgL4AAAA+");
    assert_eq!(sent.lock().unwrap()[0].address, "/api/embed");
    assert_eq!(sent.lock().unwrap()[0].body, json!({"model": "all-minilm", "input": "a"}));
}

#[tokio::test]
async fn what_a_provider_has_no_word_for_is_named_and_what_changes_the_question_is_refused() {
    let (server, _) = recorded(200, SSE, GEMINI).await;
    let gemini = at(&server, ProviderKind::Gemini, "/v1beta", "gemini-3.5-flash");
    let tools =
        json!([{"type": "function", "function": {"name": "git_commit", "parameters": {"type": "object"}}}]);
    let ask = |content: Value| {
        json!({"model": "m", "messages": [{"role": "user", "content": content}], "tools": tools,
               "parallel_tool_calls": false, "user": "maria"})
    };
    let (answer, dropped, _) =
        native(gemini.clone(), Endpoint::ChatCompletions, &ask(json!("go"))).await.unwrap();
    assert_eq!(dropped, ["parallel_tool_calls", "user"]);
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][1]["function"]["name"], "git_commit");
    let by_address = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let fault = native(gemini, Endpoint::ChatCompletions, &ask(by_address)).await.unwrap_err();
    assert!(fault.status == 400 && fault.message.contains("picture"), "{fault:?}");
}
