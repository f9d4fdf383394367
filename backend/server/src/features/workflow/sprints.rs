//! Sprints: what follows from a human's answer about starting or completing one.

use crate::db::{Error, Uow};
use syndarix_domain::{
    approval::Approval,
    ids::SprintId,
    sprint::{Command, Sprint},
};
use uuid::Uuid;

/// Starts or completes the sprint when a human agreed; notes it when not.
pub async fn answer_sprint(
    uow: &mut Uow,
    approval: &Approval,
    sprint: SprintId,
    complete: bool,
    approved: bool,
) -> Result<(), Error> {
    let project = approval.request.project;
    let command = if !approved {
        Command::Decline { approval: approval.request.id }
    } else if complete {
        let (unfinished, points) = stories(uow, approval, sprint).await?;
        Command::Complete { unfinished, points, gate: None }
    } else {
        let stories: i64 = sqlx::query_scalar(
            "select count(*) from story where project_id = $1 and state ->> 'sprint' = $2 and phase <> 'cancelled'",
        )
        .bind(project.0)
        .bind(sprint.to_string())
        .fetch_one(uow.conn())
        .await?;
        Command::Start { stories: u32::try_from(stories).unwrap_or(u32::MAX), gate: None }
    };
    uow.tell::<Sprint>(project, sprint, &command).await
}

async fn stories(
    uow: &mut Uow,
    approval: &Approval,
    sprint: SprintId,
) -> Result<(Vec<syndarix_domain::ids::StoryId>, u32), Error> {
    let rows: Vec<(Uuid, String, Option<i64>)> = sqlx::query_as(
        "select id, phase, (state ->> 'points')::bigint from story where project_id = $1 and state ->> 'sprint' = $2",
    )
    .bind(approval.request.project.0)
    .bind(sprint.to_string())
    .fetch_all(uow.conn())
    .await?;
    let unfinished = rows
        .iter()
        .filter(|row| !matches!(row.1.as_str(), "done" | "cancelled"))
        .map(|row| row.0.into())
        .collect();
    let points = rows.iter().filter(|row| row.1 == "done").filter_map(|row| u32::try_from(row.2?).ok()).sum();
    Ok((unfinished, points))
}
