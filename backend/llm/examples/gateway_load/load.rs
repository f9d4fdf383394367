//! The load: so many connections, each of which asks, reads the answer to its end, and asks again.

use crate::{Failure, say, wire::Reader};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{rc::Rc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout},
};

/// An answer that takes longer counts as failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A connection that fails this often gives up: what is behind it does not work.
const MAX_FAILURES: usize = 5;

/// What is asked, how, and for how long.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// `127.0.0.1:8080`.
    address: String,
    path: String,
    /// What goes into `authorization: Bearer`.
    key: String,
    body: Value,
    connections: usize,
    warm_up: f64,
    seconds: f64,
    /// At least so many events, of which the last is `[DONE]`; 0 for an answer in one piece.
    events: usize,
}

/// One answer.
struct Sample {
    first: Duration,
    whole: Duration,
}

#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    failures: Vec<String>,
}

/// Until when answers do not count yet, and until when they do.
#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    until: Instant,
}

/// Says `begun` and `ended` around the measured span, so that whoever started this can read what the others used in
/// it; then waits for the answers that are still under way, and says what was seen.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let from = Instant::now() + Duration::from_secs_f64(settings.warm_up);
    let span = Span { from, until: from + Duration::from_secs_f64(settings.seconds) };
    let request = Rc::new(request(&settings));
    let settings = Rc::new(settings);
    let seen = LocalSet::new()
        .run_until(async {
            let mut clients = JoinSet::new();
            for _ in 0..settings.connections {
                clients.spawn_local(client(Rc::clone(&settings), Rc::clone(&request), span));
            }
            sleep_until(span.from).await;
            say(&json!({ "begun": true }))?;
            sleep_until(span.until).await;
            say(&json!({ "ended": true }))?;
            Ok::<_, Failure>(clients.join_all().await)
        })
        .await?;
    say(&result(seen, settings.seconds))
}

fn request(settings: &Settings) -> Vec<u8> {
    let body = settings.body.to_string();
    let Settings { address, path, key, .. } = settings;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

async fn client(settings: Rc<Settings>, request: Rc<Vec<u8>>, span: Span) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < span.until && seen.failures.len() < MAX_FAILURES {
        if let Err(failure) = connection(&settings, &request, span, &mut seen.samples).await {
            seen.failures.push(failure.to_string());
        }
    }
    seen
}

/// Asks until the span is over, or the other end hangs up.
async fn connection(
    settings: &Settings,
    request: &[u8],
    span: Span,
    samples: &mut Vec<Sample>,
) -> Result<(), Failure> {
    let socket = TcpStream::connect(&settings.address).await?;
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    let mut reader = Reader::new(read);
    while Instant::now() < span.until {
        let asked = ask(&mut write, &mut reader, request, settings.events);
        let (sample, last) = timeout(ANSWER_LIMIT, asked).await.map_err(|_| "no answer in 30 s")??;
        if (span.from..span.until).contains(&Instant::now()) {
            samples.push(sample);
        }
        if last {
            break;
        }
    }
    Ok(())
}

async fn ask(
    write: &mut OwnedWriteHalf,
    reader: &mut Reader,
    request: &[u8],
    events: usize,
) -> Result<(Sample, bool), Failure> {
    let begun = Instant::now();
    write.write_all(request).await?;
    let head = reader.head().await?.ok_or("it hung up without an answer")?;
    let (mut first, mut body) = (None, Vec::new());
    let see = |piece: &[u8]| {
        first.get_or_insert_with(|| begun.elapsed());
        body.extend_from_slice(piece);
    };
    reader.body(head.length, see).await?;
    let whole = begun.elapsed();
    check(&head.first, &body, events)?;
    Ok((Sample { first: first.unwrap_or(whole), whole }, head.last))
}

/// A fast wrong answer must not look like a good gateway.
fn check(status: &str, body: &[u8], events: usize) -> Result<(), Failure> {
    let complete = if events == 0 {
        body.ends_with(b"}")
    } else {
        let ends = body.windows(2).filter(|two| two == b"\n\n").count();
        ends >= events && body.trim_ascii_end().ends_with(b"[DONE]")
    };
    if status.split(' ').nth(1) == Some("200") && complete {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&body[..body.len().min(300)]);
    Err(format!("{status}, {} bytes: {said}", body.len()).into())
}

fn result(seen: Vec<Seen>, seconds: f64) -> Value {
    let (mut firsts, mut wholes, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for each in seen {
        firsts.extend(each.samples.iter().map(|sample| sample.first));
        wholes.extend(each.samples.iter().map(|sample| sample.whole));
        failures.extend(each.failures);
    }
    firsts.sort_unstable();
    wholes.sort_unstable();
    json!({
        "count": wholes.len(), "seconds": seconds, "failed": failures.len(), "failure": failures.first(),
        "p50_ms": percentile(&wholes, 50), "p99_ms": percentile(&wholes, 99),
        "first_p50_ms": percentile(&firsts, 50), "first_p99_ms": percentile(&firsts, 99),
    })
}

/// The value below which so many of a hundred sorted samples lie, in milliseconds; none when there are no samples.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let index = sorted.len().checked_sub(1)? * percent / 100;
    Some(sorted[index].as_secs_f64() * 1000.0)
}
