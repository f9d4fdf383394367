//! Plans of many commands, made from a seed and played on each path: afterwards the log says what the callers were told.
//!
//! `SYNDARIX_TRANSITIONS_SEED` plays a plan again; which of its commands comes first is not in the plan.

mod model;
mod plan;

use super::*;
use futures::{StreamExt, stream};
use model::{Model, Seen, Told};
use plan::{COMMANDS, Command, Failure, Held, Key, LATE, STREAMS, What};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Mutex, task::Poll};
use syndarix::{
    db::Recorded,
    http::{ApiError, idempotent},
};
use syndarix_domain::{envelope::Envelope, ids::CommandId};

fn told(done: Result<Vec<Envelope>, Error>) -> Told {
    match done {
        Ok(events) => Told::Done(events.iter().map(|event| event.seq).collect()),
        Err(Error::Conflict) => Told::Refused,
        Err(error) => panic!("{error:?}"),
    }
}

fn follow_up(n: u32, note: &str) -> NewJob {
    NewJob::new("follow", "what.follows", json!({ "command": n, "note": note }))
}

/// A plan on one path.
struct Round {
    path: Path,
    bench: Bench,
    streams: Vec<SprintId>,
    late: Vec<SprintId>,
    leases: BTreeMap<u32, Lease>,
    seen: Mutex<Vec<Seen>>,
}

impl Round {
    async fn start(path: Path, plan: &[Command]) -> Self {
        let bench = Bench::start().await;
        let streams = bench.sprints(STREAMS).await;
        let late = (0..LATE).map(|_| SprintId(bench.store().new_id())).collect();
        let mut leases = BTreeMap::new();
        for command in plan.iter().filter(|command| matches!(command.what, What::Job(_))) {
            leases.insert(command.n, job_in_hand(&bench).await);
        }
        Self { path, bench, streams, late, leases, seen: Mutex::default() }
    }

    /// How many commands are under way at the same time.
    fn at_once(&self) -> usize {
        match self.path {
            Path::Alone => 1,
            Path::Together => 24,
            // Each has a connection, and some need another one for a moment: the pool has eight.
            Path::Transaction => 5,
        }
    }

    async fn play(&self, plan: &[Command]) {
        stream::iter(plan).for_each_concurrent(self.at_once(), |command| self.run(command)).await;
        // Whatever was left under way is written by now, or outrun for good.
        for (stream, n) in self.streams.iter().zip(2 * COMMANDS..) {
            self.move_on(*stream, n).await;
        }
    }

    async fn run(&self, command: &Command) {
        let (n, stream, asked) = (command.n, self.streams[command.stream], Instant::now());
        let told = match command.what {
            What::Rename => told(self.rename(self.path, &[stream], n).await),
            What::Both { other } => told(self.rename(self.path, &[stream, self.streams[other]], n).await),
            What::Twice => told(self.twice(stream, n).await),
            What::Create { late } => self.create(self.late[late], n).await,
            What::Stale => told(self.stale(stream, n).await),
            What::Keyed(key) => self.under_key(stream, n, key).await,
            What::Job(held) => self.in_a_job(stream, n, held).await,
            What::Fails(how) => self.fail(stream, n, how).await,
            What::Leaves { looks } => self.leave(stream, n, looks).await,
        };
        self.note(n, asked, told);
    }

    fn note(&self, n: u32, asked: Instant, told: Told) {
        self.seen.lock().unwrap().push(Seen { n, asked, at: Instant::now(), told });
    }

    async fn unit(&self, path: Path, author: Author) -> Result<Uow, Error> {
        let mut uow = self.bench.store().begin(author);
        if path == Path::Transaction {
            uow.conn().await?;
        }
        Ok(uow)
    }

    /// A unit that has decided to rename the stream.
    async fn decided(&self, stream: SprintId, n: u32, author: Author) -> Result<Uow, Error> {
        let mut uow = self.unit(self.path, author).await?;
        uow.execute::<Sprint>(self.bench.project, stream, &edit(&n.to_string())).await?;
        Ok(uow)
    }

    async fn rename(&self, path: Path, streams: &[SprintId], n: u32) -> Result<Vec<Envelope>, Error> {
        retry_conflicts(|| async {
            let mut uow = self.unit(path, Author::system()).await?;
            for stream in streams {
                uow.execute::<Sprint>(self.bench.project, *stream, &edit(&n.to_string())).await?;
            }
            uow.commit().await
        })
        .await
    }

    async fn twice(&self, stream: SprintId, n: u32) -> Result<Vec<Envelope>, Error> {
        let project = self.bench.project;
        let add = sprint::Command::AddStory { story: StoryId(Uuid::from_u128(n.into())), from: None };
        retry_conflicts(|| async {
            let mut uow = self.unit(self.path, Author::system()).await?;
            let goal = uow.execute::<Sprint>(project, stream, &add).await?.name;
            let edit = sprint::Command::Edit { name: n.to_string(), goal, starts_on: None, ends_on: None };
            uow.execute::<Sprint>(project, stream, &edit).await?;
            uow.commit().await
        })
        .await
    }

    async fn create(&self, id: SprintId, n: u32) -> Told {
        let (project, name, goal) = (self.bench.project, n.to_string(), String::new());
        let new = sprint::New { id, project, name, goal, starts_on: None, ends_on: None };
        let done = async {
            let mut uow = self.unit(self.path, Author::system()).await?;
            uow.create::<Sprint>(project, id, &sprint::Command::Create(new)).await?;
            uow.commit().await
        };
        match done.await {
            // Of two at the same time one may find the row, and not the other's change, in its way.
            Err(error) if error.constraint() == Some("sprint_pkey") => Told::Refused,
            done => told(done),
        }
    }

    async fn stale(&self, stream: SprintId, n: u32) -> Result<Vec<Envelope>, Error> {
        let late = self.decided(stream, n, Author::system()).await?;
        self.move_on(stream, n + COMMANDS).await;
        let outrun = late.commit().await;
        assert!(matches!(outrun, Err(Error::Conflict)), "command {n} on {:?}: {outrun:?}", self.path);
        self.rename(self.path, &[stream], n).await
    }

    /// Renames the stream, however often others come first.
    async fn move_on(&self, stream: SprintId, n: u32) {
        let asked = Instant::now();
        let told = loop {
            match told(self.rename(Path::Alone, &[stream], n).await) {
                Told::Refused => {}
                told => break told,
            }
        };
        self.note(n, asked, told);
    }

    async fn under_key(&self, stream: SprintId, n: u32, key: Key) -> Told {
        let id = CommandId(Uuid::from_u128(key.key.into()));
        let author = Author::system().claiming(syndarix::db::Claim { id, request: [key.request; 32] });
        let work = || {
            retry_conflicts(|| async {
                let uow = self.decided(stream, n, author).await?;
                Ok::<u32, ApiError>(uow.commit_with(n).await?)
            })
        };
        match idempotent(&self.bench.app.app, author, work, |by: u32| async move { Ok(by) }).await {
            Ok(by) => Told::Answered(by),
            Err(error) if error.code() == "idempotency_key_reused" => Told::Reused,
            Err(error) if ["changed", "in_progress"].contains(&error.code()) => Told::Refused,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn in_a_job(&self, stream: SprintId, n: u32, held: Held) -> Told {
        let lease = self.leases[&n];
        if held == Held::LostBefore {
            self.take_over(lease).await;
        }
        let done = retry_conflicts(|| async {
            let mut uow = self.decided(stream, n, Author::system().within(lease)).await?;
            uow.enqueue(follow_up(n, ""))?;
            uow.complete_job();
            if held == Held::LostAfterTheDecision {
                self.take_over(lease).await;
            }
            uow.commit().await
        })
        .await;
        match (held, done) {
            (Held::Kept, done) => told(done),
            (_, Err(Error::LeaseLost)) => Told::Refused,
            (_, done) => panic!("the lease of command {n} was lost on {:?}: {done:?}", self.path),
        }
    }

    async fn take_over(&self, lease: Lease) {
        let taken = sqlx::query("update job set fence = fence + 1 where id = $1").bind(lease.job);
        taken.execute(self.bench.store().pool()).await.unwrap();
    }

    async fn fail(&self, stream: SprintId, n: u32, how: Failure) -> Told {
        let system = Author::system();
        match how {
            Failure::Dropped => {
                let mut uow = self.decided(stream, n, system).await.unwrap();
                if self.path == Path::Transaction {
                    // Writes its head, unless it is outrun.
                    uow.conn().await.ok();
                }
            }
            Failure::Refused => {
                let mut uow = self.decided(stream, n, system).await.unwrap();
                uow.enqueue(follow_up(n, "no document can hold \0")).unwrap();
                let done = uow.commit().await;
                assert!(matches!(done, Err(Error::Jobs(_) | Error::Conflict)), "command {n}: {done:?}");
            }
            Failure::Numberless => {
                let mut uow = self.unit(self.path, system).await.unwrap();
                // A project without a log has no numbers to give.
                uow.announce(
                    ProjectId(Uuid::from_u128(1)),
                    "agent",
                    Uuid::from_u128(7),
                    "agent.made.v1",
                    json!({}),
                );
                let done = uow.commit().await;
                assert!(matches!(done, Err(Error::Database(_))), "command {n}: {done:?}");
            }
        }
        Told::Refused
    }

    async fn leave(&self, stream: SprintId, n: u32, looks: u32) -> Told {
        let uow = self.decided(stream, n, Author::system()).await.unwrap();
        let mut commit = std::pin::pin!(uow.commit());
        for _ in 0..looks {
            if let Poll::Ready(done) = futures::poll!(commit.as_mut()) {
                return told(done);
            }
            tokio::task::yield_now().await;
        }
        Told::Left
    }

    async fn events(&self) -> Vec<Recorded> {
        sqlx::query_as("select * from event where project_id = $1 order by seq")
            .bind(self.bench.project.0)
            .fetch_all(self.bench.store().pool())
            .await
            .unwrap()
    }

    /// What callers were told, the log, the rows, the keys and the jobs agree. Returns who has used up which key.
    async fn judge(&self, plan: &[Command]) -> BTreeMap<u32, u32> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let model = Model::replay(&self.events().await);
        for (stream, (version, state)) in &model.streams {
            let row = self.bench.store().read::<Sprint>(self.bench.project, *stream).await.unwrap();
            assert_eq!((row.version, &row.state), (*version, state), "{:?}", self.path);
        }
        let rows = count(&self.bench, "select count(*) from sprint").await;
        assert_eq!(rows, i64::try_from(model.streams.len()).unwrap(), "{:?}", self.path);
        let nobodys = "select count(*) from event where project_id = '00000000-0000-0000-0000-000000000001'";
        assert_eq!(count(&self.bench, nobodys).await, 0, "{:?}", self.path);
        model.has_each_once(plan, &seen);
        model::in_order(&seen);
        let used = model.keys(plan, &seen);
        assert_eq!(self.keys().await, rows_of(plan, &used), "{:?}", self.path);
        self.jobs_are_those_of(plan, &seen).await;
        used
    }

    /// The keys that are used up, by which request, and what came of it.
    async fn keys(&self) -> Vec<(Uuid, Vec<u8>, Value)> {
        sqlx::query_as("select id, request_hash, result from idempotency order by id")
            .fetch_all(self.bench.store().pool())
            .await
            .unwrap()
    }

    /// A job is done, and another follows, where the command of the job is done, and only there.
    async fn jobs_are_those_of(&self, plan: &[Command], seen: &[Seen]) {
        let of_jobs = plan.iter().filter(|command| matches!(command.what, What::Job(_)));
        let of_jobs: Vec<u32> = of_jobs.map(|command| command.n).collect();
        let mut by_jobs: Vec<u32> =
            model::done(seen).map(|(seen, _)| seen.n).filter(|n| of_jobs.contains(n)).collect();
        by_jobs.sort_unstable();
        let (followed, ended): (Vec<i64>, Vec<i64>) = sqlx::query_as(
            "select array (select (payload ->> 'command')::bigint from job where kind = 'what.follows' order by 1),
                    array (select id from job_done order by 1)",
        )
        .fetch_one(self.bench.store().pool())
        .await
        .unwrap();
        assert_eq!(followed, by_jobs.iter().map(|n| i64::from(*n)).collect::<Vec<_>>(), "{:?}", self.path);
        let mut jobs: Vec<i64> = by_jobs.iter().map(|n| self.leases[n].job).collect();
        jobs.sort_unstable();
        assert_eq!(ended, jobs, "{:?}", self.path);
    }

    /// Who comes again under a key gets the first answer for the same request, and none for another; nothing is done.
    async fn ask_again(&self, plan: &[Command], used: &BTreeMap<u32, u32>) {
        let before = self.events().await.len();
        for (command, key) in plan::keyed(plan) {
            let Some(by) = used.get(&key.key) else { continue };
            let again = self.under_key(self.streams[command.stream], command.n, key).await;
            let same = plan::key_of(plan, *by) == Some(key);
            let expected = if same { Told::Answered(*by) } else { Told::Reused };
            assert_eq!(again, expected, "{command:?} on {:?}", self.path);
        }
        assert_eq!(self.events().await.len(), before, "{:?}", self.path);
    }
}

/// The rows of these keys.
fn rows_of(plan: &[Command], used: &BTreeMap<u32, u32>) -> Vec<(Uuid, Vec<u8>, Value)> {
    let row = |(key, by): (&u32, &u32)| {
        let request = plan::key_of(plan, *by).unwrap().request;
        (Uuid::from_u128((*key).into()), vec![request; 32], json!(by))
    };
    used.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_path_the_log_of_a_random_plan_is_what_its_callers_were_told() {
    let seed = plan::seed();
    println!("SYNDARIX_TRANSITIONS_SEED={seed}");
    let plan = plan::plan(seed);
    for path in PATHS {
        let round = Round::start(path, &plan).await;

        round.play(&plan).await;

        let used = round.judge(&plan).await;
        round.ask_again(&plan, &used).await;
        round.bench.holds().await;
    }
}
