//! One server: its shared client, its limits, and one request over it.

use std::{sync::Arc, time::Duration};

use reqwest::redirect::Policy;
use rmcp::{
    ClientServiceExt, RoleClient,
    model::{ClientRequest, GetExtensions, ProtocolVersion, ServerResult},
    service::{ClientLifecycleMode, Peer, PeerRequestOptions, RequestHandle, RunningService, ServiceError},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use tokio::{
    sync::{Mutex, Semaphore, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::{Host, Url};

use crate::{
    error::CallError,
    manager::{Health, Limits, ServerEndpoint},
    transport::{CallToken, TokenClient},
};

/// Longest wait for the notice that stops a request; the request is given up in any case.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

type Client = RunningService<RoleClient, ()>;

/// One server and the client that all calls to it share.
pub(crate) struct Connection {
    pub(crate) endpoint: ServerEndpoint,
    http: reqwest::Client,
    token_client: TokenClient,
    client: Mutex<Option<Arc<Client>>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    closing: CancellationToken,
    limits: Limits,
}

impl Connection {
    pub(crate) fn new(
        endpoint: ServerEndpoint,
        limits: Limits,
        tasks: TaskTracker,
    ) -> Result<Self, reqwest::Error> {
        let http = http_client(&endpoint.url, limits.connect_timeout)?;
        Ok(Self {
            token_client: TokenClient::new(http.clone()),
            http,
            client: Mutex::new(None),
            permits: Arc::new(Semaphore::new(limits.max_concurrent)),
            endpoint,
            tasks,
            closing: CancellationToken::new(),
            limits,
        })
    }

    /// Sends one request with one token and waits for its answer until `deadline` or `cancel`.
    ///
    /// Dropping the future cancels, too: the work goes on in a task of its own until it has told the
    /// server so.
    pub(crate) async fn request(
        self: &Arc<Self>,
        request: ClientRequest,
        token: &str,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<ServerResult, CallError> {
        let stop = cancel.child_token();
        let _stop_on_drop = stop.clone().drop_guard();
        let (answer, answered) = oneshot::channel();
        let (this, token) = (Arc::clone(self), Arc::from(token));
        self.tasks.spawn(async move {
            // The caller may have gone: then nobody misses the answer.
            let _ = answer.send(this.exchange(request, token, limit, stop).await);
        });
        answered.await.unwrap_or(Err(CallError::Cancelled))
    }

    async fn exchange(
        &self,
        mut request: ClientRequest,
        token: Arc<str>,
        limit: Duration,
        stop: CancellationToken,
    ) -> Result<ServerResult, CallError> {
        let deadline = Instant::now() + limit;
        let sending = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.map_err(|_| CallError::Cancelled)?;
            let client = self.connected(&token).await?;
            request.extensions_mut().insert(CallToken(token));
            // Time is kept here and not by rmcp, so that waiting for a turn counts, too.
            match client.send_request_with_option(request, PeerRequestOptions::no_options()).await {
                Ok(handle) => Ok((permit, client, handle)),
                Err(fault) => Err(self.failed(fault).await),
            }
        };
        let (_permit, client, handle) = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(CallError::Cancelled),
            () = self.closing.cancelled() => return Err(CallError::Cancelled),
            sent = timeout_at(deadline, sending) => sent.map_err(|_| CallError::Timeout(limit))??,
        };
        let result = self.answer(client.peer(), handle, deadline, &stop).await;
        match result {
            Some(Ok(result)) => Ok(result),
            Some(Err(fault)) => Err(self.failed(fault).await),
            None if stop.is_cancelled() || self.closing.is_cancelled() => Err(CallError::Cancelled),
            None => Err(CallError::Timeout(limit)),
        }
    }

    /// None when the request was stopped before its answer came.
    async fn answer(
        &self,
        peer: &Peer<RoleClient>,
        mut handle: RequestHandle<RoleClient>,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Option<Result<ServerResult, ServiceError>> {
        tokio::select! {
            answer = &mut handle.rx => return Some(answer.unwrap_or(Err(ServiceError::TransportClosed))),
            () = stop.cancelled() => {}
            () = self.closing.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        // Ends the HTTP exchange, which is what makes the server stop.
        let told = tokio::time::timeout(CANCEL_TIMEOUT, handle.cancel(None)).await;
        if !matches!(told, Ok(Ok(()))) && !peer.is_transport_closed() {
            tracing::debug!(server = %self.endpoint.name, "a cancelled request could not be taken back");
        }
        None
    }

    /// The shared client; connects when there is none that works.
    async fn connected(&self, token: &str) -> Result<Arc<Client>, CallError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref()
            && !client.is_closed()
            && !client.is_transport_closed()
        {
            return Ok(Arc::clone(client));
        }
        *slot = None;
        let config = StreamableHttpClientTransportConfig::with_uri(self.endpoint.url.as_str())
            .max_concurrent_requests(self.limits.max_concurrent);
        let transport = StreamableHttpClientTransport::with_client(self.token_client.clone(), config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: None,
        };
        self.token_client.set_handshake_token(Some(token));
        let connecting = ().serve_with_lifecycle(transport, lifecycle);
        let connected = tokio::time::timeout(self.limits.connect_timeout, connecting).await;
        self.token_client.set_handshake_token(None);
        let client = match connected {
            Ok(Ok(client)) => Arc::new(client),
            Ok(Err(fault)) => return Err(CallError::from_handshake(fault)),
            Err(_) => {
                return Err(CallError::Unreachable {
                    reason: "no handshake in time".to_owned(),
                    sent: false,
                });
            }
        };
        tracing::info!(server = %self.endpoint.name, "connected to the MCP server");
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Forgets a client that may be broken, so that the next call connects anew.
    async fn failed(&self, fault: ServiceError) -> CallError {
        // An error that the server has put in words came over a connection that works.
        let works = matches!(fault, ServiceError::McpError(_));
        let fault = CallError::from_service(fault);
        if !works && !matches!(fault, CallError::Refused(_)) {
            self.client.lock().await.take();
            tracing::warn!(server = %self.endpoint.name, %fault, "the MCP server failed");
        }
        fault
    }

    pub(crate) async fn health(&self) -> Health {
        let url = self.endpoint.health_url.as_ref().unwrap_or(&self.endpoint.url);
        let started = Instant::now();
        let asked = self.http.get(url.clone()).timeout(self.limits.connect_timeout).send().await;
        let healthy = match (&asked, &self.endpoint.health_url) {
            (Ok(answer), Some(_)) => answer.status().is_success(),
            // Without an address for health, any answer that is not a fault of the server is one.
            (Ok(answer), None) => !answer.status().is_server_error(),
            (Err(_), _) => false,
        };
        Health { server: self.endpoint.name.clone(), healthy, latency: started.elapsed() }
    }

    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.client.lock().await.take();
    }
}

fn http_client(url: &Url, connect_timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // The process may have chosen a TLS provider already; any is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        // A redirect would carry the token to a place it was not made for.
        .redirect(Policy::none());
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if local { builder.no_proxy().build() } else { builder.build() }
}
