//! Answers connections, so many at a time. A client that sends its request so slowly that it only holds the connection is let go.

use super::socket::{Peer, Sockets};
use axum::{Router, body::Body, extract::ConnectInfo, http::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1::Builder};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// The most connections, where the system would open any number of files: each may hold a request of some size.
const MOST: u64 = 16_384;
/// Fields that the head of a request may have, and its bytes, the request line included: browsers and SDKs send some twenty, in
/// a few KiB. Whoever sends more gets a 431.
const HEAD_FIELDS: usize = 100;
const HEAD_BYTES: usize = 64 << 10;
/// Connections that are told that there are too many, at the same time. Further ones are closed without a word.
const TOLD: usize = 64;
/// What they are told, and how long that may take.
const TOO_MANY: &str = "{\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"too_many_connections\",\
                        \"detail\":\"too many connections are open: try again in a moment\"}";
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the head of a request may take, and how long a connection may rest between two requests.
    pub head_within: Duration,
    /// How many there may be at the same time.
    pub connections: usize,
}

impl Limits {
    /// As the system allows. Of the files that the process may open, a third is for clients: each may need another one to a
    /// provider, and the rest has to go on whatever clients do.
    pub fn of_process() -> Self {
        let files = most_files();
        let connections = usize::try_from((files / 3).min(MOST)).unwrap_or(usize::MAX);
        tracing::debug!(files, connections, "connections at the same time");
        Self { head_within: Duration::from_secs(75), connections }
    }
}

/// How many files the process may open, once it has asked for as many as it can use: usual shells give a thousand.
fn most_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (now, wanted) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX).min(3 * MOST));
    if now >= wanted {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays what it was");
            now
        }
    }
}

/// Answers until it is told to end, and then until the last request is answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, ending: CancellationToken) {
    let (mut sockets, connections, graceful) =
        (Sockets(listener), TaskTracker::new(), GracefulShutdown::new());
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
    builder.max_headers(HEAD_FIELDS).max_header_size(HEAD_BYTES);
    let (room, told) = (Arc::new(Semaphore::new(limits.connections)), Arc::new(Semaphore::new(TOLD)));
    loop {
        let (socket, address) = tokio::select! {
            accepted = Listener::accept(&mut sockets) => accepted,
            () = ending.cancelled() => break,
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if let Ok(turn) = Arc::clone(&told).try_acquire_owned() {
                connections.spawn(async move {
                    let _told = timeout(TOLD_WITHIN, refuse(socket)).await;
                    drop(turn);
                });
            }
            continue;
        };
        let with_peer = move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(Peer(address)));
            request.map(Body::new)
        };
        let service = ServiceExt::<Request<Body>>::map_request(router.clone(), with_peer);
        let service = TowerToHyperService::new(service);
        let watched = graceful.watch(builder.serve_connection(TokioIo::new(socket), service));
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    graceful.shutdown().await;
    connections.close();
    connections.wait().await;
}

/// Says that there are too many. What the client has sent is read, since closing over it would take the answer with it.
async fn refuse(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let length = TOO_MANY.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{TOO_MANY}"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    let mut unread = [0; 4 << 10];
    while socket.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_let_go_and_others_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ending) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "here" }));
        let limits = Limits { head_within: Duration::from_millis(100), connections: 10 };
        let served = serve(listener, router, limits, ending.clone());
        let clients = async {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
            let mut quick = TcpStream::connect(address).await.unwrap();
            quick.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let (mut told, mut answer) = (Vec::new(), String::new());
            quick.read_to_string(&mut answer).await.unwrap();
            slow.read_to_end(&mut told).await.unwrap();
            ending.cancel();
            (answer, told)
        };
        let ((), (answer, told)) = tokio::join!(served, clients);
        assert!(answer.ends_with("here"), "{answer}");
        assert!(!String::from_utf8_lossy(&told).contains("here"), "its request never came");
    }

    #[tokio::test]
    async fn a_request_of_too_many_or_too_long_fields_is_refused_and_a_smaller_one_is_answered() {
        const BEGIN: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ending) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "here" }));
        let limits = Limits { head_within: Duration::from_secs(75), connections: 10 };
        let served = serve(listener, router, limits, ending.clone());
        let answer_to = async |head: String| {
            let (mut client, mut answer) = (TcpStream::connect(address).await.unwrap(), String::new());
            client.write_all(head.as_bytes()).await.unwrap();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        // Two fields are there already.
        let of_fields = |count: usize| format!("{BEGIN}{}\r\n", "x-field: y\r\n".repeat(count - 2));
        // Without its end: what is read is refused before more of it comes.
        let of_bytes = |count: usize| {
            let begin = format!("{BEGIN}x-long: ");
            format!("{begin}{}", "y".repeat(count - begin.len()))
        };
        let clients = async {
            for head in [of_fields(HEAD_FIELDS), of_bytes(HEAD_BYTES - 4) + "\r\n\r\n"] {
                let answer = answer_to(head).await;
                assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
            }
            for head in [of_fields(HEAD_FIELDS + 1), of_bytes(HEAD_BYTES)] {
                let answer = answer_to(head).await;
                assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
            }
            ending.cancel();
        };
        tokio::join!(served, clients);
    }

    #[tokio::test]
    async fn whoever_comes_when_there_are_too_many_is_told_so_and_answered_when_another_has_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ending) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "here" }));
        let limits = Limits { head_within: Duration::from_secs(75), connections: 1 };
        let served = serve(listener, router, limits, ending.clone());
        let asked = async || {
            let (mut client, mut answer) = (TcpStream::connect(address).await.unwrap(), String::new());
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let clients = async {
            let mut first = TcpStream::connect(address).await.unwrap();
            first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let _begun = first.read(&mut [0; 16]).await.unwrap();
            let refused = asked().await;
            assert!(
                refused.starts_with("HTTP/1.1 503") && refused.contains("too_many_connections"),
                "{refused}"
            );
            drop(first);
            while !asked().await.ends_with("here") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ending.cancel();
        };
        tokio::join!(served, clients);
    }
}
