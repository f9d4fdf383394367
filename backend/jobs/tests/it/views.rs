//! What people see of the queues.

use std::time::Duration;

use syndarix_jobs::{
    Filter, JobState, NewJob, QueueConfig, Registry, WorkerConfig, list, list_dead, queue_stats, workers,
};

use crate::harness::{claim, enqueue_all, id, job, on_database, quick, start, until_count};

#[test]
fn stats_and_lists_show_every_state() {
    on_database(|pool| async move {
        let project = id();
        let tomorrow = sqlx::query_scalar("select now() + interval '1 day'").fetch_one(&pool).await.unwrap();
        enqueue_all(&pool, &[job("a"), job("b").for_project(project), job("c").not_before(tomorrow)]).await;
        enqueue_all(&pool, &[NewJob::new("git", "d", serde_json::json!({}))]).await;
        assert_eq!(claim(&pool, id(), 1).await.len(), 1);
        let mut conn = pool.acquire().await.unwrap();
        let stats = queue_stats(&mut conn).await.unwrap();
        let counts: Vec<_> = stats
            .iter()
            .map(|queue| (queue.queue.as_str(), queue.ready, queue.delayed, queue.running))
            .collect();
        assert_eq!(counts, [("default", 1, 1, 1), ("git", 1, 0, 0)]);
        assert!(stats.iter().all(|queue| queue.oldest_ready_seconds >= 0.0));

        let running = Filter { state: Some(JobState::Running), ..Filter::default() };
        assert_eq!(list(&mut conn, &running).await.unwrap().len(), 1);
        let of_project =
            list(&mut conn, &Filter { project: Some(project), ..Filter::default() }).await.unwrap();
        assert_eq!(of_project.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["b"]);
        let first = list(&mut conn, &Filter { limit: Some(3), ..Filter::default() }).await.unwrap();
        let rest = Filter { before: Some(first[2].id), limit: Some(3), ..Filter::default() };
        assert_eq!(list(&mut conn, &rest).await.unwrap().len(), 1);
        let json = serde_json::to_value(&first[0]).unwrap();
        assert_eq!((json["state"].as_str(), json["priority"].as_str()), (Some("ready"), Some("normal")));
    });
}

#[test]
fn a_worker_says_which_queues_it_polls_and_an_older_one_is_believed_to_poll_all() {
    on_database(|pool| async move {
        let queues = vec![QueueConfig::new("git", 2), QueueConfig::new("idle", 0)];
        let worker = start(&pool, &Registry::new(), WorkerConfig { queues, ..quick("new", 1) });
        until_count(&pool, "select count(*) from worker", 1).await;
        sqlx::query("insert into worker (incarnation, name, lock_key) values ($1, 'old', 1)")
            .bind(id())
            .execute(&pool)
            .await
            .unwrap();
        let mut conn = pool.acquire().await.unwrap();
        let found = workers(&mut conn).await.unwrap();
        let polls = |name: &str, queue: &str| {
            found.iter().find(|worker| worker.name == name).is_some_and(|worker| worker.polls(queue))
        };
        assert!(polls("new", "git") && !polls("new", "idle") && !polls("new", "sync"));
        assert!(polls("old", "sync"), "it did not say");
        drop(conn);
        assert!(worker.shutdown(Duration::from_secs(2)).await.clean);
    });
}

#[test]
fn lists_go_on_when_a_newer_release_adds_columns() {
    on_database(|pool| async move {
        enqueue_all(&pool, &[job("a")]).await;
        let (mut conn, all) = (pool.acquire().await.unwrap(), Filter::default());
        list(&mut conn, &all).await.unwrap();
        list_dead(&mut conn, &all).await.unwrap();
        for newer in
            ["alter table job add column newer integer", "alter table job_dead add column newer integer"]
        {
            sqlx::query(newer).execute(&pool).await.unwrap();
        }
        assert_eq!(list(&mut conn, &all).await.unwrap().len(), 1);
        assert_eq!(list_dead(&mut conn, &all).await.unwrap().len(), 0);
    });
}
