//! Reading HTTP/1.1 messages, whichever end they come from.

use bytes::{Buf, BytesMut};
use std::io;
use tokio::{io::AsyncReadExt, net::tcp::OwnedReadHalf};

/// A head is a few hundred bytes; who sends this much without its end does not speak HTTP.
const MAX_HEAD: usize = 64 * 1024;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Fixed(usize),
    Chunked,
}

/// What stands before a body.
#[derive(Debug)]
pub(crate) struct Head {
    /// `POST /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(crate) first: String,
    pub(crate) length: Length,
    /// The other end hangs up after this message.
    pub(crate) last: bool,
}

/// The reading half of a connection, with what came too early.
pub(crate) struct Reader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, buffer: BytesMut::with_capacity(MAX_HEAD) }
    }

    /// The next head; none when the other end has hung up between two messages.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = self.buffer.split_to(end + 4);
                return parse(&text).map(Some);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(invalid("a head without an end"));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads a body to its end and shows each piece of it as it comes.
    pub(crate) async fn body(&mut self, length: Length, mut see: impl FnMut(&[u8])) -> io::Result<()> {
        match length {
            Length::Fixed(bytes) => self.take(bytes, &mut see).await,
            Length::Chunked => loop {
                let line = self.line().await?;
                let size = line.split(';').next().map(str::trim).unwrap_or_default();
                let size = usize::from_str_radix(size, 16).map_err(|_| invalid("the size of a chunk"))?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.take(size, &mut see).await?;
                self.line().await?;
            },
        }
    }

    async fn take(&mut self, mut left: usize, see: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            let piece = left.min(self.buffer.len());
            if piece == 0 {
                self.more().await?;
                continue;
            }
            see(&self.buffer[..piece]);
            self.buffer.advance(piece);
            left -= piece;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse(text: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(text).map_err(|_| invalid("a head that is not text"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut head = Head { first, length: Length::Fixed(0), last: false };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Length::Fixed(value.parse().map_err(|_| invalid("content-length"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            head.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            head.last = true;
        }
    }
    Ok(head)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
