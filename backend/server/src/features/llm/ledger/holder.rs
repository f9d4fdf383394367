//! Which processes still hold reservations: each says so every few seconds. What a process that went silent has reserved
//! is nobody's call any more.

use crate::state::App;
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// How often a process says that it is there.
const EVERY: Duration = Duration::from_secs(5);

/// Says once that this process is there.
pub async fn beat(pool: &PgPool, instance: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into reservation_holder (instance, last_seen) values ($1, now())
         on conflict (instance) do update set last_seen = now()",
    )
    .bind(instance)
    .execute(pool)
    .await?;
    Ok(())
}

/// Says so until the process ends.
pub fn spawn_beat(app: &App, tasks: &TaskTracker, ending: CancellationToken) {
    let app = app.clone();
    tasks.spawn(async move {
        loop {
            if let Err(error) = beat(app.pool(), app.instance).await {
                app.store.refusals().note(&error);
                tracing::warn!(%error, "cannot say that this process holds its reservations");
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}
