//! A sealer that has much to catch up with.

use super::{sealed, sealing, tamper};
use crate::{
    events::{happen, person, project},
    support::TestApp,
};

#[tokio::test]
async fn whatever_there_is_to_catch_up_with_every_project_has_its_turn_and_no_block_is_large() {
    /// More than a batch has events, and more projects than it has places.
    const MANY: i64 = 4_500;
    const PROJECTS: usize = 18;
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let busy = project(&app, &maria).await;
    happen(&app, busy, MANY).await;
    let mut quiet = Vec::new();
    for _ in 1..PROJECTS {
        quiet.push(project(&app, &maria).await);
    }
    for project in &quiet {
        happen(&app, *project, 3).await;
    }

    let _sealer = sealing(&app);

    for (project, events) in quiet.iter().map(|project| (*project, 3)).chain([(busy, MANY.unsigned_abs())]) {
        let report = sealed(&app, project, events).await;
        assert_eq!((report.entries, report.unsealed, report.first_bad), (events, 0, None));
    }
    let (largest, sealed): (i32, i64) = sqlx::query_as("select max(events), sum(events) from audit_block")
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!((largest, sealed), (1_000, MANY + 3 * 17));
}

#[tokio::test]
async fn projects_whose_events_were_taken_away_keep_no_other_waiting() {
    /// As many as a batch has places for, all of them further behind than the others.
    const HOLLOW: usize = 16;
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    for _ in 0..HOLLOW {
        let hollow = project(&app, &maria).await;
        happen(&app, hollow, 5).await;
    }
    tamper(&app, "delete from event").await;
    let whole = project(&app, &maria).await;
    happen(&app, whole, 2).await;

    let _sealer = sealing(&app);

    let report = sealed(&app, whole, 2).await;
    assert_eq!((report.entries, report.unsealed, report.first_bad), (2, 0, None));
}
