//! How soon a provider is let go of when its client has left: both are sockets of the benchmark, and the whole `serve` is
//! between them.

use crate::{
    Failure,
    figures::{Figures, percentile},
    process::{self, Home},
};
use serde_json::json;
use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{self, UnboundedSender},
    task::JoinSet,
    time::{interval, timeout},
};

/// Calls, one after the other, so that a connection that is closed is that of the call before.
const CALLS: usize = 200;
/// Between two pieces of the answer, in milliseconds.
const PACE_MS: u64 = 20;
/// What p99 is meant to stay below, in milliseconds. For up to 50 of them the gateway reads what was sent already, on purpose.
const LIMIT_MS: u64 = 100;
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What every piece says.
const WORD: &str = "going on";

/// From dropping the client's connection of a streamed call until the provider's is closed.
pub(crate) async fn upstream_closed(binary: &Path, dir: &Path, figures: &mut Figures) -> Result<(), Failure> {
    process::open_to_others(dir)?;
    let provider = TcpListener::bind("127.0.0.1:0").await?;
    let models = process::lead_groups(dir, &provider.local_addr()?.to_string())?;
    let (closed, mut closings) = mpsc::unbounded_channel();
    let mut providing = JoinSet::new();
    providing.spawn(provide(provider, closed));
    let server = process::start(binary, Home { models: Some(&models), ..Home::of(dir) }).await?;
    let user = process::register(&server.address).await?;
    let key = user.send(&user.path("/gateway-keys"), Some(json!({ "name": "bench" }))).await?;
    let address = server.address.strip_prefix("http://").ok_or("no address")?;
    let request = request(address, key["secret"].as_str().ok_or("no key")?);
    let mut samples = Vec::new();
    for _ in 0..CALLS {
        let left = begin_and_leave(address, &request).await?;
        let closed = timeout(PATIENCE, closings.recv()).await?.ok_or("the provider has ended")?;
        samples.push(closed.saturating_duration_since(left));
    }
    process::stop(server)?;
    samples.sort_unstable();
    let settings = json!({ "calls": samples.len(), "pace_ms": PACE_MS, "limit_ms": LIMIT_MS });
    for (name, share) in [("median", 0.5), ("p99", 0.99)] {
        let name = format!("client leaves, upstream closed, {name}");
        figures.add(&name, (percentile(&samples, share), "ms"), None, &settings)?;
    }
    Ok(())
}

fn request(address: &str, key: &str) -> String {
    let messages = json!([{ "role": "user", "content": "go" }]);
    let body =
        json!({ "model": "code", "stream": true, "max_tokens": 1_000, "messages": messages }).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Calls, waits for the first piece, and hangs up: then.
async fn begin_and_leave(address: &str, request: &str) -> Result<Instant, Failure> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(request.as_bytes()).await?;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(WORD) {
        let read = timeout(PATIENCE, client.read_buf(&mut seen)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return Err(format!("no answer: {}", String::from_utf8_lossy(&seen)).into());
        }
    }
    let left = Instant::now();
    drop(client);
    Ok(left)
}

/// Answers without end, and says of every connection when it was closed.
async fn provide(listener: TcpListener, closed: UnboundedSender<Instant>) {
    let mut answering = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let closed = closed.clone();
        answering.spawn(async move {
            let _heard = closed.send(until_closed(socket).await);
        });
    }
}

async fn until_closed(socket: TcpStream) -> Instant {
    let (mut read, mut write) = socket.into_split();
    // Whatever is asked, the answer is the same: what begins to come is a request.
    let _begun = read.read(&mut [0; 1 << 10]).await;
    tokio::select! {
        _ = heard(&mut read) => {}
        _ = talk(&mut write) => {}
    }
    Instant::now()
}

/// Until the other end has hung up.
async fn heard(socket: &mut OwnedReadHalf) -> io::Result<()> {
    let mut buffer = [0; 1 << 10];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Until nothing can be written any more.
async fn talk(socket: &mut OwnedWriteHalf) -> io::Result<()> {
    let choice = json!({ "index": 0, "delta": { "content": WORD } });
    let event = format!("data: {}\n\n", json!({ "model": "scripted-code", "choices": [choice] }));
    let piece = format!("{:x}\r\n{event}\r\n", event.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let mut pace = interval(Duration::from_millis(PACE_MS));
    loop {
        pace.tick().await;
        socket.write_all(piece.as_bytes()).await?;
    }
}
