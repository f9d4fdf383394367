//! One leader at a time, and no writing under a lost lease.

use std::time::Duration;

use syndarix_jobs::{NotLeader, lead};

use crate::harness::{id, on_database};

#[test]
fn a_duty_has_one_holder_and_every_change_of_hands_a_new_epoch() {
    on_database(|pool| async move {
        let (mine, yours) = (id(), id());
        let mut conn = pool.acquire().await.unwrap();
        let short = Duration::from_millis(150);
        let first = lead(&mut conn, "seal", mine, short).await.unwrap().unwrap();
        assert!(lead(&mut conn, "seal", yours, short).await.unwrap().is_none());
        let renewed = lead(&mut conn, "seal", mine, short).await.unwrap().unwrap();
        assert_eq!((first.epoch, renewed.epoch), (1, 1));
        first.hold(&mut conn).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(matches!(first.hold(&mut conn).await, Err(NotLeader::Moved { epoch: 1, .. })));
        let second = lead(&mut conn, "seal", yours, Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(second.epoch, 2);
        assert!(first.hold(&mut conn).await.is_err());
        second.resign(&mut conn).await.unwrap();
        assert_eq!(lead(&mut conn, "seal", mine, short).await.unwrap().unwrap().epoch, 3);
    });
}

#[test]
fn racing_candidates_elect_one() {
    on_database(|pool| async move {
        let candidate = || async {
            lead(&mut pool.acquire().await.unwrap(), "relay", id(), Duration::from_secs(60))
                .await
                .unwrap()
                .is_some()
        };
        let (a, b, c, d) = tokio::join!(candidate(), candidate(), candidate(), candidate());
        assert_eq!([a, b, c, d].into_iter().filter(|elected| *elected).count(), 1);
    });
}
