//! What a failover costs beyond the time-out that it waits for.

use crate::{
    Failure,
    figures::{Figures, percentile},
};
use async_trait::async_trait;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use syndarix_llm::{
    AttemptHooks, AttemptIntent, AttemptOutcome, BreakerPolicy, ChatRequest, Deployment, EndpointAccess,
    Gateway, GatewayPolicy, Grant, Limits, Message, ModelGroup, Options, PriceTable, ProviderKind,
    RecordFailed, Refused, http_client, scripted,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long the silent deployment is waited for, in milliseconds.
const TIME_OUT_MS: u64 = 200;
/// Calls at once, and calls of each one after the other.
const AT_ONCE: usize = 16;
const EACH: usize = 20;
const SOUND: &str = "[[rule]]\nname = 'r'\nanswer.text = 'fine'\n";

/// Lets everything pass and keeps nothing.
struct Open;

#[async_trait]
impl AttemptHooks for Open {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        Ok(intent.granted())
    }

    async fn after(&self, _outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        Ok(())
    }
}

/// A first deployment that accepts and says nothing, and a sound second one: how much longer than the time-out of the
/// first the whole call takes.
pub(crate) async fn past_the_time_out(figures: &mut Figures) -> Result<(), Failure> {
    let (silent, sound) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let limits = Limits { first_byte_ms: TIME_OUT_MS, ..Limits::default() };
    let deployment = |name: &str, listener: &TcpListener| -> Result<Deployment, Failure> {
        let url = format!("http://{}/v1", listener.local_addr()?).parse()?;
        let access = EndpointAccess::PrivateNetwork;
        let model = "scripted-bench".to_owned();
        Ok(Deployment {
            model,
            endpoint_access: access,
            ..Deployment::new(name, ProviderKind::OpenAiCompatible, url)
        })
    };
    let first = Deployment { limits, ..deployment("silent", &silent)? };
    let group = Arc::new(ModelGroup::new("bench", vec![first, deployment("sound", &sound)?]));
    let mut servers = JoinSet::new();
    servers.spawn(hold(silent));
    let script = scripted::Script::from_toml(SOUND)?;
    servers.spawn(async move {
        let _ended = scripted::serve(sound, script).await;
    });
    // The silent one is asked every time.
    let breaker = BreakerPolicy { failures: u32::MAX, ..BreakerPolicy::default() };
    let policy = GatewayPolicy { breaker, ..GatewayPolicy::default() };
    let gateway = Arc::new(Gateway::new(http_client()?, PriceTable::embedded()?, policy));
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        callers.spawn(calls(Arc::clone(&gateway), Arc::clone(&group)));
    }
    let mut beyond = Vec::new();
    while let Some(took) = callers.join_next().await {
        beyond.extend(took??);
    }
    beyond.sort_unstable();
    let settings = json!({ "time_out_ms": TIME_OUT_MS, "at_once": AT_ONCE, "calls": beyond.len() });
    for (name, share) in [("median", 0.5), ("p99", 0.99)] {
        let name = format!("failover, past the time-out, {name}");
        figures.add(&name, (percentile(&beyond, share), "ms"), None, &settings)?;
    }
    Ok(())
}

async fn calls(gateway: Arc<Gateway>, group: Arc<ModelGroup>) -> Result<Vec<Duration>, Failure> {
    let request = ChatRequest {
        system: String::new(),
        messages: vec![Message::user("go")],
        tools: Vec::new(),
        max_output_tokens: 100,
        temperature: None,
        stop: Vec::new(),
        options: Options::default(),
    };
    let mut beyond = Vec::new();
    for _ in 0..EACH {
        let start = Instant::now();
        gateway.complete(&group, &request, &Open, &CancellationToken::new()).await?;
        beyond.push(start.elapsed().saturating_sub(Duration::from_millis(TIME_OUT_MS)));
    }
    Ok(beyond)
}

/// Accepts and keeps quiet.
async fn hold(listener: TcpListener) {
    let mut held = Vec::new();
    while let Ok(accepted) = listener.accept().await {
        held.push(accepted);
    }
}
