//! DBOS, the Rust crate: workflows whose steps are rows of PostgreSQL, and queues of workflows.
//!
//!     peer-dbos prepare | work | enqueue-slow | steps IN_FLIGHT SECONDS | produce single SECONDS BACKLOG
//!
//! It speaks with the driver as common/talk.py does. The crate has no call that enqueues a batch.

use dbos::{Client, ClientConfig, Config, DBOS, QueueConflict, QueueOptions, WorkflowRef, step};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{task::JoinSet, time::sleep};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const QUEUE: &str = "jobs";
const STEPS: u32 = 6;
const CLIENTS: usize = 32;
const CONNECTIONS: u32 = 32;
const SLOW: Duration = Duration::from_secs(600);
/// The crate's default is 1 s: with it, that would be the figure.
const POLL: Duration = Duration::from_millis(50);
/// A worker starts with polls of 1 s and comes down to `POLL` step by step: not what is to be measured.
const WARM_UP: Duration = Duration::from_secs(10);
const PUBLISH: Duration = Duration::from_millis(20);

static DONE: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["prepare"] => {
            let dbos = instance();
            dbos.launch().await?;
            dbos.shutdown().await;
        }
        ["work"] => work().await?,
        ["enqueue-slow"] => {
            client().await?.enqueue::<_, (), dbos::EngineOnly>("slow", QUEUE, ()).await?;
        }
        ["steps", in_flight, seconds] => steps(in_flight.parse()?, span(seconds)?).await?,
        ["produce", "single", seconds, backlog] => produce(span(seconds)?, backlog.parse()?).await?,
        _ => return Err("see the top of main.rs".into()),
    }
    Ok(())
}

fn instance() -> DBOS {
    DBOS::new(Config {
        max_connections: CONNECTIONS,
        app_version: Some("1".to_owned()),
        executor_id: env::var("PEER_EXECUTOR").ok(),
        ..Config::new("peer", env::var("PEER_DATABASE_URL").unwrap_or_default())
    })
}

async fn client() -> Result<Client, Failure> {
    let url = env::var("PEER_DATABASE_URL")?;
    let config = ClientConfig {
        app_name: Some("peer".to_owned()),
        max_connections: CONNECTIONS,
        ..ClientConfig::new(url)
    };
    Ok(Client::connect(config).await?)
}

async fn work() -> Result<(), Failure> {
    let dbos = instance();
    dbos.register_workflow("nothing", nothing)?;
    dbos.register_workflow("slow", slow)?;
    dbos.launch().await?;
    let options = QueueOptions { polling_interval: POLL, ..QueueOptions::default() };
    dbos.register_queue(QUEUE, options, QueueConflict::UpdateIfLatestVersion).await?;
    sleep(WARM_UP).await;
    say(&json!({ "ready": true }));
    let (draft, path) = (own_file("draft"), own_file("count"));
    loop {
        fs::write(&draft, DONE.load(Ordering::Relaxed).to_string())?;
        // Renamed, so that nobody reads half a number.
        fs::rename(&draft, &path)?;
        sleep(PUBLISH).await;
    }
}

async fn nothing(_: ()) -> dbos::Result<()> {
    DONE.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn slow(_: ()) -> dbos::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let line = format!("{} {now}\n", process::id());
    let file = fs::OpenOptions::new().create(true).append(true).open(folder().join("starts"));
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("cannot say that the job has started: {error}");
    }
    sleep(SLOW).await;
    Ok(())
}

/// How long each step took, in milliseconds: the call returns when the step's row is there.
async fn six_steps(_: ()) -> dbos::Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in 0..STEPS {
        let begun = Instant::now();
        step("step", move || async move { dbos::Result::Ok(number) }).await?;
        times.push(milliseconds(begun));
    }
    Ok(times)
}

async fn steps(in_flight: usize, span: Duration) -> Result<(), Failure> {
    let dbos = instance();
    let workflow: Arc<WorkflowRef<(), Vec<f64>>> = Arc::new(dbos.register_workflow("six_steps", six_steps)?);
    dbos.launch().await?;
    wait_for_go()?;
    let begun = Instant::now();
    let mut lanes = JoinSet::new();
    for _ in 0..in_flight {
        let workflow = Arc::clone(&workflow);
        lanes.spawn(async move {
            let (mut steps, mut workflows) = (Vec::new(), Vec::new());
            while begun.elapsed() < span {
                let start = Instant::now();
                steps.extend(workflow.run(()).await?);
                workflows.push(milliseconds(start));
            }
            Ok::<_, Failure>((steps, workflows))
        });
    }
    let (mut steps, mut workflows) = (Vec::new(), Vec::new());
    while let Some(lane) = lanes.join_next().await {
        let (more_steps, more_workflows) = lane??;
        steps.extend(more_steps);
        workflows.extend(more_workflows);
    }
    let seconds = begun.elapsed().as_secs_f64();
    say(&json!({ "count": steps.len(), "seconds": seconds, "steps": steps, "workflows": workflows }));
    Ok(())
}

/// Enqueues one by one with a bounded backlog, and waits until the workers have run everything.
async fn produce(span: Duration, backlog: u64) -> Result<(), Failure> {
    let client = client().await?;
    wait_for_go()?;
    let sent = Arc::new(AtomicU64::new(0));
    let watcher = tokio::spawn(async {
        loop {
            DONE.store(done_by_workers(), Ordering::Relaxed);
            sleep(PUBLISH).await;
        }
    });
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, sent) = (client.clone(), Arc::clone(&sent));
        clients.spawn(async move {
            while begun.elapsed() < span {
                if sent.load(Ordering::Relaxed) >= DONE.load(Ordering::Relaxed) + backlog {
                    sleep(Duration::from_millis(5)).await;
                    continue;
                }
                sent.fetch_add(1, Ordering::Relaxed);
                client.enqueue::<_, (), dbos::EngineOnly>("nothing", QUEUE, ()).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let sent = sent.load(Ordering::Relaxed);
    while DONE.load(Ordering::Relaxed) < sent {
        sleep(Duration::from_millis(5)).await;
    }
    watcher.abort();
    say(&json!({ "count": sent, "seconds": begun.elapsed().as_secs_f64() }));
    Ok(())
}

/// Jobs run by all workers together.
fn done_by_workers() -> u64 {
    let files = fs::read_dir(folder()).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().starts_with("count."))
        .filter_map(|file| fs::read_to_string(file.path()).ok()?.parse::<u64>().ok())
        .sum()
}

fn folder() -> PathBuf {
    env::var_os("PEER_FOLDER").map_or_else(|| Path::new(".").to_owned(), PathBuf::from)
}

fn own_file(name: &str) -> PathBuf {
    folder().join(format!("{name}.{}", process::id()))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn span(seconds: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_secs_f64(seconds.parse()?))
}

fn say(line: &Value) {
    println!("peer: {line}");
}

fn wait_for_go() -> Result<(), Failure> {
    say(&json!({ "ready": true }));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == "go" { Ok(()) } else { Err("the driver is gone".into()) }
}
