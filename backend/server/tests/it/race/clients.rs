//! The clients of a race: each asks once, and says what came of it.

use super::plan::Call;
use reqwest::Client;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a client looks for a process that was killed and is being started again.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Where the two processes are at the moment.
#[derive(Clone)]
pub(crate) struct Addresses(Arc<Mutex<[SocketAddr; 2]>>);

impl Addresses {
    pub(crate) fn new(both: [SocketAddr; 2]) -> Self {
        Self(Arc::new(Mutex::new(both)))
    }

    pub(crate) fn of(&self, process: usize) -> SocketAddr {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[process]
    }

    pub(crate) fn set(&self, process: usize, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[process] = address;
    }

    /// Waits until the process is not there any more but elsewhere, for as long as clients look for it.
    async fn moved(&self, process: usize, from: SocketAddr) {
        let moved = async {
            while self.of(process) == from {
                tokio::time::sleep(POLL).await;
            }
        };
        // Whoever asks finds out.
        let _moved = tokio::time::timeout(PATIENCE, moved).await;
    }
}

/// What a client has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The whole answer.
    Whole,
    /// A refusal or a failure, with its status; 0: after the first piece.
    Failed(u16),
    /// It went away.
    Left,
    /// The line was cut: its process was killed.
    Cut,
    /// It had no reason to ask.
    Unasked,
}

/// Asks, and once more where the line was cut, as SDKs do: what was seen of either call. For a client that has no second
/// call in the plan, of the one.
pub(crate) async fn ask_until_answered(
    http: Client,
    addresses: Addresses,
    secret: String,
    call: Call,
) -> Vec<(usize, Seen)> {
    let (n, at, again) = (call.n, addresses.of(call.process), call.again());
    let seen = ask(http.clone(), addresses.clone(), secret.clone(), call).await;
    let Some(again) = again else { return vec![(n, seen)] };
    let number = again.n;
    if seen != Seen::Cut {
        return vec![(n, seen), (number, Seen::Unasked)];
    }
    addresses.moved(again.process, at).await;
    vec![(n, seen), (number, ask(http, addresses, secret, again).await)]
}

/// Asks.
pub(crate) async fn ask(http: Client, addresses: Addresses, secret: String, call: Call) -> Seen {
    tokio::time::sleep(Duration::from_millis(call.comes)).await;
    let asked = once(&http, &addresses, &secret, &call);
    match call.leaves {
        Some(after) => tokio::time::timeout(Duration::from_millis(after), asked).await.unwrap_or(Seen::Left),
        None => asked.await,
    }
}

/// Every call has a connection of its own: one that cannot be made has sent nothing.
pub(crate) fn http() -> reqwest::Result<Client> {
    Client::builder().no_proxy().pool_max_idle_per_host(0).build()
}

async fn once(http: &Client, addresses: &Addresses, secret: &str, call: &Call) -> Seen {
    let begun = tokio::time::Instant::now();
    let answer = loop {
        let url = format!("http://{}/v1/chat/completions", addresses.of(call.process));
        let request = http.post(url).bearer_auth(secret).header("content-type", "application/json");
        match request.body(call.body()).send().await {
            Err(error) if error.is_connect() && begun.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
            other => break other,
        }
    };
    let Ok(answer) = answer else { return Seen::Cut };
    let status = answer.status();
    match answer.text().await {
        Err(_) => Seen::Cut,
        Ok(_) if !status.is_success() => Seen::Failed(status.as_u16()),
        Ok(text) if !call.streamed || text.ends_with("data: [DONE]\n\n") => Seen::Whole,
        Ok(_) => Seen::Failed(0),
    }
}
