//! How events change a pull request. Total: what does not fit changes nothing.

use super::types::{Event, Phase, PullRequest};

pub(super) fn evolve(state: Option<PullRequest>, event: &Event) -> Option<PullRequest> {
    if let Event::Upgraded(upgraded) = event {
        return upgraded.apply(state);
    }
    let Some(mut pr) = state else {
        return match event {
            Event::Submitted { pull_request: new, at } => Some(PullRequest {
                id: new.id,
                project: new.project,
                story: new.story,
                number: new.number,
                title: new.title.clone(),
                body: new.body.clone(),
                head_branch: new.head_branch.clone(),
                base_branch: new.base_branch.clone(),
                head: new.head.clone(),
                comments: Vec::new(),
                phase: Phase::Submitted,
                created_at: *at,
                updated_at: *at,
            }),
            _ => None,
        };
    };
    // Remarks may follow the end; nothing else does.
    if pr.phase.is_terminal() && !matches!(event, Event::Commented { .. }) {
        return Some(pr);
    }
    pr.updated_at = match event {
        Event::Submitted { .. } | Event::Upgraded(_) => pr.updated_at,
        Event::Reviewing { at } => {
            pr.phase = Phase::Reviewing;
            *at
        }
        Event::Pushed { head, at } => {
            pr.head.clone_from(head);
            *at
        }
        Event::Approved { head, at } => {
            pr.phase = Phase::Approved { head: head.clone(), merging: false };
            *at
        }
        Event::ChangesRequested { at, .. } => {
            pr.phase = Phase::ChangesRequested;
            *at
        }
        Event::Merging { at } => {
            if let Phase::Approved { merging, .. } = &mut pr.phase {
                *merging = true;
            }
            *at
        }
        Event::Merged { commit, at } => {
            pr.phase = Phase::Merged { commit: commit.clone(), at: *at };
            *at
        }
        Event::Commented { comment } => {
            pr.comments.push(comment.clone());
            comment.at
        }
        Event::Closed { at } => {
            pr.phase = Phase::Closed { at: *at };
            *at
        }
    };
    Some(pr)
}
