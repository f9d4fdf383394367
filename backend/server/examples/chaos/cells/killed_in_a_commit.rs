//! SIGKILL while many clients write: commands under a key, which are repeated until they are answered, and then commands
//! without one. Of the former, who writes a story takes a number first, and has a transaction for it; who cancels one
//! shares a group's commit with others, as all of the latter do.

mod groups;

use super::{
    Cell,
    site::{Place, Site},
};
use crate::{Failure, client::Api};
use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const CLIENTS: usize = 24;
/// Kills of all seeds together, at the least.
const KILLS: u32 = 54;
/// Kills of one seed, at the least.
const FEWEST: u32 = 3;
/// A command is answered within this, however often it has to be repeated: on a machine with much else to do, a process
/// may be killed before it comes to it, again and again for as long as the kills go on.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

pub(super) const CELL: Cell = Cell {
    name: "killed-in-a-commit",
    sentence: "every command took effect once and as a whole, whatever was killed in its commit, its own or its group's",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

/// What the clients share.
struct Load {
    /// Where the processes are at present.
    doors: Mutex<Vec<Api>>,
    label: String,
    next: AtomicU64,
    over: AtomicBool,
    repeated: AtomicU64,
}

/// A command, and how it is asked for.
struct Asked<'a> {
    path: &'a str,
    body: &'a Value,
    /// Without one, the command must ask for what may be so already.
    key: Option<&'a str>,
    /// The process that gets it first.
    first: usize,
}

impl Load {
    fn on(site: &Site) -> Arc<Self> {
        Arc::new(Self {
            doors: Mutex::new(doors(site)),
            label: site.label.clone(),
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            repeated: AtomicU64::new(0),
        })
    }

    fn door(&self, number: usize) -> Result<Api, Failure> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.get(number % doors.len()).cloned().ok_or_else(|| "no process is known".into())
    }

    fn open(&self, doors: Vec<Api>) {
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// Repeats a command, at one process and the other, until it is answered.
    async fn until_answered(&self, asked: &Asked<'_>) -> Result<Value, Failure> {
        let (begun, what) = (Instant::now(), asked.key.unwrap_or(asked.path));
        for attempt in 0.. {
            let door = self.door(asked.first + attempt)?;
            let why = match door.command(&door.path(asked.path), asked.body, asked.key).await {
                Ok((200..=299, answer)) => return Ok(answer),
                // The server has not noticed yet that the process is gone which had it in hand.
                Ok((409, answer)) if answer["code"] == "in_progress" || answer["code"] == "changed" => {
                    answer.to_string()
                }
                Ok((status, answer)) if status < 500 => {
                    return Err(format!("{what}: {status}: {answer}").into());
                }
                Ok((status, answer)) => format!("{status}: {answer}"),
                Err(failure) => failure.to_string(),
            };
            if begun.elapsed() > ANSWER_LIMIT {
                return Err(format!("{what} is not answered: {why}").into());
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Value::Null)
    }

    /// Writes a story and cancels it, again and again: two transitions of one stream, under a key each.
    async fn client(self: Arc<Self>) -> Result<(), Failure> {
        while !self.over.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let title = format!("{} command {n}.", self.label);
            let (body, key) = (json!({ "title": title }), format!("{title} write"));
            let first = usize::try_from(n)?;
            let write = Asked { path: "/stories", body: &body, key: Some(&key), first };
            let story = self.until_answered(&write).await?;
            let path = format!("/stories/{}/cancel", story["id"].as_str().unwrap_or_default());
            let (body, key) = (json!({ "reason": "enough" }), format!("{title} cancel"));
            self.until_answered(&Asked { path: &path, body: &body, key: Some(&key), first }).await?;
        }
        Ok(())
    }
}

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let keyed = under_keys(site, rng).await?;
    let together = groups::play(site, rng).await?;
    Ok(format!("{keyed}; {together}"))
}

async fn under_keys(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let load = Load::on(site);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).client());
    }
    let mut conn = site.connect().await?;
    let kills = KILLS.div_ceil(site.seeds).max(FEWEST);
    let (mut in_commit, mut kill) = (0, 0);
    // A busy machine may need more of them until one was hit for sure.
    while kill < kills || in_commit == 0 && kill < 3 * kills {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..120))).await;
        let index = usize::try_from(kill)? % site.servers.len();
        kill += 1;
        let open = writing(&mut conn).await?;
        site.servers[index].kill()?;
        in_commit += usize::from(open > 0);
        site.replace(index).await?;
        load.open(doors(site));
    }
    load.over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }
    if in_commit == 0 {
        return Err(format!("none of {kill} kills came while a command had written something").into());
    }
    let commands = load.next.load(Ordering::Relaxed);
    once_each(&mut conn, &site.label, commands).await?;
    Ok(format!(
        "{kill} kills, {in_commit} of them while commands had written; {} commands repeated {} times, each took effect once",
        commands * 2,
        load.repeated.load(Ordering::Relaxed)
    ))
}

fn doors(site: &Site) -> Vec<Api> {
    site.servers.iter().map(|server| site.api_at(server, Place::Plain)).collect()
}

/// Open transactions of commands that have written something, of both processes: by themselves, and for a group. Nobody else
/// writes to these tables meanwhile.
async fn writing(conn: &mut PgConnection) -> Result<i64, Failure> {
    let open = "select count(distinct pid)
                  from pg_stat_activity a join pg_locks own using (pid) join pg_locks l using (pid)
                 where a.datname = current_database() and a.application_name in ('syndarix', 'syndarix groups')
                   and own.locktype = 'transactionid' and own.mode = 'ExclusiveLock' and own.granted
                   and l.relation in ('event'::regclass, 'counter'::regclass) and l.mode = 'RowExclusiveLock'";
    Ok(sqlx::query_scalar(open).fetch_one(conn).await?)
}

/// As many stories as commands, each written once and cancelled once.
async fn once_each(conn: &mut PgConnection, label: &str, commands: u64) -> Result<(), Failure> {
    let effects = "select count(distinct s.state ->> 'title'), count(distinct s.id),
                          count(*) filter (where e.type = 'story.created.v1'), count(*) filter (where e.type = 'story.cancelled.v1')
                     from story s join event e on e.stream_id = s.id where starts_with(s.state ->> 'title', $1)";
    let found: (i64, i64, i64, i64) =
        sqlx::query_as(effects).bind(format!("{label} command ")).fetch_one(conn).await?;
    let wanted = i64::try_from(commands)?;
    if found == (wanted, wanted, wanted, wanted) {
        return Ok(());
    }
    Err(format!("{wanted} commands made (titles, stories, creations, cancellations): {found:?}").into())
}
