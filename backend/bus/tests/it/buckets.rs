//! Buckets between processes over a real Redis, also while it dies.

use crate::harness::{Redis, until};
use futures::future::join_all;
use syndarix_bus::{Buckets, Correction, Take, Taken};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn process(redis: &Redis) -> (Buckets, JoinSet<()>) {
    let buckets = Buckets::new("test");
    let mut task = JoinSet::new();
    task.spawn(buckets.clone().run(redis.url(), CancellationToken::new()));
    (buckets, task)
}

fn one(size: u32) -> [Take; 1] {
    [Take { bucket: "calls", size, least: 1.0, amount: 1.0 }]
}

#[tokio::test]
async fn processes_together_get_no_more_than_is_in_the_bucket() {
    let redis = Redis::start().await;
    let ((here, _here), (there, _there)) = (process(&redis), process(&redis));
    until(|| here.are_shared() && there.are_shared()).await;
    let asking = one(50);
    let asked = (0..60).flat_map(|_| [here.take("a", &asking), there.take("a", &asking)]);
    let got: Vec<Taken> = join_all(asked).await.into_iter().flatten().collect();
    let taken = got.iter().filter(|one| one.is_taken).count();
    // A little flows in while they ask.
    assert!(got.len() == 120 && (50..=55).contains(&taken), "{taken} of {}", got.len());
    assert!(there.take("b", &asking).await.unwrap().is_taken, "another owner's is another");
}

#[tokio::test]
async fn nothing_is_taken_unless_all_is_there_and_a_debt_is_remembered() {
    let redis = Redis::start().await;
    let (buckets, _task) = process(&redis);
    until(|| buckets.are_shared()).await;
    let take = |bucket, size, least, amount| Take { bucket, size, least, amount };
    let debt = [take("tokens", 60, f64::NEG_INFINITY, 600.0)];
    let after = buckets.take("a", &debt).await.unwrap();
    assert!(after.is_taken && (after.left[0] + 540.0).abs() < 5.0, "{after:?}");
    let both = [take("tokens", 60, 1.0, 0.0), take("calls", 10, 1.0, 1.0)];
    let refused = buckets.take("a", &both).await.unwrap();
    assert!(!refused.is_taken && (refused.left[1] - 10.0).abs() < 0.1, "{refused:?}");
    let larger = [take("tokens", 90, 1.0, 0.0), take("calls", 10, 1.0, 1.0)];
    let begun_anew = buckets.take("a", &larger).await.unwrap();
    assert!(begun_anew.is_taken, "another size begins full: {begun_anew:?}");
}

#[tokio::test]
async fn without_redis_there_is_no_answer_and_when_it_is_back_there_is() {
    let mut redis = Redis::start().await;
    let (buckets, _task) = process(&redis);
    until(|| buckets.are_shared()).await;
    assert!(buckets.take("a", &one(1)).await.unwrap().is_taken);
    redis.kill();
    assert_eq!(buckets.take("a", &one(1)).await, None);
    assert_eq!(buckets.take("a", &one(1)).await, None);
    redis.restart().await;
    until(|| buckets.are_shared()).await;
    assert!(buckets.take("a", &one(1)).await.unwrap().is_taken, "it has forgotten everything");
}

#[tokio::test]
async fn what_was_taken_is_corrected_up_to_what_the_bucket_holds_and_never_in_one_of_another_size() {
    let redis = Redis::start().await;
    let (buckets, _task) = process(&redis);
    until(|| buckets.are_shared()).await;
    let take = |least, amount| [Take { bucket: "tokens", size: 600, least, amount }];
    let correct = async |size, amount| {
        let since = buckets.take("a", &take(f64::MIN, 0.0)).await.unwrap().moments[0];
        buckets.correct("a", Correction { bucket: "tokens", size, amount, since }).await.unwrap();
        buckets.take("a", &take(f64::MIN, 0.0)).await.unwrap().left[0]
    };
    assert!(buckets.take("a", &take(600.0, 600.0)).await.unwrap().is_taken);
    assert!(!buckets.take("a", &take(400.0, 400.0)).await.unwrap().is_taken);
    // Ten a second flow in.
    let given_back = correct(600, -400.0).await;
    assert!((400.0..500.0).contains(&given_back), "{given_back}");
    let used_beside = correct(600, 900.0).await;
    assert!((-500.0..-300.0).contains(&used_beside), "{used_beside}");
    let full = correct(600, -9_000.0).await;
    assert!((full - 600.0).abs() < 0.1, "{full}");
    let untouched = correct(900, 500.0).await;
    assert!((untouched - 600.0).abs() < 0.1, "{untouched}");
}

#[tokio::test]
async fn what_has_flowed_in_again_since_it_was_taken_is_not_given_back_as_well() {
    let redis = Redis::start().await;
    let (buckets, _task) = process(&redis);
    until(|| buckets.are_shared()).await;
    // Ten a second flow in.
    let take = |amount| [Take { bucket: "tokens", size: 600, least: f64::MIN, amount }];
    let taken = async |amount| buckets.take("a", &take(amount)).await.unwrap();
    let give_back = async |amount: f64, since| {
        let correction = Correction { bucket: "tokens", size: 600, amount: -amount, since };
        buckets.correct("a", correction).await.unwrap();
    };
    let (long, other) = (taken(600.0).await.moments[0], taken(0.0).await.moments[0]);
    assert!(other > long);
    // Another's end fills the bucket, as a minute would.
    give_back(600.0, other).await;
    let next = taken(600.0).await;
    assert!(next.left[0] < 1.0, "{next:?}");
    give_back(500.0, long).await;
    let left = taken(0.0).await.left[0];
    assert!(left < 100.0, "it was full since: {left}");
    give_back(500.0, next.moments[0]).await;
    let left = taken(0.0).await.left[0];
    assert!(left > 499.0, "it has been empty since: {left}");
}

#[tokio::test]
async fn a_bucket_that_is_soon_full_does_not_take_the_others_of_its_owner_with_it() {
    let redis = Redis::start().await;
    let (buckets, _task) = process(&redis);
    until(|| buckets.are_shared()).await;
    buckets.take("a", &one(1)).await.unwrap();
    buckets.take("a", &[Take { bucket: "tokens", size: 1_000_000, least: 1.0, amount: 1.0 }]).await.unwrap();
    buckets
        .correct("a", Correction { bucket: "tokens", size: 1_000_000, amount: 1.0, since: 0 })
        .await
        .unwrap();
    let mut connection =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let kept: i64 = redis::cmd("PTTL").arg("syndarix_test:a").query_async(&mut connection).await.unwrap();
    assert!(kept > 20_000, "the calls need a minute to fill up: {kept} ms");
}
