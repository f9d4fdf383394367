//! The provider, and the only witness of what it was asked for: it keeps books of its own, call by call.

use super::{
    gate::{Crowd, Gate, Present},
    plan::{Call, Fate},
};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// Words that go into one event.
const WORDS: u32 = 20;
/// Between two events.
const PACE: Duration = Duration::from_millis(10);

/// One request, as the provider saw it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// When it came.
    pub(crate) at: DateTime<Utc>,
    /// Tokens of the prompt, as it counts them.
    pub(crate) prompt: i64,
    /// The answer limit that it was told.
    pub(crate) limit: i64,
    /// Tokens that it gave.
    pub(crate) gave: AtomicI64,
    /// It said everything, and how much that was.
    pub(crate) whole: AtomicBool,
    /// It charges nothing: it refused.
    pub(crate) refused: bool,
}

impl Asked {
    /// What it will charge.
    pub(crate) fn charged(&self) -> i64 {
        if self.refused { 0 } else { self.prompt + self.gave.load(Ordering::SeqCst) }
    }
}

/// What it knows.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    books: Arc<Books>,
}

#[derive(Default)]
struct Books {
    calls: HashMap<usize, Call>,
    asked: Mutex<HashMap<usize, Vec<Arc<Asked>>>>,
    requests: AtomicUsize,
    gate: Gate,
    crowd: Arc<Crowd>,
}

impl Upstream {
    /// Answers these calls as they are fated, for as long as the runtime lives.
    pub(crate) async fn start(calls: &[Call]) -> io::Result<Self> {
        let calls = calls.iter().map(|call| (call.n, call.clone())).collect();
        let books = Arc::new(Books { calls, ..Books::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(Arc::clone(&books));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, books })
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> usize {
        self.books.requests.load(Ordering::SeqCst)
    }

    /// Whom it lets wait for an answer: nobody, unless that is held.
    pub(crate) fn gate(&self) -> &Gate {
        &self.books.gate
    }

    /// How many requests it had at the same time at the most: those that it had not refused at once, and whose answer was
    /// not whole yet.
    pub(crate) fn most_at_once(&self) -> usize {
        self.books.crowd.most()
    }

    /// What it was asked for, by call, in the order of the attempts.
    pub(crate) fn asked(&self) -> HashMap<usize, Vec<Arc<Asked>>> {
        self.books.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(books): State<Arc<Books>>, Json(body): Json<Value>) -> Response {
    let (at, request) = (Utc::now(), books.requests.fetch_add(1, Ordering::SeqCst));
    let content = body["messages"][0]["content"].as_str().unwrap_or_default();
    let n = content.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
    // What is asked after the race is no part of it, and gets a short answer.
    let of_race = n.and_then(|n| books.calls.get(&n));
    let limit = body["max_tokens"].as_i64().unwrap_or_default();
    let (fate, turn) = of_race.map_or((Fate::Good, 0), |call| (call.fate, call.turn));
    let words = u32::try_from(limit).unwrap_or_default().min(of_race.map_or(4, |call| call.wordy));
    let mut asked =
        Asked { at, prompt: i64::try_from(content.len() / 3).unwrap_or(0), limit, ..Asked::default() };
    let Some(n) = n else { return StatusCode::BAD_REQUEST.into_response() };
    let asked = {
        let mut all = books.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = all.entry(n).or_default();
        asked.refused = fate == Fate::FailsFirst && attempts.is_empty();
        let asked = Arc::new(asked);
        attempts.push(Arc::clone(&asked));
        asked
    };
    if asked.refused {
        let why = json!({ "error": { "message": "not now", "type": "server_error" } });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(why)).into_response();
    }
    let present = books.crowd.enter();
    books.gate.pass((turn, request)).await;
    if body["stream"] == true {
        let stream = Body::from_stream(told(fate, words, asked, present));
        return ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response();
    }
    tokio::time::sleep(PACE * (words / WORDS)).await;
    asked.gave.store(words.into(), Ordering::SeqCst);
    asked.whole.store(true, Ordering::SeqCst);
    let answer = json!({
        "id": "same-for-all", "object": "chat.completion", "created": 1, "model": "m", "usage": usage(&asked),
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": "tok ".repeat(words as usize) } }],
    });
    Json(answer).into_response()
}

fn usage(asked: &Asked) -> Value {
    let (prompt, gave) = (asked.prompt, asked.gave.load(Ordering::SeqCst));
    json!({ "prompt_tokens": prompt, "completion_tokens": gave, "total_tokens": prompt + gave })
}

/// The events of a stream. What is told is counted at the moment that it goes out; the request is there until its end.
fn told(
    fate: Fate,
    words: u32,
    asked: Arc<Asked>,
    present: Present,
) -> impl Stream<Item = Result<String, io::Error>> {
    let is_short = matches!(fate, Fate::Cuts | Fate::Breaks | Fate::Stalls);
    let said = if is_short { words.div_ceil(2) } else { words };
    let pieces = said.div_ceil(WORDS);
    let counted = Arc::clone(&asked);
    let content = stream::iter(0..pieces).then(move |piece| {
        let (now, asked) = (WORDS.min(said - piece * WORDS), Arc::clone(&counted));
        async move {
            tokio::time::sleep(PACE).await;
            asked.gave.fetch_add(now.into(), Ordering::SeqCst);
            Ok(event(&json!({ "content": "tok ".repeat(now as usize) }), &Value::Null, None))
        }
    });
    let end = stream::once(async move {
        let _until_its_end = present;
        match fate {
            Fate::Cuts => Err(io::Error::other("cut on purpose")),
            Fate::Breaks => {
                Ok("data: {\"error\":{\"message\":\"broke\",\"type\":\"server_error\"}}\n\n".into())
            }
            Fate::Stalls => std::future::pending().await,
            Fate::Good | Fate::FailsFirst => {
                asked.whole.store(true, Ordering::SeqCst);
                Ok(event(&json!({}), &"stop".into(), Some(&usage(&asked))) + "data: [DONE]\n\n")
            }
        }
    });
    content.chain(end)
}

fn event(delta: &Value, finish: &Value, usage: Option<&Value>) -> String {
    let chunk = json!({
        "id": "same-for-all", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": usage,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    });
    format!("data: {chunk}\n\n")
}
