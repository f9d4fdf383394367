//! Transitions by themselves, many at once, and inside a transaction: the same promises on each path.

mod keyed;
mod random;

use crate::{
    events::{person, project},
    support::TestApp,
};
use futures::future::join_all;
use sqlx::AssertSqlSafe;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use syndarix::{
    db::{Author, Error, Store, Uow, retry_conflicts},
    features::audit::verify,
};
use syndarix_domain::{
    actor::Actor,
    ids::{ProjectId, SprintId, StoryId},
    sprint::{self, Sprint},
    story::{self, Story},
};
use syndarix_jobs::{Claim, Cursor, Lease, NewJob, NewTimer};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a unit comes to its commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Path {
    /// Nothing else is under way.
    Alone,
    /// Many wait at the same time.
    Together,
    /// A feature has rows of its own to write.
    Transaction,
}

const PATHS: [Path; 3] = [Path::Alone, Path::Together, Path::Transaction];

struct Bench {
    app: Arc<TestApp>,
    project: ProjectId,
}

impl Bench {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let maria = person(&app, "maria").await;
        let project = project(&app, &maria).await;
        Self { app: Arc::new(app), project }
    }

    fn store(&self) -> &Store {
        &self.app.app.store
    }

    async fn unit(&self, path: Path) -> Uow {
        let mut uow = self.store().begin(Author::of(Actor::System));
        if path == Path::Transaction {
            sqlx::query("select 1").execute(uow.conn().await.unwrap()).await.unwrap();
        }
        uow
    }

    async fn sprint(&self) -> SprintId {
        let id = SprintId(self.store().new_id());
        let mut uow = self.unit(Path::Alone).await;
        let (name, goal) = ("A sprint".to_owned(), String::new());
        let new = sprint::New { id, project: self.project, name, goal, starts_on: None, ends_on: None };
        uow.create::<Sprint>(self.project, id, &sprint::Command::Create(new)).await.unwrap();
        uow.commit().await.unwrap();
        id
    }

    async fn sprints(&self, count: usize) -> Vec<SprintId> {
        join_all((0..count).map(|_| self.sprint())).await
    }

    async fn story(&self) -> StoryId {
        let id = StoryId(self.store().new_id());
        let mut uow = self.unit(Path::Alone).await;
        let new = story::New {
            id,
            project: self.project,
            number: 1,
            title: "To be moved".into(),
            description: String::new(),
            points: None,
            sprint: None,
        };
        uow.create::<Story>(self.project, id, &story::Command::Create(new)).await.unwrap();
        uow.commit().await.unwrap();
        id
    }

    /// Gives the sprint another name, whoever else does the same.
    async fn rename(&self, path: Path, sprint: SprintId, name: &str) -> Result<(), Error> {
        retry_conflicts(|| async {
            let mut uow = self.unit(path).await;
            uow.execute::<Sprint>(self.project, sprint, &edit(name)).await?;
            uow.commit().await.map(drop)
        })
        .await
    }

    /// Keeps everybody else of the project from committing events.
    async fn hold_log(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut holder = self.store().pool().begin().await.unwrap();
        sqlx::query("select from project_log where project_id = $1 for update")
            .bind(self.project.0)
            .execute(&mut *holder)
            .await
            .unwrap();
        holder
    }

    async fn version(&self, sprint: SprintId) -> i64 {
        self.store().read::<Sprint>(self.project, sprint).await.unwrap().version
    }

    /// What must hold whatever was done: numbers and versions without a gap, each event a part of the audit, and rows
    /// that are what the events say.
    async fn holds(&self) {
        let events: Vec<(i64, Uuid, i64)> =
            sqlx::query_as("select seq, stream_id, version from event where project_id = $1 order by seq")
                .bind(self.project.0)
                .fetch_all(self.store().pool())
                .await
                .unwrap();
        assert!(events.iter().zip(1..).all(|((seq, ..), expected)| *seq == expected), "numbers have no gap");
        let mut next: HashMap<Uuid, i64> = HashMap::new();
        for (_, stream, version) in &events {
            let expected = next.entry(*stream).or_insert(1);
            assert_eq!(version, expected, "versions of {stream} come in order");
            *expected += 1;
        }
        let audit = verify(self.store().pool(), Some(self.project.0)).await.unwrap().remove(0);
        assert_eq!(audit.first_bad, None);
        assert_eq!(audit.entries + audit.unsealed, u64::try_from(events.len()).unwrap());
        let rebuilt = self.store().rebuild(false).await.unwrap();
        assert_eq!(rebuilt.different, Vec::<String>::new());
    }
}

fn edit(name: &str) -> sprint::Command {
    sprint::Command::Edit { name: name.into(), goal: String::new(), starts_on: None, ends_on: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_path_each_command_is_there_once_and_nothing_has_a_gap() {
    for path in PATHS {
        let bench = Bench::start().await;
        let sprints = bench.sprints(24).await;
        for round in 0..3 {
            let renamed = sprints.iter().map(|sprint| {
                let (bench, name) = (&bench, format!("{round}"));
                async move { bench.rename(path, *sprint, &name).await }
            });
            if path == Path::Alone {
                for one in renamed {
                    one.await.unwrap();
                }
            } else {
                join_all(renamed).await.into_iter().for_each(|renamed| renamed.unwrap());
            }
        }
        for sprint in &sprints {
            assert_eq!(bench.version(*sprint).await, 4, "{path:?}");
        }
        bench.holds().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_move_one_stream_at_once_each_decides_on_what_the_one_before_left() {
    for path in PATHS {
        let bench = Bench::start().await;
        let sprint = bench.sprint().await;
        let names: Vec<String> = (0..6).map(|n| format!("{n}")).collect();
        let done = join_all(names.iter().map(|name| bench.rename(path, sprint, name))).await;
        let accepted = done.iter().filter(|done| done.is_ok()).count();
        assert!(accepted > 0 && done.iter().all(|done| matches!(done, Ok(()) | Err(Error::Conflict))));
        assert_eq!(bench.version(sprint).await, 1 + i64::try_from(accepted).unwrap(), "{path:?}");
        bench.holds().await;
    }
}

#[tokio::test]
async fn a_unit_that_moves_two_heads_writes_neither_when_one_is_stale() {
    for path in PATHS {
        let bench = Bench::start().await;
        let (fresh, stale) = (bench.sprint().await, bench.sprint().await);
        let others = bench.sprints(8).await;
        let mut uow = bench.unit(path).await;
        uow.execute::<Sprint>(bench.project, fresh, &edit("both")).await.unwrap();
        uow.execute::<Sprint>(bench.project, stale, &edit("both")).await.unwrap();
        if path == Path::Transaction {
            // It has compared nothing yet; from here on it would hold the rows.
            bench.rename(Path::Alone, stale, "quicker").await.unwrap();
            assert!(matches!(uow.conn().await, Err(Error::Conflict)));
        } else {
            bench.rename(Path::Alone, stale, "quicker").await.unwrap();
            let rest = others.iter().map(|sprint| bench.rename(path, *sprint, "others"));
            let (both, rest) = futures::join!(uow.commit(), join_all(rest));
            assert!(matches!(both, Err(Error::Conflict)), "{path:?}");
            assert!(rest.iter().all(Result::is_ok));
        }
        assert_eq!((bench.version(fresh).await, bench.version(stale).await), (1, 2), "{path:?}");
        bench.holds().await;
    }
}

#[tokio::test]
async fn a_head_that_is_moved_twice_in_one_unit_has_both_events_and_one_end() {
    for path in PATHS {
        let bench = Bench::start().await;
        let sprint = bench.sprint().await;
        let mut uow = bench.unit(path).await;
        uow.execute::<Sprint>(bench.project, sprint, &edit("one")).await.unwrap();
        let seen = uow.execute::<Sprint>(bench.project, sprint, &edit("two")).await.unwrap();
        assert_eq!(uow.load::<Sprint>(bench.project, sprint).await.unwrap(), seen);
        let events = uow.commit().await.unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(bench.version(sprint).await, 3);
        bench.holds().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_created_twice_is_there_once() {
    for path in PATHS {
        let bench = Bench::start().await;
        let id = SprintId(bench.store().new_id());
        let create = async || {
            let mut uow = bench.unit(path).await;
            let new = sprint::New {
                id,
                project: bench.project,
                name: "Twice".into(),
                goal: String::new(),
                starts_on: None,
                ends_on: None,
            };
            uow.create::<Sprint>(bench.project, id, &sprint::Command::Create(new)).await?;
            uow.commit().await
        };
        let both = futures::join!(create(), create());
        let made = [both.0, both.1].into_iter().flatten().count();
        assert_eq!((made, bench.version(id).await), (1, 1), "{path:?}");
        bench.holds().await;
    }
}

/// Waits until as many sessions wait for a lock.
async fn until_waiting(bench: &Bench, sessions: i64) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    let started = Instant::now();
    while count(bench, waiting).await < sessions {
        assert!(started.elapsed() < PATIENCE, "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_keeps_only_its_own_unit_waiting() {
    let bench = Bench::start().await;
    let held = bench.sprint().await;
    let others = bench.sprints(30).await;
    let mut holder = bench.store().pool().begin().await.unwrap();
    sqlx::query("select from sprint where id = $1 for update")
        .bind(held.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    let slow = bench.rename(Path::Together, held, "at last");
    let rest = async {
        let rest = others.iter().map(|sprint| bench.rename(Path::Together, *sprint, "others"));
        join_all(rest).await.into_iter().for_each(|renamed| renamed.unwrap());
        until_waiting(&bench, 1).await;
        assert_eq!(bench.version(held).await, 1, "its holder still has it");
        holder.rollback().await.unwrap();
    };
    let (slow, ()) = futures::join!(slow, rest);
    slow.unwrap();
    assert_eq!(bench.version(held).await, 2);
    bench.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_whose_log_somebody_holds_keeps_no_other_project_waiting() {
    let bench = Bench::start().await;
    let maria = person(&bench.app, "another").await;
    let beside = Bench { project: project(&bench.app, &maria).await, app: Arc::clone(&bench.app) };
    let (held, others) = (bench.sprints(4).await, beside.sprints(30).await);
    let holder = bench.hold_log().await;
    let slow = join_all(held.iter().map(|sprint| bench.rename(Path::Together, *sprint, "at last")));
    let rest = async {
        until_waiting(&bench, 1).await;
        for _ in 0..3 {
            let rest = others.iter().map(|sprint| beside.rename(Path::Together, *sprint, "others"));
            join_all(rest).await.into_iter().for_each(|renamed| renamed.unwrap());
        }
        for sprint in &held {
            assert_eq!(bench.version(*sprint).await, 1, "its log is still held");
        }
        holder.rollback().await.unwrap();
    };
    let (slow, rest) = futures::join!(slow, tokio::time::timeout(PATIENCE, rest));
    rest.expect("the other project goes on");
    for renamed in slow {
        renamed.unwrap();
    }
    for sprint in &held {
        assert_eq!(bench.version(*sprint).await, 2);
    }
    bench.holds().await;
    beside.holds().await;
}

/// Claims one job by hand.
async fn job_in_hand(bench: &Bench) -> Lease {
    let mut conn = bench.store().pool().acquire().await.unwrap();
    let job = NewJob::new("hand", "by.hand", serde_json::json!({}));
    syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
    let lease = Duration::from_secs(60);
    let wanted = Claim { queue: "hand", owner: Uuid::from_u128(1), limit: 1, lease };
    syndarix_jobs::claim(&mut conn, wanted, &mut Cursor::default()).await.unwrap().jobs.remove(0).1
}

async fn count(bench: &Bench, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(bench.store().pool()).await.unwrap()
}

/// Commits these in one group: both writers are kept busy until all of them wait.
async fn commit_in_one_group(bench: &Bench, units: Vec<Uow>) -> Vec<Result<(), Error>> {
    let busy = bench.sprints(2).await;
    let holder = bench.hold_log().await;
    let first = bench.rename(Path::Together, busy[0], "busy");
    let second = async {
        until_waiting(bench, 1).await;
        bench.rename(Path::Together, busy[1], "busy").await
    };
    let group = async {
        until_waiting(bench, 2).await;
        let asked = join_all(units.into_iter().map(async |unit| unit.commit().await.map(drop)));
        let release = async {
            // Everybody has asked when this is polled again.
            tokio::task::yield_now().await;
            holder.rollback().await.unwrap();
        };
        futures::join!(asked, release).0
    };
    let (first, second, group) = futures::join!(first, second, group);
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    group
}

#[tokio::test]
async fn a_job_whose_work_came_to_nothing_is_not_done_though_others_of_its_group_are() {
    let bench = Bench::start().await;
    let (stale, others) = (bench.sprint().await, bench.sprints(5).await);
    let lease = job_in_hand(&bench).await;
    let mut lost = bench.store().begin(Author::system().within(lease));
    lost.execute::<Sprint>(bench.project, stale, &edit("by a job")).await.unwrap();
    lost.enqueue(NewJob::new("hand", "what.follows", serde_json::json!({}))).unwrap();
    lost.complete_job();
    bench.rename(Path::Alone, stale, "quicker").await.unwrap();
    let mut units = vec![lost];
    for sprint in &others {
        let mut uow = bench.unit(Path::Together).await;
        uow.execute::<Sprint>(bench.project, *sprint, &edit("others")).await.unwrap();
        units.push(uow);
    }
    let done = commit_in_one_group(&bench, units).await;
    assert!(matches!(done[0], Err(Error::Conflict)), "{done:?}");
    assert!(done[1..].iter().all(Result::is_ok), "{done:?}");
    assert_eq!(count(&bench, "select count(*) from job where kind = 'by.hand'").await, 1);
    assert_eq!(count(&bench, "select count(*) from job where kind = 'what.follows'").await, 0);
    bench.holds().await;
}

#[tokio::test]
async fn whoever_was_in_a_group_that_failed_still_has_its_jobs_and_timers() {
    let bench = Bench::start().await;
    let mut units = Vec::new();
    for sprint in bench.sprints(6).await {
        let mut uow = bench.unit(Path::Together).await;
        uow.execute::<Sprint>(bench.project, sprint, &edit("with a job")).await.unwrap();
        let job = NewJob::new("hand", "what.follows", serde_json::json!({}));
        uow.enqueue(job.clone()).unwrap();
        let fire_at = uow.now() + chrono::Duration::days(1);
        uow.set_timer(NewTimer { stream: sprint.0, name: "later".into(), fire_at, job }).unwrap();
        units.push(uow);
    }
    let mut refused = bench.unit(Path::Together).await;
    // A project without a log has no numbers to give.
    let (nobody, nothing) = (ProjectId(Uuid::from_u128(1)), serde_json::json!({}));
    refused.announce(nobody, "agent", Uuid::from_u128(7), "agent.made.v1", nothing);
    units.push(refused);
    let mut done = commit_in_one_group(&bench, units).await;
    assert!(matches!(done.pop(), Some(Err(Error::Database(_)))));
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(count(&bench, "select count(*) from job where kind = 'what.follows'").await, 6);
    assert_eq!(count(&bench, "select count(*) from timer where name = 'later'").await, 6);
    bench.holds().await;
}

/// Counts the statements that set timers, and those that take them away.
const COUNT_STATEMENTS: &str = "
create sequence timers_set minvalue 0;
create sequence timers_cleared minvalue 0;
create function count_statement() returns trigger language plpgsql as $$
begin
    perform nextval(tg_argv[0]::regclass);
    return null;
end $$;
create trigger count_set after insert on timer for each statement execute function count_statement('timers_set');
create trigger count_cleared after delete on timer for each statement execute function count_statement('timers_cleared');
select nextval('timers_set'), nextval('timers_cleared')";

#[tokio::test]
async fn however_many_timers_a_unit_changes_one_statement_sets_them_and_one_takes_them_away() {
    for path in PATHS {
        let bench = Bench::start().await;
        let sprint = bench.sprint().await;
        let fire_at = bench.app.clock.now() + chrono::Duration::days(1);
        let timer = |name: &str| NewTimer {
            stream: sprint.0,
            name: name.into(),
            fire_at,
            job: NewJob::new("hand", "what.follows", serde_json::json!({})),
        };
        let mut uow = bench.unit(path).await;
        for name in ["over", "early"] {
            uow.set_timer(timer(name)).unwrap();
        }
        uow.commit().await.unwrap();
        sqlx::raw_sql(COUNT_STATEMENTS).execute(bench.store().pool()).await.unwrap();

        let mut uow = bench.unit(path).await;
        uow.execute::<Sprint>(bench.project, sprint, &edit("with timers")).await.unwrap();
        uow.clear_timers(sprint, Some("over"));
        uow.clear_timers(sprint, Some("early"));
        for name in ["late", "later", "latest"] {
            uow.set_timer(timer(name)).unwrap();
        }
        uow.set_timer(NewTimer { fire_at: fire_at + chrono::Duration::days(1), ..timer("late") }).unwrap();
        uow.commit().await.unwrap();

        let statements: (i64, i64) = sqlx::query_as(
            "select (select last_value from timers_set), (select last_value from timers_cleared)",
        )
        .fetch_one(bench.store().pool())
        .await
        .unwrap();
        assert_eq!(statements, (1, 1), "{path:?}");
        let left = "select count(*) from timer where name in ('late', 'later', 'latest')";
        assert_eq!((count(&bench, left).await, count(&bench, "select count(*) from timer").await), (3, 3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_the_database_refuses_fails_alone() {
    let bench = Bench::start().await;
    let others = bench.sprints(20).await;
    let refused = async {
        let mut uow = bench.unit(Path::Together).await;
        // A project without a log has no numbers to give.
        uow.announce(
            ProjectId(Uuid::from_u128(1)),
            "agent",
            Uuid::from_u128(7),
            "agent.made.v1",
            serde_json::json!({}),
        );
        uow.commit().await
    };
    let rest = join_all(others.iter().map(|sprint| bench.rename(Path::Together, *sprint, "others")));
    let (refused, rest) = futures::join!(refused, rest);
    assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    bench.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_the_lease_writes_nothing_and_keeps_nobody_from_writing() {
    for path in PATHS {
        let bench = Bench::start().await;
        let sprints = bench.sprints(10).await;
        let mut conn = bench.store().pool().acquire().await.unwrap();
        for _ in 0..2 {
            syndarix_jobs::enqueue(&mut conn, &NewJob::new("hand", "by.hand", serde_json::json!({})))
                .await
                .unwrap();
        }
        let lease = Duration::from_secs(60);
        let wanted = Claim { queue: "hand", owner: Uuid::from_u128(1), limit: 2, lease };
        let claimed = syndarix_jobs::claim(&mut conn, wanted, &mut Cursor::default()).await.unwrap().jobs;
        let (stale, good) = (claimed[0].1, claimed[1].1);
        sqlx::query("update job set fence = fence + 1 where id = $1")
            .bind(stale.job)
            .execute(&mut *conn)
            .await
            .unwrap();
        let rename = async |sprint: SprintId, author: Author| {
            let mut uow = bench.store().begin(author);
            if path == Path::Transaction {
                uow.conn().await?;
            }
            uow.execute::<Sprint>(bench.project, sprint, &edit("by a job")).await?;
            uow.enqueue(NewJob::new("hand", "what.follows", serde_json::json!({})))?;
            uow.complete_job();
            uow.commit().await
        };
        let system = Author::system();
        let (lost, kept, rest) = futures::join!(
            rename(sprints[0], system.within(stale)),
            rename(sprints[1], system.within(good)),
            join_all(sprints[2..].iter().map(|sprint| rename(*sprint, system)))
        );
        assert!(matches!(lost, Err(Error::LeaseLost)), "{path:?}: {lost:?}");
        assert!(kept.is_ok() && rest.iter().all(Result::is_ok));
        assert_eq!((bench.version(sprints[0]).await, bench.version(sprints[1]).await), (1, 2));
        let (followed, done): (i64, i64) = sqlx::query_as(
            "select (select count(*) from job where kind = 'what.follows'), (select count(*) from job_done where kind = 'by.hand')",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        assert_eq!((followed, done), (9, 1), "{path:?}");
        bench.holds().await;
    }
}

#[tokio::test]
async fn what_is_read_in_a_transaction_sees_what_the_unit_did_before() {
    let bench = Bench::start().await;
    let (sprint, story) = (bench.sprint().await, bench.story().await);
    let mut uow = bench.unit(Path::Alone).await;
    uow.execute::<Story>(bench.project, story, &story::Command::MoveToSprint { sprint: Some(sprint) })
        .await
        .unwrap();
    let version: i64 = sqlx::query_scalar("select version from story where id = $1")
        .bind(story.0)
        .fetch_one(uow.conn().await.unwrap())
        .await
        .unwrap();
    assert_eq!(version, 2);
    drop(uow);
    let now = bench.store().read::<Story>(bench.project, story).await.unwrap();
    assert_eq!(now.version, 1, "a unit that is not committed leaves nothing");
}

/// An index that mentions what every transition changes would be written by every transition. Of questions there is one of
/// those that are open, which each leaves once, with its answer; a reminder moves it on as it stands.
#[tokio::test]
async fn moving_a_state_row_on_writes_none_of_its_indexes() {
    let bench = Bench::start().await;
    let moves = [
        ("sprint", "planned", "active"),
        ("story", "backlog", "working"),
        ("pull_request", "open", "approved"),
        ("run", "thinking", "acting"),
        ("approval", "pending", "pending"),
    ];
    for (table, from, to) in moves {
        let mut tx = bench.app.app.pool().begin().await.unwrap();
        let insert = format!(
            "insert into {table} (id, project_id, version, phase, state, updated_at)
             values ($1, $2, 1, $3, jsonb_build_object('story', $1, 'step', 1), now())"
        );
        let id = Uuid::now_v7();
        let row = sqlx::query(AssertSqlSafe(insert)).bind(id).bind(bench.project.0).bind(from);
        row.execute(&mut *tx).await.unwrap();
        let update = format!(
            "update {table} set version = 2, phase = $2, state = state || '{{\"step\": 2}}', updated_at = clock_timestamp()
              where id = $1"
        );
        sqlx::query(AssertSqlSafe(update)).bind(id).bind(to).execute(&mut *tx).await.unwrap();
        let updated: (i64, i64) = sqlx::query_as(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables where relname = $1",
        )
        .bind(table)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        assert_eq!(updated, (1, 1), "{table}: an update wrote index entries");
    }
}
