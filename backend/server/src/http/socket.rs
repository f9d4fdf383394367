//! The sockets that the API is served on: a peer that stops reading is let go.

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{io, net::SocketAddr};
use syndarix_bus::{STALL, Unstalled};
use tokio::net::{TcpListener, TcpStream};

/// Accepts connections whose writes fail when the peer takes no byte for [`STALL`]. Without it a client that has
/// gone to sleep would hold its stream's task and buffers until TCP gives up, a quarter of an hour later.
#[derive(Debug)]
pub struct Sockets(pub TcpListener);

impl Listener for Sockets {
    type Io = Unstalled<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (socket, address) = Listener::accept(&mut self.0).await;
        // Nagle's delay would cost 40 ms on every event of a stream.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        (Unstalled::new(socket, STALL), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The address at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Sockets>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Sockets>) -> Self {
        Self(*stream.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_to_a_client_does_not_wait_to_fill_packets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = Sockets(listener);
        let (client, (accepted, _)) =
            tokio::join!(TcpStream::connect(address), Listener::accept(&mut sockets));
        assert!(client.is_ok() && accepted.get_ref().nodelay().unwrap());
    }
}
