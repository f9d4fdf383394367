//! Every way in which a first deployment fails, plain and streamed, with a sound second one behind it: who answers, what
//! the client sees, how often somebody was asked, when the first is left alone, and whether its time was waited for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use syndarix_llm::inbound::{Fault, Relay};
use syndarix_llm::{
    BreakerPolicy, Deployment, Endpoint, ErrorKind, Event, Gateway, GatewayPolicy, Limits, Native,
    ProviderKind, Raw,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::harness::{Hooks, Server, Settled, client, deployment, gateway_over, group, nowhere, policy};

/// How long the first is waited for.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Calls after which a breaker that did not open never will.
const CALLS: usize = 3;

/// What the first deployment does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bad {
    Status(u16, &'static str, &'static str),
    SilentBeforeHeaders,
    SilentAfterHeaders,
    SilentAfterFirstToken,
    CutBeforeFirstToken,
    CutAfterFirstToken,
    GarbageBody,
    GarbageBeforeFirstToken,
    GarbageAfterFirstToken,
    ErrorAfterFirstToken,
    Refused,
}

const OPENING: &str =
    "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
const TOKEN: &str =
    "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"from the first\"}}]}\n\n";
const HALF_A_BODY: &str =
    "{\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"from the first";

impl Bad {
    /// The head's type and the body, and whether the connection stays open in silence then.
    fn answer(self, streamed: bool) -> (&'static str, String, bool) {
        let kind = if streamed { "text/event-stream" } else { "application/json" };
        let token = if streamed { [OPENING, TOKEN].concat() } else { HALF_A_BODY.to_owned() };
        let garbage = if streamed { "data: {not json\n\n" } else { "{not json}" };
        let opening = if streamed { OPENING } else { "" };
        match self {
            Self::SilentAfterHeaders => (kind, String::new(), true),
            Self::SilentAfterFirstToken => (kind, token, true),
            Self::CutBeforeFirstToken => (kind, opening.to_owned(), false),
            Self::CutAfterFirstToken => (kind, token, false),
            Self::GarbageBody => ("text/html", "<html>it works</html>".into(), false),
            Self::GarbageBeforeFirstToken => (kind, format!("{opening}{garbage}"), false),
            Self::GarbageAfterFirstToken => (kind, format!("{token}{garbage}"), false),
            Self::ErrorAfterFirstToken => {
                let error = "data: {\"error\":{\"message\":\"upstream is gone\",\"code\":503}}\n\n";
                let error = if streamed {
                    error
                } else {
                    "{\"error\":{\"message\":\"upstream is gone\",\"code\":503}}"
                };
                (kind, if streamed { token + error } else { error.to_owned() }, false)
            }
            Self::SilentBeforeHeaders | Self::Status(..) | Self::Refused => {
                unreachable!("{self:?} has no body")
            }
        }
    }

    async fn serve(self, mut stream: TcpStream) -> std::io::Result<()> {
        let streamed = request_of(&mut stream).await?.contains("\"stream\":true");
        if let Self::Status(status, headers, body) = self {
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            return stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await;
        }
        if self == Self::SilentBeforeHeaders {
            return silent().await;
        }
        let (kind, body, stays) = self.answer(streamed);
        // Chunked, so that a connection which ends without the last chunk was cut.
        stream
            .write_all(
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        if !body.is_empty() {
            stream.write_all(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes()).await?;
        }
        stream.flush().await?;
        if stays {
            return silent().await;
        }
        let is_cut = matches!(self, Self::CutBeforeFirstToken | Self::CutAfterFirstToken);
        if is_cut { Ok(()) } else { stream.write_all(b"0\r\n\r\n").await }
    }
}

async fn silent() -> std::io::Result<()> {
    std::future::pending().await
}

/// The whole request: nothing may be left unread when the connection is closed.
async fn request_of(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk).await?;
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        if whole || read == 0 {
            return Ok(text);
        }
    }
}

async fn first(bad: Bad, tasks: &mut JoinSet<()>) -> Deployment {
    let url = if bad == Bad::Refused {
        nowhere().await
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(bad.serve(stream));
            }
        });
        url
    };
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
    // The whole may take far longer: an answer that is not streamed is given up on before, too.
    let limits = Limits {
        first_byte_ms: patience,
        first_token_ms: patience,
        tokens_per_second: 1_000_000,
        idle_ms: patience,
        ..Limits::default()
    };
    Deployment { limits, ..deployment("first", ProviderKind::OpenAi, &url) }
}

/// What a row of the table says.
#[derive(Debug, PartialEq)]
struct Row {
    answered: String,
    seen: String,
    attempts: usize,
    left_alone: String,
    time: &'static str,
}

async fn drill(bad: Bad, streamed: bool, http: syndarix_llm::Http) -> Row {
    let mut tasks = JoinSet::new();
    let script = "[[rule]]\nname = 'r'\nanswer.text = 'from the second'\n";
    let sound = Server::scripted(script).await;
    let mut chain = vec![first(bad, &mut tasks).await, sound.deployment("second", ProviderKind::OpenAi)];
    chain[1].context_window *= 2;
    let breaker = BreakerPolicy { failures: 2, cool_down: Duration::from_secs(600) };
    let gateway = Arc::new(gateway_over(http, GatewayPolicy { breaker, ..policy(1) }));
    let Called { seen, attempts, answered, time } = call(&gateway, &chain, streamed).await;
    let mut left_alone = "never".to_owned();
    for n in 1..=CALLS {
        let later = call(&gateway, &chain, streamed).await;
        if later.attempts.first().is_some_and(|name| name == "second") {
            left_alone = format!("after {n}");
            break;
        }
    }
    Row { answered, seen, attempts: attempts.len(), left_alone, time }
}

/// What became of one call.
struct Called {
    /// By the client.
    seen: String,
    /// Who was asked, in order.
    attempts: Vec<String>,
    /// Whose words were passed on.
    answered: String,
    /// Whether an attempt ended because its time was over.
    time: &'static str,
}

async fn call(gateway: &Arc<Gateway>, chain: &[Deployment], streamed: bool) -> Called {
    let body = json!({"model": "test", "stream": streamed, "messages": [{"role": "user", "content": "go"}]});
    let native = Arc::new(Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap());
    let mut relay = Relay::new(&native, "1".into(), 0);
    let (out, mut events) = mpsc::channel(8);
    let hooks = Arc::new(Hooks::default());
    let mut task = JoinSet::new();
    let (asking, asked, group, noting) =
        (Arc::clone(gateway), Arc::clone(&native), group(chain.to_vec()), Arc::clone(&hooks));
    task.spawn(async move { asking.answer(&group, &asked, &*noting, out).await });
    let (mut bytes, mut head, mut status) = (String::new(), None, 200);
    while let Some(event) = events.recv().await {
        match event {
            Event::Head(known) => {
                bytes += &relay.head(&known);
                head = Some(known);
            }
            Event::Piece(piece) => {
                bytes += &relay.piece(&piece);
                if let Some(Raw::Whole(whole)) = piece.raw {
                    bytes += &String::from_utf8_lossy(&whole);
                }
            }
            Event::End(result) if streamed && head.is_some() => bytes += &relay.end(&result),
            Event::End(result) => {
                if let Err(error) = &*result {
                    status = Fault::from(error).status;
                }
            }
        }
    }
    task.join_next().await.unwrap().unwrap();
    let mut seen = status.to_string();
    if status == 200 && streamed {
        seen += if bytes.contains("\"error\"") { " error event" } else { " whole" };
        seen += if bytes.contains("[DONE]") { " [DONE]" } else { "" };
    }
    let said = text_of(&bytes);
    let words: Vec<&str> = ["first", "second"].into_iter().filter(|who| said.contains(who)).collect();
    let answered = if words.is_empty() { "nobody".to_owned() } else { words.join("+") };
    assert_eq!(hooks.reserved().len(), hooks.settled().len(), "what is set aside is settled");
    let timed_out = |settled: &Settled| {
        settled.error.as_ref().is_some_and(|error| matches!(error.kind, ErrorKind::Timeout { .. }))
    };
    let time = if hooks.settled().iter().any(timed_out) { "time-out" } else { "at once" };
    Called { seen, attempts: hooks.reserved().into_iter().map(|(_, name, _)| name).collect(), answered, time }
}

/// The answer's text, of a stream or of a document.
fn text_of(bytes: &str) -> String {
    let documents = bytes.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let documents = documents.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let paths = ["/choices/0/delta/content", "/choices/0/message/content"];
    documents
        .filter_map(|document| {
            paths.into_iter().find_map(|path| Some(document.pointer(path)?.as_str()?.to_owned()))
        })
        .collect()
}

const LONG: &str = "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}";
const PATIENT: &str = "retry-after: 60\r\n";
const WHOLE: &str = "200 whole [DONE]";
const BROKEN: &str = "200 error event";

/// The first deployment's fault: then, plain and streamed, who answers, what the client sees, how many attempts, after
/// which call the first is left alone (two failures open its breaker, one retry is allowed), and whether it was waited for.
type Expected = (&'static str, &'static str, usize, &'static str, &'static str);
const TABLE: [(&str, Bad, Expected, Expected); 20] = [
    (
        "429",
        Bad::Status(429, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "429, Retry-After 60",
        Bad::Status(429, PATIENT, ""),
        ("second", "200", 2, "after 1", "at once"),
        ("second", WHOLE, 2, "after 1", "at once"),
    ),
    (
        "500",
        Bad::Status(500, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "529",
        Bad::Status(529, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "silent before headers",
        Bad::SilentBeforeHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", WHOLE, 2, "after 2", "time-out"),
    ),
    (
        "silent after headers",
        Bad::SilentAfterHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", WHOLE, 2, "after 2", "time-out"),
    ),
    (
        "silent after first token",
        Bad::SilentAfterFirstToken,
        ("second", "200", 2, "after 2", "time-out"),
        ("first", BROKEN, 1, "after 2", "time-out"),
    ),
    (
        "cut before first token",
        Bad::CutBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "cut after first token",
        Bad::CutAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "garbage body",
        Bad::GarbageBody,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "garbage before first token",
        Bad::GarbageBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "garbage after first token",
        Bad::GarbageAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "error after first token",
        Bad::ErrorAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "connection refused",
        Bad::Refused,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "400",
        Bad::Status(400, "", ""),
        ("nobody", "400", 1, "never", "at once"),
        ("nobody", "400", 1, "never", "at once"),
    ),
    (
        "401",
        Bad::Status(401, "", ""),
        ("second", "200", 2, "after 2", "at once"),
        ("second", WHOLE, 2, "after 2", "at once"),
    ),
    (
        "404",
        Bad::Status(404, "", ""),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
    (
        "413",
        Bad::Status(413, "", ""),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
    (
        "422",
        Bad::Status(422, "", ""),
        ("nobody", "422", 1, "never", "at once"),
        ("nobody", "422", 1, "never", "at once"),
    ),
    (
        "context too long",
        Bad::Status(400, "", LONG),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
];

#[tokio::test]
async fn every_fault_of_the_first_deployment_has_its_outcome() {
    let http = client();
    let mut rows = JoinSet::new();
    for (n, (_, bad, ..)) in TABLE.iter().enumerate() {
        for streamed in [false, true] {
            let (bad, http) = (*bad, http.clone());
            rows.spawn(async move { ((n, streamed), drill(bad, streamed, http).await) });
        }
    }
    let mut outcomes = rows.join_all().await;
    outcomes.sort_by_key(|(at, _)| *at);

    let (mut table, mut wrong) = (String::new(), Vec::new());
    for ((n, streamed), row) in outcomes {
        let (name, _, plain, stream) = &TABLE[n];
        let (answered, seen, attempts, left_alone, time) = *if streamed { stream } else { plain };
        let how = if streamed { "streamed" } else { "plain" };
        writeln!(
            table,
            "{name:26} {how:8}  {:7} {:18} {} attempts  left alone {:8} {}",
            row.answered, row.seen, row.attempts, row.left_alone, row.time
        )
        .unwrap();
        let expected = Row {
            answered: answered.into(),
            seen: seen.into(),
            attempts,
            left_alone: left_alone.into(),
            time,
        };
        if row != expected {
            wrong.push(format!("{name}, {how}: {row:?}, expected {expected:?}"));
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
}
