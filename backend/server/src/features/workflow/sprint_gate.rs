//! Asking a human before a sprint starts or is completed, and what follows from the answer.

use super::queries::{self, SprintStory};
use crate::{
    db::{Error, Uow},
    features::approvals,
};
use serde_json::json;
use syndarix_domain::{
    approval::{Approval, Subject},
    ids::{ApprovalId, ProjectId, SprintId, StoryId},
    policy::{Action, Verdict},
    sprint::{Command, Sprint},
};
use uuid::Uuid;

/// The question about starting or completing a sprint with these stories, where the policy wants one.
pub(super) async fn gate(
    uow: &mut Uow,
    project: ProjectId,
    (sprint, stories): (Uuid, &[SprintStory]),
    complete: bool,
) -> Result<Option<ApprovalId>, Error> {
    let action = if complete { Action::SprintComplete } else { Action::SprintStart };
    let Verdict::Ask { category, rule } = approvals::verdict(uow, project, action, None).await? else {
        return Ok(None);
    };
    let state: Sprint = uow.load(project, sprint).await?;
    if state.asked.is_some() {
        // The machine says so; a second question is not written for it.
        return Ok(state.asked);
    }
    let question = approvals::Question {
        subject: Subject::Sprint { sprint: state.id, complete },
        action,
        category,
        rule,
        title: format!("{} sprint {}", if complete { "Complete" } else { "Start" }, state.name),
        summary: state.goal.clone(),
        story: None,
        pull_request: None,
        arguments: json!({
            "sprint": state.name, "goal": state.goal, "starts_on": state.starts_on, "ends_on": state.ends_on,
            "stories": stories,
        }),
        editable: false,
        confidence: None,
        alternatives: Vec::new(),
    };
    let id = ApprovalId(uow.new_id());
    approvals::ask(uow, project, id, question).await?;
    Ok(Some(id))
}

/// Starts or completes the sprint when a human agreed; notes it when not. What the machine refuses is no decision: whoever
/// decides is told why.
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
        let stories = queries::lock_stories_of_sprint(uow, project, sprint.0).await?;
        let (unfinished, points) = outcome(&stories);
        Command::Complete { unfinished, points, gate: None }
    } else {
        let stories = queries::lock_stories_of_sprint(uow, project, sprint.0).await?.len();
        Command::Start { stories: u32::try_from(stories).unwrap_or(u32::MAX), gate: None }
    };
    uow.execute::<Sprint>(project, sprint, &command).await?;
    Ok(())
}

/// The stories that are not done, and the points of those that are.
pub(super) fn outcome(stories: &[SprintStory]) -> (Vec<StoryId>, u32) {
    let unfinished = stories.iter().filter(|story| !story.done).map(|story| StoryId(story.id)).collect();
    let points =
        stories.iter().filter(|story| story.done).filter_map(|story| u32::try_from(story.points?).ok());
    (unfinished, points.sum())
}
