//! Why a story does not go on at this moment: whose move it is, and until when. While a run works on it, that is what
//! its run waits for.

use super::views::{StoryRow, deadline};
use crate::features::runs::{self, Waiting};
use syndarix_domain::{
    Timestamp,
    stage::{Room, StageName},
    story::{Phase, Story, Work},
};

/// Which job would go on with a story `s`, by its concurrency key: that of its stage, of its run, or of its merge.
const KEY: &str = "case s.state #>> '{phase,work,name}' when 'queued' then 'story:' || s.id
                        when 'merging' then 'merge:' || s.project_id else 'run:' || r.id end";
/// All merges of a project have one key.
const ITS_OWN: &str = "(s.state #>> '{phase,work,name}' is distinct from 'merging'
                        or job.payload ->> 'pull_request' = s.state #>> '{change,pull_request}')";
const AT_WORK: &str = "s.phase not in ('done', 'blocked', 'cancelled')";

/// What [`waiting`] needs beside the state, for a story `s` of the project `$1` with its run `r`. What is of the project is
/// looked up once.
pub(super) fn columns() -> String {
    format!(
        "{}, case when s.state #>> '{{phase,work,name}}' = 'queued' then
                array(select role from agent where project_id = $1 and status <> 'terminated') end as agents,
         (select agent_limit::bigint from project where id = $1) as agent_limit",
        runs::WAITING
    )
}

/// Where that stands.
pub(super) fn joins() -> String {
    runs::joins(KEY, ITS_OWN, AT_WORK)
}

/// `None` for a story that is over, and while somebody works on it.
pub(super) fn waiting(row: &StoryRow) -> Option<Waiting> {
    let story = &row.state.0;
    match &story.phase {
        Phase::Working { stage, work, since } => match work {
            Work::Idle => Some(of("start", "member", "somebody has to start it".into(), *since)),
            Work::Queued { since } => queued(row, stage.name(), *since),
            Work::Running { .. } | Work::Asking { .. } => {
                let run = row.run.as_ref()?;
                runs::waiting(&run.0.phase, &row.around)
            }
            Work::Merging { .. } => reminded(story, runs::held_up(&row.around)),
        },
        Phase::Blocked { reason, at, .. } => Some(of("blocked", "member", reason.clone(), *at)),
        Phase::Done { .. } | Phase::Cancelled { .. } => None,
    }
}

/// The stage's job looks for an agent every few seconds: what is in its way is said, not that it looks again.
fn queued(row: &StoryRow, stage: StageName, since: Timestamp) -> Option<Waiting> {
    let Some(held_up) = runs::held_up(&row.around) else {
        let looked_for = of("agent", "syndarix", "an agent is looked for".into(), since);
        return reminded(&row.state.0, Some(looked_for));
    };
    let looks_for_agent = held_up.on == "retry" && held_up.job.as_ref().is_some_and(|job| job.attempts == 0);
    if !looks_for_agent {
        return reminded(&row.state.0, Some(held_up));
    }
    // Put off or not, nobody is there who would look.
    if let Some(job) = held_up.job.as_ref().filter(|job| !job.polled) {
        let detail = format!("no worker is polling the queue {}", job.queue);
        let waiting = Waiting { job: held_up.job.clone(), ..of("queue", "operator", detail, since) };
        return reminded(&row.state.0, Some(waiting));
    }
    let detail = nobody_free(stage, row.agents.as_deref().unwrap_or_default(), row.agent_limit);
    let waiting = Waiting { job: held_up.job, ..of("agent", "admin", detail, since) };
    reminded(&row.state.0, Some(waiting))
}

/// Why no agent takes a stage, and what would help.
fn nobody_free(stage: StageName, agents: &[String], limit: Option<i64>) -> String {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let (name, role) = (stage.name(), stage.roles()[0].name());
    match Room::of(stage, agents, limit) {
        Room::Full if stage.is_worked_by(agents) => format!(
            "every agent that could work on {name} is busy, and the project has all {limit} agents that it may have"
        ),
        Room::Full => format!(
            "nobody in the project can work on {name}, which takes a {role}, and it has all {limit} agents that it may have: \
             raise the limit, or terminate an agent that is not needed"
        ),
        Room::Kept => format!(
            "every agent that could work on {name} is busy, and the places that are left are for stages that nobody can work yet"
        ),
        Room::Free => {
            format!("no agent is free to work on {name}, and no active agent type can make another one")
        }
    }
}

fn of(on: &str, owner: &str, detail: String, since: Timestamp) -> Waiting {
    Waiting { since: Some(since), ..Waiting::new(on, owner, detail, None) }
}

/// Where nothing else happens by itself before, somebody is reminded of the stage at its deadline.
fn reminded(story: &Story, waiting: Option<Waiting>) -> Option<Waiting> {
    let waiting = waiting?;
    Some(Waiting { deadline: waiting.deadline.or_else(|| deadline(&story.phase)), ..waiting })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_agent_is_told_what_would_help() {
        let roles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let four = roles(&["analyst", "architect", "engineer", "reviewer"]);
        let said = |agents: &[String], limit| nobody_free(StageName::Testing, agents, Some(limit));
        assert!(said(&four, 4).contains("nobody in the project can work on testing, which takes a qa"));
        assert!(said(&four, 4).contains("raise the limit"));
        assert!(said(&four, 5).contains("no active agent type can make another one"));
        let with_qa = roles(&["analyst", "qa"]);
        assert!(said(&with_qa, 2).contains("is busy, and the project has all 2 agents"));
        assert!(said(&with_qa, 5).contains("for stages that nobody can work yet"));
    }
}
