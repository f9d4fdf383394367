//! Places are shared between projects by their weights, and nobody starves.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use sqlx::PgPool;
use syndarix_jobs::{Claim, Cursor, Job, Lease, set_share};
use uuid::Uuid;

use crate::harness::{enqueue, enqueue_all, id, job, on_database};

async fn claim(pool: &PgPool, cursor: &mut Cursor, limit: usize) -> Vec<(Job, Lease)> {
    let limit = u16::try_from(limit).unwrap();
    let wanted = Claim { queue: "default", owner: id(), limit, lease: Duration::from_secs(60) };
    syndarix_jobs::claim(&mut pool.acquire().await.unwrap(), wanted, cursor).await.unwrap().jobs
}

/// Keeps `places` occupied while jobs end at random; returns how many places each project had, summed over the rounds.
async fn occupied(pool: &PgPool, places: usize, ends: impl Fn(&Job) -> f64) -> HashMap<Uuid, usize> {
    let (mut running, mut held) = (Vec::new(), HashMap::new());
    for _ in 0..60 {
        // A cursor of its own: what runs is counted anew each time, not once a second.
        running.extend(claim(pool, &mut Cursor::default(), places - running.len()).await);
        for (job, _) in &running {
            *held.entry(job.project.unwrap()).or_default() += 1;
        }
        running.shuffle(&mut rand::rng());
        let (ended, left): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(job, _)| rand::rng().random_bool(ends(job)));
        let leases: Vec<_> = ended.iter().map(|(_, lease)| *lease).collect();
        Lease::complete_all(&mut pool.acquire().await.unwrap(), &leases).await.unwrap();
        running = left;
    }
    held
}

fn ratio(held: &HashMap<Uuid, usize>, one: Uuid, other: Uuid) -> f64 {
    f64::from(u32::try_from(held[&one]).unwrap()) / f64::from(u32::try_from(held[&other]).unwrap())
}

#[test]
fn a_project_of_weight_three_has_three_times_the_places_of_another() {
    on_database(|pool| async move {
        let (heavy, usual) = (id(), id());
        set_share(&mut pool.acquire().await.unwrap(), heavy, 3.0).await.unwrap();
        enqueue_all(&pool, &vec![job("x").for_project(usual); 1_500]).await;
        enqueue_all(&pool, &vec![job("x").for_project(heavy); 1_500]).await;
        let shares = ratio(&occupied(&pool, 20, |_| 0.4).await, heavy, usual);
        assert!((2.5..3.5).contains(&shares), "{shares}");
    });
}

#[test]
fn jobs_that_take_five_times_as_long_and_a_longer_backlog_get_no_more_places() {
    on_database(|pool| async move {
        let (slow, quick) = (id(), id());
        enqueue_all(&pool, &vec![job("slow").for_project(slow); 3_000]).await;
        enqueue_all(&pool, &vec![job("quick").for_project(quick); 900]).await;
        let held = occupied(&pool, 20, |job| if job.kind == "slow" { 0.1 } else { 0.5 }).await;
        let shares = ratio(&held, slow, quick);
        assert!((0.8..1.25).contains(&shares), "{shares}");
    });
}

#[test]
fn a_single_job_is_next_beside_ten_thousand_of_the_heaviest_weight() {
    on_database(|pool| async move {
        let (crowd, single) = (id(), id());
        set_share(&mut pool.acquire().await.unwrap(), crowd, 100.0).await.unwrap();
        enqueue_all(&pool, &vec![job("x").for_project(crowd); 10_000]).await;
        let mut cursor = Cursor::default();
        let running = claim(&pool, &mut cursor, 2).await;
        enqueue(&pool, &job("one").for_project(single)).await;
        running[0].1.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
        assert_eq!(claim(&pool, &mut Cursor::default(), 1).await[0].0.project, Some(single));
    });
}
