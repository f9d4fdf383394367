//! The official SDKs against the gateway, with nothing but a base URL and a key: each over a provider of its own format,
//! over one of the other, and over OpenAI's newest models, which are asked over responses but for clients of chat completions.
//!
//! The providers are written by hand from their documentation, and not by the code that is tested. What the SDKs do is in
//! `tests/sdk/`, a program for each language; which scenarios each of them must pass is in `tests/sdk/scenarios.json`. Their
//! versions are pinned there, and `.ci/sdks` installs them beside the target folder.

mod answers;
mod list;
mod responses;
mod upstream;

use crate::gateway::{self, Desk, serve};
use serde_json::json;
use sqlx::FromRow;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use syndarix::http;
use syndarix_llm::{Deployment, ModelGroup, ProviderKind, Rates};
use tokio::{net::TcpListener, process::Command, task::JoinSet};
use uuid::Uuid;

/// How long one language's scenarios may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// Streams that each language leaves in the middle of each model: one for each way to ask.
const LEFT: usize = 3;

/// Streams of each model that break in each manner: for each way to ask one that is read in pieces, and one that is waited
/// for as a whole. Never five in a row, after which a deployment is left alone for a while.
const BROKEN: usize = 6;

/// The prompt's tokens as the providers count them.
const PROMPT: i64 = 1_112;

/// A model that reasons, at prices at which no key without a budget can afford anything.
fn group(name: &str, kind: ProviderKind, model: &str, upstream: SocketAddr) -> ModelGroup {
    let deployment = Deployment {
        model: model.into(),
        accepts_temperature: false,
        prices: Some(Rates {
            input: 1_000_000,
            output: 5_000_000,
            cache_read: 100_000,
            cache_write: 1_250_000,
            ..Rates::FREE
        }),
        ..gateway::deployment(&format!("deployment-of-{name}"), kind, upstream)
    };
    ModelGroup::new(name, vec![deployment])
}

/// What is recorded of a call whose answer began and did not come to its end.
#[derive(Debug, FromRow)]
struct Unfinished {
    deployment: String,
    error_kind: String,
    tokens_in: i64,
    tokens_out: i64,
    estimated: bool,
}

/// How many of them there are at which deployment, by what ended them.
type Ends = BTreeMap<(String, String), usize>;

/// What each language's scenarios leave behind.
fn expected_ends() -> Ends {
    let providers = [("gpt", "server_error"), ("claude", "overloaded"), ("gpt-6", "server_error")];
    let ends = providers.into_iter().flat_map(|(model, word)| {
        let ends = [("cancelled", LEFT), (word, BROKEN), ("connection", BROKEN)];
        ends.map(|(kind, count)| ((format!("deployment-of-{model}"), kind.to_owned()), count))
    });
    ends.collect()
}

/// A gateway that is reached as programs reach it.
struct Counter {
    desk: Desk,
    address: SocketAddr,
    _tasks: [JoinSet<()>; 2],
}

impl Counter {
    async fn open() -> Self {
        let (upstream, providers) = serve(upstream::router()).await;
        let desk = Desk::with(vec![
            group("gpt", ProviderKind::OpenAi, "gpt-5-mini", upstream),
            group("claude", ProviderKind::Anthropic, "claude-sonnet-5", upstream),
            group("gpt-6", ProviderKind::OpenAi, upstream::NEWEST, upstream),
        ])
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = desk.app.router.clone().into_make_service_with_connect_info::<http::Peer>();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(http::Sockets(listener), service).await.unwrap() });
        Self { desk, address, _tasks: [providers, server] }
    }

    /// The calls whose answers began and did not come to their end.
    async fn unfinished(&self) -> Vec<Unfinished> {
        sqlx::query_as(
            "select deployment, error_kind, tokens_in, tokens_out, estimated from usage
              where project_id = $1 and state = 'failed' and tokens_out > 0 order by at, id",
        )
        .bind(self.desk.project.parse::<Uuid>().unwrap())
        .fetch_all(self.desk.app.app.pool())
        .await
        .unwrap()
    }

    /// Runs a language's scenarios to their end, and fails with what they printed, or with what it leaves out.
    async fn run(&self, language: &str, program: &str, script: &str, modules_variable: &str) {
        let modules = installed(language).await;
        let (_, poor) = self.desk.make(json!({"name": "poor", "hard_limit_micro_usd": 0})).await;
        let (_, narrow) = self.desk.make(json!({"name": "narrow", "models": ["gpt"]})).await;
        let url = format!("http://{}", self.address);
        let running = Command::new(program)
            .arg(repository().join("backend/server/tests/sdk").join(script))
            .env(modules_variable, modules)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("OPENAI_BASE_URL", format!("{url}/v1"))
            .env("OPENAI_API_KEY", &self.desk.key)
            .env("ANTHROPIC_BASE_URL", &url)
            .env("ANTHROPIC_API_KEY", &self.desk.key)
            .env("POOR_KEY", poor)
            .env("NARROW_KEY", narrow)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            tokio::time::timeout(DEADLINE, running).await.expect("the scenarios take too long").unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.ends_with("all done\n"), "{printed}\n{complaint}");
        let list::Difference { left_out, unlisted } = list::difference(&printed);
        assert!(left_out.is_empty(), "{language} leaves out of tests/sdk/scenarios.json: {left_out:#?}");
        assert!(
            unlisted.is_empty(),
            "tests/sdk/scenarios.json must name what {language} does: {unlisted:#?}"
        );
    }

    /// Every call whose answer did not come to its end has its row, with what it used as far as that is known.
    async fn assert_what_did_not_end_is_recorded(&self) {
        let (expected, started) = (expected_ends(), Instant::now());
        let all: usize = expected.values().sum();
        let mut rows = self.unfinished().await;
        while rows.len() < all {
            assert!(started.elapsed() < Duration::from_secs(10), "{} of {all}: {rows:#?}", rows.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
            rows = self.unfinished().await;
        }
        let mut ends = Ends::new();
        for row in &rows {
            *ends.entry((row.deployment.clone(), row.error_kind.clone())).or_default() += 1;
            assert!(row.estimated && row.tokens_in > 0 && row.tokens_out > 0, "{row:?}");
            // Anthropic tells the prompt's tokens when it begins, OpenAI tells nothing before the end.
            assert_eq!(row.tokens_in == PROMPT, row.deployment == "deployment-of-claude", "{row:?}");
        }
        assert_eq!(ends, expected);
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where a language's SDKs are; they are installed the first time.
async fn installed(language: &str) -> String {
    let output = Command::new(repository().join(".ci/sdks")).arg(language).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_python_sdks_work_with_a_base_url_and_a_key() {
    let counter = Counter::open().await;
    counter.run("python", "python3", "python/run.py", "PYTHONPATH").await;
    counter.assert_what_did_not_end_is_recorded().await;
}

#[tokio::test]
async fn the_node_sdks_work_with_a_base_url_and_a_key() {
    let counter = Counter::open().await;
    counter.run("node", "node", "node/run.cjs", "NODE_PATH").await;
    counter.assert_what_did_not_end_is_recorded().await;
}
