//! The safety net: reads from the log whatever no hint has brought.

use crate::{Committed, Health, Hub, Log, LogError, channel::Channel};
use std::time::Duration;
use syndarix_domain::ids::ProjectId;
use tokio::time::Instant;

/// How often the log's ends are looked at while hints arrive.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// The same while they do not.
const QUICK_POLL: Duration = Duration::from_millis(200);
/// Two commits of one moment may tell of themselves in the wrong order: the other one is given this long.
const PATIENCE: Duration = Duration::from_millis(5);
/// Events that one read brings.
const PAGE: i64 = 256;

/// Runs until it is dropped.
pub(crate) async fn run(hub: &Hub, log: &Log) {
    let mut polled = Instant::now();
    loop {
        let period = if hub.health() == Health::Hints { IDLE_POLL } else { QUICK_POLL };
        tokio::select! {
            () = hub.gap() => tokio::time::sleep(PATIENCE).await,
            () = tokio::time::sleep_until(polled + period) => {}
        }
        let listened = hub.listened();
        // Gaps that come thick and fast must not put off the poll that finds what nobody told of.
        let due = polled.elapsed() >= period;
        if due {
            polled = Instant::now();
        }
        if let Err(error) = catch_up(log, &listened, due).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "live events: cannot read the log");
            tokio::time::sleep(QUICK_POLL).await;
        }
    }
}

async fn catch_up(
    log: &Log,
    listened: &[(ProjectId, std::sync::Arc<Channel>)],
    due: bool,
) -> Result<(), LogError> {
    if due && !listened.is_empty() {
        let projects: Vec<ProjectId> = listened.iter().map(|(project, _)| *project).collect();
        let heads = log.heads(&projects).await?;
        for (project, channel) in listened {
            if let Some(head) = heads.get(project) {
                channel.settle(*head);
            }
        }
    }
    for (project, channel) in listened {
        fill(log, *project, channel).await?;
    }
    Ok(())
}

async fn fill(log: &Log, project: ProjectId, channel: &Channel) -> Result<(), LogError> {
    while let Some(last) = channel.behind() {
        let page = log.after(project, last, PAGE).await?;
        if page.is_empty() {
            channel.ends(last);
            return Ok(());
        }
        channel.offer(page.into_iter().map(Committed::new));
        if channel.behind() == Some(last) {
            tracing::error!(%project, after = last, "the event log has a hole");
            return Ok(());
        }
    }
    Ok(())
}
