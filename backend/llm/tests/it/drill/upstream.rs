//! A first deployment that fails, in either format.

use std::time::Duration;

use syndarix_llm::{Deployment, Endpoint, Limits, ProviderKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{deployment, nowhere};

/// How long the first is waited for.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What client and deployments write, and what of it comes before a fault.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) endpoint: Endpoint,
    pub(super) kind: ProviderKind,
    opening: &'static str,
    token: &'static str,
    half_a_body: &'static str,
    error_event: &'static str,
    error_body: &'static str,
}

pub(super) static CHAT: Format = Format {
    endpoint: Endpoint::ChatCompletions,
    kind: ProviderKind::OpenAi,
    opening: "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
    token: "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"from the first\"}}]}\n\n",
    half_a_body: "{\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"from the first",
    error_event: "data: {\"error\":{\"message\":\"upstream is gone\",\"code\":503}}\n\n",
    error_body: "{\"error\":{\"message\":\"upstream is gone\",\"code\":503}}",
};

pub(super) static MESSAGES: Format = Format {
    endpoint: Endpoint::Messages,
    kind: ProviderKind::Anthropic,
    opening: concat!(
        "event: message_start\n",
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",",
        "\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    ),
    token: concat!(
        "event: content_block_delta\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,",
        "\"delta\":{\"type\":\"text_delta\",\"text\":\"from the first\"}}\n\n",
    ),
    half_a_body: concat!(
        "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",",
        "\"content\":[{\"type\":\"text\",\"text\":\"from the first",
    ),
    error_event: concat!(
        "event: error\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
    ),
    error_body: "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
};

/// What the first deployment does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bad {
    Status(u16, &'static str, &'static str),
    SilentBeforeHeaders,
    SilentAfterHeaders,
    SilentAfterFirstToken,
    CutBeforeFirstToken,
    CutAfterFirstToken,
    GarbageBody,
    GarbageBeforeFirstToken,
    GarbageAfterFirstToken,
    ErrorBeforeFirstToken,
    ErrorAfterFirstToken,
    Refused,
}

impl Bad {
    /// The head's type and the body, and whether the connection stays open in silence then.
    fn answer(self, format: &Format, streamed: bool) -> (&'static str, String, bool) {
        let kind = if streamed { "text/event-stream" } else { "application/json" };
        let opening = if streamed { format.opening } else { "" };
        let token = if streamed { [opening, format.token].concat() } else { format.half_a_body.to_owned() };
        let garbage = if streamed { "data: {not json\n\n" } else { "{not json}" };
        match self {
            Self::SilentAfterHeaders => (kind, String::new(), true),
            Self::SilentAfterFirstToken => (kind, token, true),
            Self::CutBeforeFirstToken => (kind, opening.to_owned(), false),
            Self::CutAfterFirstToken => (kind, token, false),
            Self::GarbageBody => ("text/html", "<html>it works</html>".into(), false),
            Self::GarbageBeforeFirstToken => (kind, format!("{opening}{garbage}"), false),
            Self::GarbageAfterFirstToken => (kind, format!("{token}{garbage}"), false),
            Self::ErrorBeforeFirstToken if streamed => {
                (kind, format!("{opening}{}", format.error_event), false)
            }
            Self::ErrorAfterFirstToken if streamed => (kind, format!("{token}{}", format.error_event), false),
            // An answer that is not streamed is an error or none.
            Self::ErrorBeforeFirstToken | Self::ErrorAfterFirstToken => {
                (kind, format.error_body.to_owned(), false)
            }
            Self::SilentBeforeHeaders | Self::Status(..) | Self::Refused => {
                unreachable!("{self:?} has no body")
            }
        }
    }

    async fn serve(self, format: &Format, mut stream: TcpStream) -> std::io::Result<()> {
        let streamed = request_of(&mut stream).await?.contains("\"stream\":true");
        if let Self::Status(status, headers, body) = self {
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            return stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await;
        }
        if self == Self::SilentBeforeHeaders {
            return silent().await;
        }
        let (kind, body, stays) = self.answer(format, streamed);
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

pub(super) async fn first(bad: Bad, format: &'static Format, tasks: &mut JoinSet<()>) -> Deployment {
    let url = if bad == Bad::Refused {
        nowhere().await
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(bad.serve(format, stream));
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
    Deployment { limits, ..deployment("first", format.kind, &url) }
}
