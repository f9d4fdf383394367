//! Answers connections. A client that sends its request so slowly that it only holds the connection is let go.

use super::socket::{Peer, Sockets};
use axum::{Router, body::Body, extract::ConnectInfo, http::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1::Builder};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// How long the head of a request may take, and how long a connection may rest between two requests.
pub const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// Answers until it is told to end, and then until the last request is answered.
pub async fn serve(listener: TcpListener, router: Router, head_within: Duration, ending: CancellationToken) {
    let (mut sockets, connections, graceful) =
        (Sockets(listener), TaskTracker::new(), GracefulShutdown::new());
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_within);
    loop {
        let (socket, address) = tokio::select! {
            accepted = Listener::accept(&mut sockets) => accepted,
            () = ending.cancelled() => break,
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
        });
    }
    graceful.shutdown().await;
    connections.close();
    connections.wait().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_let_go_and_others_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ending) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "here" }));
        let served = serve(listener, router, Duration::from_millis(100), ending.clone());
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
}
