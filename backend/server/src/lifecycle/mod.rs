//! From settings to a running process, and back.
//!
//! The order of a start: take the API's port, have a database, migrate, take over the states of earlier releases, put
//! the application together, serve its tools on a loopback address of their own, answer HTTP, and only then begin to
//! work. A stop goes the other way round: the tools and the API answer until the last job has ended or been handed back.
//!
//! Invariants: nothing is half started (a failure undoes what was done before it); a stop ends within
//! [`STOP_LIMIT`], and says what it had to cut off; jobs that do not end in time are handed back with no attempt used up.

mod database;
mod error;
mod models;
mod signals;
mod tools;

pub use database::{Database, Session};
pub use error::StartError;
pub use models::{groups_of, prices_of, scripted_groups};
pub use signals::StopSignals;

use crate::{
    clock::Clock,
    config::Config,
    db::{self, Store},
    features::{
        self,
        auth::Keys,
        llm::{Ledger, Models},
    },
    http,
    state::{App, Parts},
    telemetry,
    vault::Vault,
};
use axum::Router;
use sqlx::PgPool;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use syndarix_bus::Hub;
use syndarix_forge::{Git, LocalForge};
use syndarix_jobs::{DRAIN_GRACE, QueueConfig, Wake, Worker, WorkerConfig, WorkerHandle};
use syndarix_llm::{Gateway, GatewayPolicy, ModelGroups};
use syndarix_mcp::Manager;
use syndarix_mcp_ci::sandbox::{Isolation, Level};
use tokio::{net::TcpListener, time::timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A stop takes no longer than this: what supervises processes kills after it.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long running jobs may go on after a stop was asked for.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// How long requests may go on once the jobs have ended.
const REQUESTS_LIMIT: Duration = Duration::from_secs(2);
/// How long closing the connections to the tools may take, and recording the clients' model calls that were cut short.
const TOOLS_LIMIT: Duration = Duration::from_secs(2);
/// What the database has at the least, for a checkpoint of the embedded one.
const DATABASE_SHARE: Duration = Duration::from_secs(6);

const _: () = assert!(
    DRAIN_LIMIT.as_secs()
        + DRAIN_GRACE.as_secs()
        + REQUESTS_LIMIT.as_secs()
        + TOOLS_LIMIT.as_secs()
        + DATABASE_SHARE.as_secs()
        <= STOP_LIMIT.as_secs(),
    "the parts of a stop must fit into it"
);

/// Short jobs, such as timers and notices, that this process runs at once.
const DEFAULT_CONCURRENCY: u16 = 16;
/// Jobs on repositories that this process runs at once: each starts git processes.
const GIT_CONCURRENCY: u16 = 4;

/// Repositories that this process indexes at once: each takes a core.
const INDEX_CONCURRENCY: u16 = 2;

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Everything.
    All,
    /// Answers people and programs; leaves the jobs to others.
    Api,
    /// Works; answers nobody but its own tools.
    Worker,
}

/// What a start takes besides the settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// What this process does.
    pub duty: Duty,
    /// The time of every decision.
    pub clock: Clock,
    /// Model groups instead of those that the settings name.
    pub models: Option<ModelGroups>,
}

impl Default for Options {
    fn default() -> Self {
        Self { duty: Duty::All, clock: Clock::default(), models: None }
    }
}

/// A process that is up.
pub struct Running {
    app: App,
    address: SocketAddr,
    database: Database,
    worker: Option<WorkerHandle>,
    requests: TaskTracker,
    tasks: TaskTracker,
    /// Cancelled when nobody needs the listeners any more.
    ending: CancellationToken,
    /// What sends spans.
    exports: (TaskTracker, CancellationToken),
}

/// How a stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// What was cut off because its time was up, in words. Nothing: all was ended or handed back.
    pub cut_off: Vec<&'static str>,
}

/// Starts everything, or nothing.
pub async fn start(config: Config, options: Options) -> Result<Running, StartError> {
    // The address is part of what the tools are told, so it is taken first.
    let wanted = match options.duty {
        Duty::Worker => SocketAddr::from(([127, 0, 0, 1], 0)),
        Duty::All | Duty::Api => config.listen,
    };
    let listener = bind(wanted).await?;
    let database = Database::open(&config).await?;
    match assemble(config, options, listener, &database).await {
        Ok(parts) => Ok(parts.running(database)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

struct Assembled {
    app: App,
    address: SocketAddr,
    worker: Option<WorkerHandle>,
    /// What answers people and programs.
    requests: TaskTracker,
    /// What goes on beside that.
    tasks: TaskTracker,
    ending: CancellationToken,
    /// What sends spans: it ends after those who make them.
    exports: (TaskTracker, CancellationToken),
}

impl Assembled {
    fn running(self, database: Database) -> Running {
        let Self { app, address, worker, requests, tasks, ending, exports } = self;
        Running { app, address, database, worker, requests, tasks, ending, exports }
    }
}

async fn assemble(
    config: Config,
    options: Options,
    listener: TcpListener,
    database: &Database,
) -> Result<Assembled, StartError> {
    let pool = database.pool().clone();
    db::migrate(&pool).await.map_err(StartError::Migrate)?;
    let address =
        listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
    let (requests, tasks, ending) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
    let exports = (TaskTracker::new(), CancellationToken::new());
    let keys = Keys::load(&pool, options.clock.clone()).await?;
    let vault = Vault::open(&config)?;
    let groups = match options.models {
        Some(groups) => groups,
        None => groups_of(&config)?,
    };
    let models = Models::new(gateway(&config)?, groups);
    let git = Git::new(&config.data_dir.join("git-home"))?;
    let forge = LocalForge::new(git.clone(), &config.repositories(), &config.workspaces())?;
    let servers = tools::Servers { config: &config, keys: &keys, git, backend: backend_of(&config, address) };
    let tools = servers.build().await?;
    let (hub, wake) = (Hub::default(), Wake::new());
    let store = Store::new(pool.clone(), options.clock, hub.clone(), wake.clone());
    db::upgrade_states(&store).await?;
    features::agents::seed_default_team(&store, &features::agents::default_team()?)
        .await
        .map_err(StartError::Team)?;
    let instance = store.new_id();
    let ledger = Ledger::new(store.clone(), instance, config.usage_durability);
    let exporter =
        telemetry::exporter(&config.tracing, &instance.to_string()).map_err(StartError::Telemetry)?;
    let app = App::new(Parts {
        instance,
        config,
        store,
        hub,
        wake,
        keys,
        vault,
        tools: tools.manager,
        isolation: tools.isolation,
        forge: Arc::new(forge),
        stopping: CancellationToken::new(),
        gateway: features::gateway::Front::default(),
        ledger,
        models,
    });
    features::schedule(&app).await.map_err(StartError::Schedule)?;
    // Nothing after this can fail, so nothing before this runs by itself.
    tasks.spawn(serve_tools(tools.listener, tools.router, ending.clone()));
    features::events::spawn_hub(&app, &tasks, ending.clone());
    features::llm::spawn_breakers(&app, &tasks, ending.clone());
    if let Some(url) = app.config.redis_url.clone() {
        features::gateway::share_limits(&app, url, &tasks, ending.clone());
    }
    features::audit::spawn_sealer(&app, &tasks, ending.clone());
    features::llm::spawn_beat(&app, &tasks, ending.clone());
    features::operations::spawn_upkeep(&tasks, ending.clone());
    if let Some((spans, exporter)) = exporter {
        app.models.trace_to(spans);
        exporter.spawn(&exports.0, exports.1.clone());
    }
    let router = http::router(app.clone());
    requests.spawn(http::serve(listener, router, http::Limits::of_process(), ending.clone()));
    let worker = (options.duty != Duty::Api).then(|| worker(&app, pool, database.is_embedded()));
    tracing::info!(%address, %instance, "Syndarix is up");
    Ok(Assembled { app, address, worker, requests, tasks, ending, exports })
}

/// The application for one command: it reads and writes, and leaves working and serving to others.
pub async fn offline(config: Config, pool: PgPool) -> Result<App, StartError> {
    db::migrate(&pool).await.map_err(StartError::Migrate)?;
    let clock = Clock::default();
    let (hub, wake) = (Hub::default(), Wake::new());
    let store = Store::new(pool.clone(), clock.clone(), hub.clone(), wake.clone());
    db::check_states(&store).await?;
    let git = Git::new(&config.data_dir.join("git-home"))?;
    let forge = LocalForge::new(git, &config.repositories(), &config.workspaces())?;
    let tools = Manager::new(Vec::new(), syndarix_mcp::Limits::default())
        .map_err(|error| StartError::Tools(error.to_string()))?;
    let instance = store.new_id();
    Ok(App::new(Parts {
        instance,
        ledger: Ledger::new(store.clone(), instance, config.usage_durability),
        keys: Keys::load(&pool, clock).await?,
        vault: Vault::open(&config)?,
        gateway: features::gateway::Front::default(),
        models: Models::new(gateway(&config)?, groups_of(&config)?),
        forge: Arc::new(forge),
        tools,
        config,
        store,
        hub,
        wake,
        isolation: Isolation { level: Level::None, detail: "this command runs nothing for agents".into() },
        stopping: CancellationToken::new(),
    }))
}

/// Where the tools find the API of this very process, unless the operator says otherwise.
fn backend_of(config: &Config, address: SocketAddr) -> String {
    let host = if address.ip().is_unspecified() { [127, 0, 0, 1].into() } else { address.ip() };
    config.backend_url.clone().unwrap_or_else(|| format!("http://{}", SocketAddr::new(host, address.port())))
}

fn gateway(config: &Config) -> Result<Gateway, StartError> {
    let http = syndarix_llm::http_client().map_err(|error| StartError::Models(error.to_string()))?;
    Ok(Gateway::new(http, prices_of(config)?, GatewayPolicy::default()))
}

fn worker(app: &App, pool: PgPool, runs_the_server: bool) -> WorkerHandle {
    let queues = vec![
        QueueConfig::new("agent", app.config.agent_concurrency),
        QueueConfig::new("git", GIT_CONCURRENCY),
        QueueConfig::new("sync", GIT_CONCURRENCY),
        QueueConfig::new("cicd", GIT_CONCURRENCY),
        QueueConfig::new("index", INDEX_CONCURRENCY),
        QueueConfig::new("default", DEFAULT_CONCURRENCY),
    ];
    let config = WorkerConfig {
        // The embedded server's lock file has one holder at a time, and so have its data.
        place: runs_the_server.then(|| "beside the embedded server".to_owned()),
        ..WorkerConfig::new(format!("syndarix-{}", std::process::id()), app.instance, queues)
    };
    Worker::new(pool, features::jobs(app), config, app.wake.clone()).start()
}

async fn serve_tools(listener: TcpListener, router: Router, ending: CancellationToken) {
    if let Err(error) = syndarix_mcp_kit::serve(listener, router, ending).await {
        tracing::error!(%error, "the tools' server ended");
    }
}

impl Running {
    /// The application, for commands in the same process.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The embedded database's URL, or the configured one's.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Stops claiming, lets running work end, hands the rest back, ends streams and requests, stops the database: all
    /// within [`STOP_LIMIT`], of which the database gets whatever the others left.
    pub async fn stop(self) -> Stopped {
        let deadline = Instant::now() + STOP_LIMIT;
        let Self { app, database, worker, requests, tasks, ending, exports, .. } = self;
        let mut cut_off = Vec::new();
        app.stopping.cancel();
        if let Some(worker) = worker {
            let drained = worker.shutdown(DRAIN_LIMIT).await;
            tracing::info!(finished = drained.finished, handed_back = drained.handed_back, "stopped working");
            if drained.left > 0 {
                cut_off.push("jobs could not be handed back, and wait until their leases run out");
            }
        }
        ending.cancel();
        requests.close();
        tasks.close();
        let until = tokio::time::Instant::now() + REQUESTS_LIMIT;
        if timeout_at(until, requests.wait()).await.is_err() {
            cut_off.push("some requests were cut short");
        }
        if timeout_at(until, tasks.wait()).await.is_err() {
            tracing::warn!("what goes on beside requests does not end in time; it is left");
        }
        let until = tokio::time::Instant::now() + TOOLS_LIMIT;
        let closed = async {
            tokio::join!(app.tools.close(), app.gateway.close());
            app.ledger.close().await;
        };
        if timeout_at(until, closed).await.is_err() {
            cut_off.push("some calls of tools or models were cut short before they were recorded");
        }
        // What is left of their spans, once nobody makes any more.
        let (exporting, end) = exports;
        end.cancel();
        exporting.close();
        if timeout_at(until, exporting.wait()).await.is_err() {
            tracing::warn!("some spans are cut short");
        }
        if !cut_off.is_empty() {
            tracing::warn!(cut_off = %cut_off.join("; "), "the stop was not clean");
        }
        drop(app);
        database.close_by(deadline).await;
        Stopped { cut_off }
    }
}
