//! Two real processes on one database, an organisation with limits on every node, and clients with keys.

use super::{
    books,
    clients::{self, Addresses, Seen},
    plan::{Call, FLAKY, Fate, KEYS, PROJECTS, SHORTEST},
    upstream::Upstream,
};
use crate::{fire, killed};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::{collections::HashMap, net::SocketAddr, process::Child};
use syndarix::demo::client::Client;
use tempfile::TempDir;
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;

/// How the processes keep their books, and how much money there is.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) durability: &'static str,
    /// In hundredths of the usual limits.
    pub(crate) money: i64,
}

pub(crate) const FULL: Terms = Terms { durability: "full", money: 100 };
/// For two thirds of a thousand calls at once.
pub(crate) const CROWDED: Terms = Terms { durability: "full", money: 150 };
pub(crate) const RELAXED: Terms = Terms { durability: "relaxed", money: 150 };

/// Two processes on one database, and whom they know.
pub(crate) struct Race {
    dir: TempDir,
    url: String,
    server: Url,
    database: String,
    terms: Terms,
    pub(crate) pool: PgPool,
    processes: Vec<Child>,
    /// Under which name each holds reservations.
    instances: Vec<Uuid>,
    /// The names of all that there ever were.
    known: Vec<Uuid>,
    /// In their order.
    kills: Vec<Kill>,
    addresses: Addresses,
    /// Key and its secret, by project and number.
    keys: HashMap<(usize, usize), (Uuid, String)>,
}

/// The end of a process.
struct Kill {
    process: usize,
    at: DateTime<Utc>,
    /// From then on another one is asked in its place.
    replaced: DateTime<Utc>,
}

impl Race {
    pub(crate) async fn start(upstream: &Upstream, server: &Url, terms: Terms) -> Self {
        let database = format!("syndarix_race_{}", Uuid::now_v7().simple());
        execute(server, format!("create database {database}")).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("models.toml"), models(upstream.address)).unwrap();
        let mut url = server.clone();
        url.set_path(&database);
        let url = String::from(url);
        let (first, at) = begin(&dir, &url, terms);
        let pool = PgPool::connect(&url).await.unwrap();
        let addresses = Addresses::new([at, at]);
        let mut race = Self {
            dir,
            url,
            server: server.clone(),
            database,
            terms,
            pool,
            processes: vec![first],
            instances: Vec::new(),
            known: Vec::new(),
            kills: Vec::new(),
            addresses,
            keys: HashMap::new(),
        };
        let name = race.newcomer().await;
        race.instances.push(name);
        race.people(at).await;
        let (second, at) = begin(&race.dir, &race.url, terms);
        race.processes.push(second);
        race.addresses.set(1, at);
        let name = race.newcomer().await;
        race.instances.push(name);
        race
    }

    /// An organisation, its projects and their keys, with limits on every node.
    async fn people(&mut self, at: SocketAddr) {
        let mut client = Client::new(at).unwrap();
        client.sign_in(killed::LOGIN, "Race").await.unwrap();
        let me = client.get("/me").await.unwrap();
        let organisation = me["organisations"][0]["id"].as_str().unwrap();
        let limit = json!({ "hard_limit_micro_usd": self.limit(1_000_000) });
        client.put(&format!("/organisations/{organisation}/budgets/month"), &limit).await.unwrap();
        for project in 0..PROJECTS {
            let body = json!({
                "organisation_id": organisation, "name": format!("Race {project}"), "repository": { "source": "empty" },
            });
            let made = client.post("/projects", &body).await.unwrap();
            let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
            let limits = json!({ "hard_limit_micro_usd": self.limit(380_000) });
            client.put(&format!("/projects/{id}/budgets/project/{id}/total"), &limits).await.unwrap();
            let agent = self.agent(id).await;
            let limits = json!({ "hard_limit_tokens": self.limit(110_000) });
            client.put(&format!("/projects/{id}/budgets/agent/{agent}/week"), &limits).await.unwrap();
            for key in 0..KEYS {
                let agent = (key == 0).then_some(agent);
                let limit = (key == 1).then_some(self.limit(90_000));
                let body =
                    json!({ "name": format!("k{key}"), "agent_id": agent, "hard_limit_micro_usd": limit });
                let made = client.post(&format!("/projects/{id}/gateway-keys"), &body).await.unwrap();
                let key_id = made["key"]["id"].as_str().unwrap().parse().unwrap();
                if key == 2 {
                    let limits = json!({ "hard_limit_tokens": self.limit(100_000) });
                    client.put(&format!("/projects/{id}/budgets/key/{key_id}/day"), &limits).await.unwrap();
                }
                let secret = made["secret"].as_str().unwrap().to_owned();
                self.keys.insert((project, key), (key_id, secret));
            }
        }
    }

    /// Whether calls may be granted from memory.
    pub(crate) fn is_relaxed(&self) -> bool {
        self.terms.durability == RELAXED.durability
    }

    /// The key of a call.
    pub(crate) fn key(&self, call: &Call) -> Uuid {
        self.keys[&(call.project, call.key)].0
    }

    fn limit(&self, usual: i64) -> i64 {
        usual * self.terms.money / 100
    }

    async fn agent(&self, project: Uuid) -> Uuid {
        let agent = Uuid::now_v7();
        let sql = "insert into agent (id, project_id, agent_type_id, type_version, role, name, status, last_activity_at, created_at)
                   select $1, $2, t.id, 1, 'engineer', 'Ada', 'active', now(), now() from agent_type t limit 1";
        sqlx::query(sql).bind(agent).bind(project).execute(&self.pool).await.unwrap();
        agent
    }

    /// The process that nobody knew of so far.
    async fn newcomer(&mut self) -> Uuid {
        let name = fire::until("the new process has said that it is there", async || {
            sqlx::query_scalar(
                "select instance from reservation_holder where instance <> all($1) and last_seen > now() - interval '1 minute'",
            )
            .bind(&self.known)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
        })
        .await;
        self.known.push(name);
        name
    }

    /// SIGKILL, and another process in its place; its reservations are found as if it had been silent for long.
    pub(crate) async fn kill(&mut self, process: usize) {
        let killed = Utc::now();
        self.processes[process].kill().unwrap();
        self.processes[process].wait().unwrap();
        sqlx::query(
            "update reservation_holder set last_seen = now() - interval '2 minutes' where instance = $1",
        )
        .bind(self.instances[process])
        .execute(&self.pool)
        .await
        .unwrap();
        let (child, at) = begin(&self.dir, &self.url, self.terms);
        self.processes[process] = child;
        self.instances[process] = self.newcomer().await;
        self.kills.push(Kill { process, at: killed, replaced: Utc::now() });
        self.addresses.set(process, at);
        self.reconcile().await;
    }

    /// When the process was killed from which something came then, and which it was; `None`: it was not killed after that.
    pub(crate) fn kill_after(&self, process: usize, at: DateTime<Utc>) -> Option<(usize, DateTime<Utc>)> {
        let kill = self.kills.iter().find(|kill| kill.process == process && at < kill.replaced)?;
        Some((process, kill.at))
    }

    pub(crate) async fn reconcile(&self) {
        let ring = "update timer set fire_at = now() where name = 'costs.reconcile'";
        sqlx::raw_sql(ring).execute(&self.pool).await.unwrap();
    }

    /// Lets clients ask, all at once.
    pub(crate) fn ask(&self, calls: &[Call]) -> JoinSet<Vec<(usize, Seen)>> {
        let (http, mut clients) = (clients::http().unwrap(), JoinSet::new());
        for call in calls.iter().cloned() {
            let (addresses, (_, secret)) =
                (self.addresses.clone(), self.keys[&(call.project, call.key)].clone());
            let http = http.clone();
            clients.spawn(clients::ask_until_answered(http, addresses, secret, call));
        }
        clients
    }

    /// Waits until no call is open in the books.
    pub(crate) async fn settled(&self) {
        fire::until("nothing is reserved any more", async || {
            self.reconcile().await;
            let open = sqlx::query_scalar::<_, i64>("select count(*) from usage where state = 'reserved'");
            (open.fetch_one(&self.pool).await.unwrap() == 0).then_some(())
        })
        .await;
    }

    /// One after the other, with each key: whoever has money left is served, and nobody else.
    pub(crate) async fn one_by_one(&self, beyond: usize) -> Vec<String> {
        let (http, mut wrong) = (clients::http().unwrap(), Vec::new());
        for (turn, (_, (key, secret))) in self.keys.iter().enumerate() {
            let call = Call {
                n: beyond + turn,
                process: turn % 2,
                project: 0,
                key: 0,
                streamed: false,
                max_tokens: 16,
                wordy: 4,
                fate: Fate::Good,
                comes: 0,
                leaves: None,
                turn: 0,
                again: None,
            };
            let left = books::left(&self.pool).await.unwrap()[key];
            let needed = i64::try_from(SHORTEST + call.n + 12 + 16).unwrap();
            let seen = clients::ask(http.clone(), self.addresses.clone(), secret.clone(), call).await;
            let expected = if left >= needed { Seen::Whole } else { Seen::Failed(402) };
            if seen != expected {
                wrong.push(format!("{needed} are needed and {left} are left, but {seen:?}"));
            }
        }
        wrong
    }

    pub(crate) async fn end(self) {
        self.pool.close().await;
        let (server, database) = (self.server.clone(), self.database.clone());
        drop(self);
        execute(&server, format!("drop database {database} with (force)")).await;
    }
}

/// Also after a failure nothing goes on.
impl Drop for Race {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn execute(server: &Url, sql: String) {
    let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

fn begin(dir: &TempDir, url: &str, terms: Terms) -> (Child, SocketAddr) {
    tokio::task::block_in_place(|| killed::start_with(dir, url, terms.durability))
}

/// A micro-USD for each token; the good deployment, and those that fail.
fn models(upstream: SocketAddr) -> String {
    let group = |name: &str| {
        format!(
            "[[group]]\nname = \"{name}\"\n[[group.chain]]\nname = \"d-{name}\"\nprovider = \"openai_compatible\"\n\
             base_url = \"http://{upstream}/v1\"\nmodel = \"{name}\"\nendpoint_access = \"private_network\"\n\
             context_window = 100000\nmax_output = 2000\n\
             prices = {{ input = 1000000, output = 1000000, cache_read = 0, cache_write = 0 }}\n"
        )
    };
    let flaky = (0..FLAKY).map(|n| group(&format!("flaky-{n}")));
    std::iter::once(group("good")).chain(flaky).collect()
}
