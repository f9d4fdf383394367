//! The upstream. The path says how it answers: `/plain/...` with one body, `/slow/...` with the same after 50 ms,
//! `/stream/...` with 22 events, each in a write of its own.

use crate::{
    Failure, say,
    wire::{Head, Reader},
};
use serde_json::{Value, json};
use std::{io, rc::Rc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    task::LocalSet,
};

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_millis(50);
/// Chunks of a stream with a choice; the usage and the end follow.
const CHUNKS: usize = 20;
/// Stands where an answer's own id goes, and is as long.
const ID: &str = "0123456789abcdef";
const WORDS: &str = "It comes from the other side of the hill, where the wind is never still. ";

/// Bytes, with a place for an id where they have one.
struct Template(Vec<u8>, Option<Vec<u8>>);

impl Template {
    fn of(text: &str) -> Self {
        match text.split_once(ID) {
            Some((before, after)) => Self(before.into(), Some(after.into())),
            None => Self(text.into(), None),
        }
    }

    fn write(&self, id: &str, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.0);
        if let Some(after) = &self.1 {
            into.extend_from_slice(id.as_bytes());
            into.extend_from_slice(after);
        }
    }
}

struct Answers {
    plain: Template,
    stream: Vec<Template>,
}

/// Serves on a free port until the process is killed.
pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    say(&json!({ "port": listener.local_addr()?.port() }))?;
    let answers = Rc::new(Answers { plain: plain(), stream: stream() });
    let connections = LocalSet::new();
    connections
        .run_until(async {
            for number in 0_u64.. {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let answers = Rc::clone(&answers);
                // A gateway that hangs up is no fault of this end; the load tool sees what its caller got.
                connections.spawn_local(async move { drop(connection(socket, number, &answers).await) });
            }
            Ok(())
        })
        .await
}

async fn connection(socket: TcpStream, number: u64, answers: &Answers) -> io::Result<()> {
    let (read, mut write) = socket.into_split();
    let (mut reader, mut buffer) = (Reader::new(read), Vec::new());
    let mut asked = 0_u64;
    while let Some(head) = reader.head().await? {
        reader.body(head.length, |_| {}).await?;
        asked += 1;
        answer(&head, &format!("{number:06x}{asked:010x}"), answers, &mut write, &mut buffer).await?;
    }
    Ok(())
}

async fn answer(
    head: &Head,
    id: &str,
    answers: &Answers,
    write: &mut OwnedWriteHalf,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let path = head.first.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/stream/") {
        for piece in &answers.stream {
            piece.write(id, buffer);
            write.write_all(buffer).await?;
        }
        return Ok(());
    }
    if path.starts_with("/slow/") {
        tokio::time::sleep(SLOW).await;
    } else if !path.starts_with("/plain/") {
        return write.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    }
    answers.plain.write(id, buffer);
    write.write_all(buffer).await
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 40, "completion_tokens": 76, "total_tokens": 116,
        "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 },
    })
}

fn plain() -> Template {
    let message = json!({ "role": "assistant", "content": WORDS.repeat(4).trim(), "refusal": null });
    let body = json!({
        "id": format!("chatcmpl-{ID}"), "object": "chat.completion", "created": 1_700_000_000, "model": "mock",
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }],
        "usage": usage(), "system_fingerprint": "fp_0",
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    Template::of(&format!("{head}: {}\r\n\r\n{body}", body.len()))
}

/// The head, each event as a chunk of HTTP, the end of the body: one write each.
fn stream() -> Vec<Template> {
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": format!("chatcmpl-{ID}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "mock", "system_fingerprint": "fp_0", "choices": choices, "usage": usage,
        })
        .to_string()
    };
    let mut events: Vec<String> = (0..CHUNKS)
        .map(|n| {
            let (delta, finish) = match n {
                0 => (json!({ "role": "assistant", "content": "" }), Value::Null),
                n if n + 1 == CHUNKS => (json!({}), json!("stop")),
                _ => (json!({ "content": "four or five words more " }), Value::Null),
            };
            chunk(json!([{ "index": 0, "delta": delta, "finish_reason": finish }]), Value::Null)
        })
        .collect();
    events.push(chunk(json!([]), usage()));
    events.push("[DONE]".into());
    let mut writes = vec![
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".into(),
    ];
    writes.extend(events.iter().map(|event| format!("{:x}\r\ndata: {event}\n\n\r\n", event.len() + 8)));
    writes.push("0\r\n\r\n".into());
    writes.iter().map(|text: &String| Template::of(text)).collect()
}
