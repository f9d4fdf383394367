//! Commands under idempotency keys: a key is used up by what writes its command, on each path.

use super::*;
use syndarix_domain::ids::CommandId;

fn under_key(key: u128) -> Author {
    let id = CommandId(Uuid::from_u128(key));
    Author::system().claiming(syndarix::db::Claim { id, request: [7; 32] })
}

/// A command under this key that gives the sprint another name.
async fn renaming(bench: &Bench, key: u128, sprint: SprintId) -> Uow {
    let mut uow = bench.store().begin(under_key(key));
    uow.execute::<Sprint>(bench.project, sprint, &edit(&format!("under key {key}"))).await.unwrap();
    uow
}

async fn used_up(bench: &Bench) -> Vec<Uuid> {
    keys(bench).await.into_iter().map(|(id, _)| id).collect()
}

/// The keys that are used up, with what came of their commands.
async fn keys(bench: &Bench) -> Vec<(Uuid, serde_json::Value)> {
    let sql = "select id, result from idempotency where request_hash = $1 order by id";
    sqlx::query_as(sql).bind([7_u8; 32].as_slice()).fetch_all(bench.store().pool()).await.unwrap()
}

#[tokio::test]
async fn a_key_lets_one_command_through_on_every_path_and_keeps_what_came_of_it() {
    let bench = Bench::start().await;
    let sprint = bench.sprint().await;
    for (path, key) in PATHS.into_iter().zip(1_u128..) {
        for time in ["first", "again"] {
            let mut uow = bench.store().begin(under_key(key));
            let done = async {
                if path == Path::Transaction {
                    uow.conn().await?;
                }
                uow.execute::<Sprint>(bench.project, sprint, &edit(&format!("{path:?} {time}"))).await?;
                uow.commit_with(time).await
            };
            match (time, done.await) {
                ("first", Ok(_)) | ("again", Err(Error::Repeated)) => {}
                (_, done) => panic!("{path:?} {time}: {done:?}"),
            }
        }
        assert_eq!(keys(&bench).await.last(), Some(&(Uuid::from_u128(key), "first".into())), "{path:?}");
    }
    assert_eq!(bench.version(sprint).await, 1 + i64::try_from(PATHS.len()).unwrap());
    bench.holds().await;
}

#[tokio::test]
async fn in_a_group_a_key_is_used_up_with_its_command_and_only_then() {
    let bench = Bench::start().await;
    let sprints = bench.sprints(4).await;
    renaming(&bench, 1, sprints[0]).await.commit().await.unwrap();
    let mut units = Vec::new();
    // The key of the first was used up before, and the second is outrun.
    for (key, sprint) in (1..).zip(&sprints) {
        units.push(renaming(&bench, key, *sprint).await);
    }
    bench.rename(Path::Alone, sprints[1], "quicker").await.unwrap();

    let done = commit_in_one_group(&bench, units).await;

    let [repeated, outrun, fresh, other] = &done[..] else { panic!("{done:?}") };
    assert!(matches!(repeated, Err(Error::Repeated)), "{repeated:?}");
    assert!(matches!(outrun, Err(Error::Conflict)), "{outrun:?}");
    assert!(fresh.is_ok() && other.is_ok(), "{done:?}");
    assert_eq!(bench.version(sprints[0]).await, 2, "only the first command moved it");
    assert_eq!(used_up(&bench).await, [1, 3, 4].map(Uuid::from_u128));
    bench.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twins_under_one_key_that_move_different_streams_one_is_done() {
    let bench = Bench::start().await;
    let sprints = bench.sprints(8).await;
    let twins = join_all(
        sprints.iter().map(async |sprint| renaming(&bench, 1, *sprint).await.commit().await.map(drop)),
    )
    .await;
    let (done, repeated): (Vec<_>, Vec<_>) = twins.iter().partition(|twin| twin.is_ok());
    assert_eq!((done.len(), repeated.len()), (1, 7));
    assert!(repeated.iter().all(|twin| matches!(twin, Err(Error::Repeated))), "{repeated:?}");
    bench.holds().await;
}

#[tokio::test]
async fn in_a_group_with_jobs_a_unit_whose_key_was_used_up_leaves_no_job() {
    let bench = Bench::start().await;
    let sprints = bench.sprints(3).await;
    renaming(&bench, 1, sprints[0]).await.commit().await.unwrap();
    let mut units = Vec::new();
    for (key, sprint) in (1..).zip(&sprints) {
        let mut uow = renaming(&bench, key, *sprint).await;
        uow.enqueue(NewJob::new("hand", "what.follows", serde_json::json!({}))).unwrap();
        units.push(uow);
    }

    let done = commit_in_one_group(&bench, units).await;

    assert!(matches!(done[0], Err(Error::Repeated)), "{done:?}");
    assert!(done[1..].iter().all(Result::is_ok), "{done:?}");
    assert_eq!(count(&bench, "select count(*) from job where kind = 'what.follows'").await, 2);
    assert_eq!(used_up(&bench).await, [1, 2, 3].map(Uuid::from_u128));
    bench.holds().await;
}

#[tokio::test]
async fn whoever_was_in_a_group_that_failed_still_has_its_key_and_whoever_is_refused_leaves_it_free() {
    let bench = Bench::start().await;
    let mut units = Vec::new();
    for (key, sprint) in (1..).zip(bench.sprints(3).await) {
        units.push(renaming(&bench, key, sprint).await);
    }
    let mut refused = bench.store().begin(under_key(4));
    // A project without a log has no numbers to give.
    let (nobody, nothing) = (ProjectId(Uuid::from_u128(1)), serde_json::json!({}));
    refused.announce(nobody, "agent", Uuid::from_u128(7), "agent.made.v1", nothing);
    units.push(refused);

    let mut done = commit_in_one_group(&bench, units).await;

    assert!(matches!(done.pop(), Some(Err(Error::Database(_)))));
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(used_up(&bench).await, [1, 2, 3].map(Uuid::from_u128));
    bench.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_while_a_twin_is_under_way_waits_and_is_done_only_where_that_came_to_nothing() {
    for twin_commits in [true, false] {
        let bench = Bench::start().await;
        let sprint = bench.sprint().await;
        let mut twin = bench.store().begin(under_key(1));
        twin.conn().await.unwrap();
        let uow = renaming(&bench, 1, sprint).await;
        let end = async {
            until_waiting(&bench, 1).await;
            if twin_commits {
                twin.commit().await.unwrap();
            } else {
                drop(twin);
            }
        };

        let (done, ()) = futures::join!(uow.commit(), end);

        match done {
            Err(Error::Repeated) if twin_commits => {}
            Ok(_) if !twin_commits => {}
            done => panic!("the twin commits: {twin_commits}, {done:?}"),
        }
        assert_eq!(bench.version(sprint).await, if twin_commits { 1 } else { 2 });
        assert_eq!(keys(&bench).await.len(), 1);
        bench.holds().await;
    }
}

#[tokio::test]
async fn a_key_that_is_kept_no_longer_is_used_up_anew_by_a_command_of_one_statement() {
    let bench = Bench::start().await;
    let sprint = bench.sprint().await;
    for time in ["first", "a day later"] {
        renaming(&bench, 1, sprint).await.commit_with(time).await.unwrap();
        assert_eq!(keys(&bench).await, vec![(Uuid::from_u128(1), serde_json::json!(time))]);
        sqlx::query("update idempotency set answer = '1', created_at = now() - interval '25 hours'")
            .execute(bench.store().pool())
            .await
            .unwrap();
    }
    assert_eq!(bench.version(sprint).await, 3);
    bench.holds().await;
}

#[tokio::test]
async fn a_key_of_a_command_that_writes_nothing_else_is_used_up_as_well() {
    let bench = Bench::start().await;
    bench.store().begin(under_key(1)).commit_with("nothing").await.unwrap();
    assert_eq!(keys(&bench).await, vec![(Uuid::from_u128(1), serde_json::json!("nothing"))]);
    let again = bench.store().begin(under_key(1)).commit_with("nothing").await;
    assert!(matches!(again, Err(Error::Repeated)), "{again:?}");
}
