//! The hard limit under real fire: real processes, one database, a provider that keeps its own books, clients that leave,
//! and SIGKILL in the middle.

mod books;
mod clients;
mod gate;
mod plan;
mod site;
mod upstream;

use crate::{fire, support};
use clients::Seen;
use plan::Plan;
use site::{CROWDED, FULL, RELAXED, Race, Terms};
use std::{path::Path, process::Command, time::Duration};
use syndarix::config::process_env;
use syndarix_postgres::{Embedded, EmbeddedOptions};
use tokio::task::JoinSet;
use upstream::Upstream;

const CALLS: usize = 1_000;
/// So many of them are at the provider at the same time before any is answered; there is money for a few more, and the others
/// wait for what those have set aside.
const AT_ONCE: usize = 500;
const KILLS: usize = 2;
/// Calls while the database is away.
const AWAY: usize = 256;
/// What a client may be told: an answer, a part of one, no money, and that the database is away.
const TOLD: [Seen; 6] =
    [Seen::Whole, Seen::Failed(0), Seen::Failed(402), Seen::Failed(503), Seen::Left, Seen::Failed(502)];

/// The seed that is given to play a race again, or a new one.
fn seed() -> u64 {
    let given = process_env("SYNDARIX_RACE_SEED").and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| rand::random::<u32>().into())
}

/// Until the provider has seen so many requests.
async fn seen(upstream: &Upstream, requests: usize) {
    fire::until("calls reach the provider", async || (upstream.requests() >= requests).then_some(())).await;
}

async fn joined(clients: JoinSet<Vec<(usize, Seen)>>) -> Vec<Seen> {
    let mut seen = clients.join_all().await.concat();
    seen.sort_by_key(|(n, _)| *n);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

/// Nothing may be wrong. Says what came of it, and how to play it again.
async fn judge(race: &Race, plan: &Plan, upstream: &Upstream, seen: &[Seen]) -> String {
    let verdict = books::judge(race, plan, upstream, seen).await.unwrap();
    let again = format!("SYNDARIX_RACE_SEED={}", plan.seed);
    assert!(verdict.wrong.is_empty(), "{again}: {verdict}\n{}", verdict.wrong.join("\n"));
    let refused = race.one_by_one(plan.calls.len()).await;
    assert!(refused.is_empty(), "{again}: {refused:#?}");
    format!("{again}: {verdict}")
}

/// The provider, and two processes whose books are watched.
async fn begun(plan: &Plan, terms: Terms) -> (Upstream, Race) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let upstream = Upstream::start(&plan.calls).await.unwrap();
    let race = Race::start(&upstream, &support::server_url(), terms).await;
    books::watch(&race.pool).await.unwrap();
    (upstream, race)
}

/// What the books are found to be, once all clients are answered and all is settled.
async fn ended(race: Race, plan: &Plan, upstream: &Upstream, clients: JoinSet<Vec<(usize, Seen)>>) -> String {
    let seen = joined(clients).await;
    race.settled().await;
    let found = judge(&race, plan, upstream, &seen).await;
    race.end().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_on_processes_that_are_killed_pass_no_limit_and_are_all_in_the_books() {
    let plan = Plan::at_once(seed(), CALLS, KILLS);
    let (upstream, mut race) = begun(&plan, CROWDED).await;
    upstream.gate().hold();

    let clients = race.ask(&plan.calls[..CALLS]);
    let crowded = fire::until("a crowd is at the provider", async || {
        (upstream.most_at_once() >= AT_ONCE).then_some(())
    });
    // Whether it was is what is asserted.
    let _crowded = tokio::time::timeout(Duration::from_secs(30), crowded).await;
    let at_once = upstream.most_at_once();
    assert!(at_once >= AT_ONCE, "SYNDARIX_RACE_SEED={}: {at_once} calls were there at once", plan.seed);
    for (process, answers) in &plan.kills {
        // Where money runs out before, it is killed all the same.
        let _gone = tokio::time::timeout(Duration::from_secs(5), upstream.gate().let_go(*answers)).await;
        race.kill(*process).await;
    }
    upstream.gate().open().await;
    let found = ended(race, &plan, &upstream, clients).await;
    println!("{} at once, {found}", upstream.most_at_once());
}

/// Calls where durability is relaxed: so many that keys are busy, and money for half of them.
const BUSY: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_durability_is_relaxed_a_kill_costs_the_latest_rows_and_no_money_and_no_limit_is_passed() {
    let mut plan = Plan::new(seed(), BUSY, KILLS);
    for call in plan.calls.iter_mut().filter(|call| call.n % 5 > 0) {
        call.key = plan::KEYS - 1;
    }
    let (upstream, mut race) = begun(&plan, RELAXED).await;

    let clients = race.ask(&plan.calls);
    for (process, after) in &plan.kills {
        let leased = fire::until("a key is busy", async || {
            let open = "select count(*) from usage where attempt = 0 and state = 'reserved'";
            let open: i64 = sqlx::query_scalar(open).fetch_one(&race.pool).await.unwrap();
            (open > 0).then_some(())
        });
        let _busy = tokio::time::timeout(Duration::from_secs(5), leased).await;
        let _reached = tokio::time::timeout(Duration::from_secs(5), seen(&upstream, *after)).await;
        race.kill(*process).await;
    }
    println!("{}", ended(race, &plan, &upstream, clients).await);
}

/// Sends a signal to PostgreSQL's main process and to all that it has started.
pub(crate) fn signal_all(postgres: &Embedded, signal: &str) {
    let main = postgres.pid().to_string();
    let children = Command::new("pgrep").args(["-P", &main]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    // The main process first: it must not start others for those that stand still.
    for pid in std::iter::once(main.as_str()).chain(children.split_whitespace()) {
        // One that has just ended is no failure.
        Command::new("kill").args([signal, pid]).status().unwrap();
    }
}

/// A server of the test's own: with durable commits, since it is going to be killed.
pub(crate) fn options(dir: &Path) -> EmbeddedOptions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    EmbeddedOptions::platform_default(process_env).in_dir(dir.join("postgres"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_and_one_that_is_killed_cost_no_settlement_and_clients_are_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let home = tempfile::tempdir().unwrap();
    let mut postgres = syndarix_postgres::start(options(home.path())).await.unwrap();
    let plan = Plan::new(seed(), 2 * AWAY, 0);
    let upstream = Upstream::start(&plan.calls).await.unwrap();
    let race = Race::start(&upstream, &postgres.url().parse().unwrap(), FULL).await;
    books::watch(&race.pool).await.unwrap();
    let (hung, killed) = plan.calls.split_at(AWAY);

    let clients = race.ask(hung);
    seen(&upstream, AWAY / 6).await;
    signal_all(&postgres, "-STOP");
    let mut told = joined(clients).await;
    signal_all(&postgres, "-CONT");
    race.settled().await;

    let clients = race.ask(killed);
    seen(&upstream, upstream.requests() + AWAY / 6).await;
    let died = postgres.died();
    Command::new("kill").args(["-9", &postgres.pid().to_string()]).status().unwrap();
    died.await;
    drop(postgres);
    postgres = syndarix_postgres::start(options(home.path())).await.unwrap();
    told.extend(joined(clients).await);
    race.settled().await;

    let strange: Vec<_> = told.iter().filter(|seen| !TOLD.contains(seen)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let lost: i64 = sqlx::query_scalar("select count(*) from usage where state = 'interrupted'")
        .fetch_one(&race.pool)
        .await
        .unwrap();
    assert_eq!(lost, 0, "both processes have lived all the while");
    println!("{}", judge(&race, &plan, &upstream, &told).await);
    race.end().await;
    postgres.stop().await.unwrap();
}
