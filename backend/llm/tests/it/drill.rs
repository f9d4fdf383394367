//! Every way in which a first deployment fails, plain and streamed, with a sound second one behind it: who answers, what
//! the client sees, how often somebody was asked, when the first is left alone, and whether its time was waited for. In both
//! formats.

mod table;
mod upstream;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use syndarix_llm::inbound::{Fault, Relay};
use syndarix_llm::{
    BreakerPolicy, Deployment, Endpoint, ErrorKind, Event, Gateway, GatewayPolicy, Native, Raw,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::harness::{Hooks, Server, Settled, client, gateway_over, group, policy};
use table::Line;
use upstream::{Bad, Format, first};

/// Calls after which a breaker that did not open never will.
const CALLS: usize = 3;

/// What a row of the table says.
#[derive(Debug, PartialEq)]
struct Row {
    answered: String,
    seen: String,
    attempts: usize,
    left_alone: String,
    time: &'static str,
}

async fn drill(bad: Bad, format: &'static Format, streamed: bool, http: syndarix_llm::Http) -> Row {
    let mut tasks = JoinSet::new();
    let script = "[[rule]]\nname = 'r'\nanswer.text = 'from the second'\n";
    let sound = Server::scripted(script).await;
    let mut chain = vec![first(bad, format, &mut tasks).await, sound.deployment("second", format.kind)];
    chain[1].context_window *= 2;
    let breaker = BreakerPolicy { failures: 2, cool_down: Duration::from_secs(600) };
    let gateway = Arc::new(gateway_over(http, GatewayPolicy { breaker, ..policy(1) }));
    let Called { seen, attempts, answered, time } = call(&gateway, &chain, format, streamed).await;
    let mut left_alone = "never".to_owned();
    for n in 1..=CALLS {
        let later = call(&gateway, &chain, format, streamed).await;
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

async fn call(gateway: &Arc<Gateway>, chain: &[Deployment], format: &Format, streamed: bool) -> Called {
    let mut body =
        json!({"model": "test", "stream": streamed, "messages": [{"role": "user", "content": "go"}]});
    if format.endpoint == Endpoint::Messages {
        body["max_tokens"] = json!(90);
    }
    let native = Arc::new(Native::parse(format.endpoint, body.to_string().into()).unwrap());
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
        for end in ["[DONE]", "message_stop"].into_iter().filter(|end| bytes.contains(end)) {
            seen = format!("{seen} {end}");
        }
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
    let paths = ["/choices/0/delta/content", "/choices/0/message/content", "/delta/text", "/content/0/text"];
    documents
        .filter_map(|document| {
            paths.into_iter().find_map(|path| Some(document.pointer(path)?.as_str()?.to_owned()))
        })
        .collect()
}

/// The table of what came of every fault, and what of it is not as it should be.
async fn drilled(format: &'static Format, lines: &'static [Line]) -> (String, Vec<String>) {
    let http = client();
    let mut rows = JoinSet::new();
    for (n, (_, bad, ..)) in lines.iter().enumerate() {
        for streamed in [false, true] {
            let (bad, http) = (*bad, http.clone());
            rows.spawn(async move { ((n, streamed), drill(bad, format, streamed, http).await) });
        }
    }
    let mut outcomes = rows.join_all().await;
    outcomes.sort_by_key(|(at, _)| *at);

    let (mut table, mut wrong) = (String::new(), Vec::new());
    for ((n, streamed), row) in outcomes {
        let (name, _, plain, stream) = &lines[n];
        let (answered, seen, attempts, left_alone, time) = *if streamed { stream } else { plain };
        let how = if streamed { "streamed" } else { "plain" };
        writeln!(
            table,
            "{name:26} {how:8}  {:7} {:22} {} attempts  left alone {:8} {}",
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
    (table, wrong)
}

#[tokio::test]
async fn every_fault_of_the_first_deployment_has_its_outcome() {
    let (table, wrong) = drilled(&upstream::CHAT, &table::CHATS).await;
    println!("{table}");
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
}

#[tokio::test]
async fn every_fault_of_a_first_deployment_of_anthropics_has_its_outcome_for_a_client_of_messages() {
    let (table, wrong) = drilled(&upstream::MESSAGES, &table::MESSAGES).await;
    println!("{table}");
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
}
