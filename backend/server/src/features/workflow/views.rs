//! Stories and pull requests as the API shows them.

use super::waits;
use crate::features::runs::{Circumstances, Waiting};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    machine::Machine,
    pull_request::{self, PullRequest},
    run::{self, Run, Wait},
    stage::StageName,
    story::{Phase, Stage, Story, Work},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A story.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Story)]
pub struct StoryView {
    /// Its id.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// 1, 2, 3 ... within the project.
    pub number: i64,
    /// One line.
    pub title: String,
    /// In the client's words.
    pub description: String,
    /// Estimated effort.
    pub points: Option<u16>,
    /// The sprint it is planned in.
    pub sprint_id: Option<Uuid>,
    /// What must be true when it is done.
    pub acceptance_criteria: Vec<String>,
    /// What the design stage decided.
    pub design: Option<String>,
    /// analysis, design, implementation, review, testing, done, blocked, cancelled.
    pub phase: String,
    /// The stage that a blocked story goes back to.
    pub blocked_from: Option<String>,
    /// What is in the way.
    pub blocked_reason: Option<String>,
    /// The version of its last event.
    pub version: i64,
    /// One sentence: what it waits for.
    pub waiting_for: String,
    /// Why it does not go on at this moment, whose move it is, and until when.
    pub waiting: Option<Waiting>,
    /// Who works on it.
    pub owner: Owner,
    /// The current run.
    pub run_id: Option<Uuid>,
    /// The pull request of the current attempt.
    pub pull_request_id: Option<Uuid>,
    /// Its branch.
    pub branch: Option<String>,
    /// The open question.
    pub approval_id: Option<Uuid>,
    /// How often it was sent back to implementation.
    pub round: u32,
    /// When its owner is reminded.
    pub deadline: Option<DateTime<Utc>>,
    /// Somebody pressed start.
    pub started: bool,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Real money so far, in micro-USD.
    pub cost_micro_usd: i64,
    /// What the scripted endpoint would have cost, in micro-USD.
    pub simulated_micro_usd: i64,
    /// The commit that brought it into the default branch.
    pub merge_commit: Option<String>,
}

/// Who works on a story.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Owner {
    /// agent, human or none.
    pub kind: String,
    /// Who.
    pub id: Option<Uuid>,
    /// Their name.
    pub name: Option<String>,
}

/// A story row with what its view needs beside the state.
#[derive(Debug, FromRow)]
pub(super) struct StoryRow {
    pub(super) version: i64,
    pub(super) state: Json<Story>,
    pub(super) run: Option<Json<Run>>,
    pub(super) agent_id: Option<Uuid>,
    pub(super) agent_name: Option<String>,
    pub(super) pull_request_number: Option<i64>,
    pub(super) cost: i64,
    pub(super) simulated: i64,
    /// Who decides, where it is one person.
    pub(super) approver: Option<String>,
    /// The roles of the project's agents, and how many it may have; none of a story as it was.
    #[sqlx(default)]
    pub(super) agents: Option<Vec<String>>,
    #[sqlx(default)]
    pub(super) agent_limit: Option<i64>,
    /// The job that would go on with it.
    #[sqlx(flatten)]
    pub(super) around: Circumstances,
}

impl From<StoryRow> for StoryView {
    fn from(row: StoryRow) -> Self {
        let (waiting_for, waiting) = (waiting_for(&row), waits::waiting(&row));
        let Json(story) = row.state;
        let (stage, work) = match &story.phase {
            Phase::Working { stage, work, .. } => (Some(stage), Some(work)),
            Phase::Blocked { from, .. } => (Some(from), None),
            _ => (None, None),
        };
        let (run_id, approval_id) = match work {
            Some(Work::Running { run, .. }) => (Some(run.0), None),
            Some(Work::Asking { run, approval, .. }) => (Some(run.0), Some(approval.0)),
            _ => (None, None),
        };
        let owner = match (approval_id, row.agent_id) {
            (Some(_), _) => Owner { kind: "human".into(), id: None, name: None },
            (None, Some(id)) if run_id.is_some() => {
                Owner { kind: "agent".into(), id: Some(id), name: row.agent_name }
            }
            _ => Owner { kind: "none".into(), id: None, name: None },
        };
        let (blocked_from, blocked_reason) = match &story.phase {
            Phase::Blocked { from, reason, .. } => {
                (Some(from.name().name().to_owned()), Some(reason.clone()))
            }
            _ => (None, None),
        };
        Self {
            id: story.id.0,
            project_id: story.project.0,
            number: story.number,
            phase: story.phase().to_owned(),
            points: story.points,
            sprint_id: story.sprint.map(|sprint| sprint.0),
            merge_commit: merge_commit(&story.phase, stage),
            deadline: deadline(&story.phase),
            started: !matches!(work, Some(Work::Idle)),
            pull_request_id: story.change.as_ref().map(|change| change.pull_request.0),
            branch: story.change.map(|change| change.branch),
            title: story.title,
            description: story.description,
            acceptance_criteria: story.acceptance,
            design: story.design,
            version: row.version,
            round: story.round,
            created_at: story.created_at,
            updated_at: story.updated_at,
            cost_micro_usd: row.cost,
            simulated_micro_usd: row.simulated,
            waiting_for,
            waiting,
            owner,
            run_id,
            approval_id,
            blocked_from,
            blocked_reason,
        }
    }
}

fn merge_commit(phase: &Phase, stage: Option<&Stage>) -> Option<String> {
    match (phase, stage) {
        (Phase::Done { commit, .. }, _) | (_, Some(Stage::Testing { commit })) => Some(commit.clone()),
        _ => None,
    }
}

pub(super) fn deadline(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Working { work: Work::Idle, .. } => None,
        Phase::Working { stage, since, .. } => Some(*since + stage.name().deadline()),
        _ => None,
    }
}

/// One sentence a client understands: what the story waits for, and since when.
fn waiting_for(row: &StoryRow) -> String {
    let story = &row.state.0;
    match &story.phase {
        Phase::Working { stage, work, .. } => working(row, stage.name(), work),
        Phase::Done { at, .. } => format!("done since {}", clock(*at)),
        Phase::Blocked { reason, at, .. } => format!("blocked since {}: {reason}", clock(*at)),
        Phase::Cancelled { reason, .. } => format!("cancelled: {reason}"),
    }
}

fn working(row: &StoryRow, stage: StageName, work: &Work) -> String {
    let agent = row.agent_name.as_deref().unwrap_or("an agent");
    let approver = row.approver.as_deref().unwrap_or("an approver");
    match work {
        Work::Idle => "waiting for somebody to start it".into(),
        Work::Queued { since } => {
            let role = stage.roles().first().map_or("free", |role| role.name());
            format!("waiting for a free {} since {}", role.replace('_', " "), clock(*since))
        }
        Work::Running { since, .. } => match row.run.as_ref().map(|run| &run.0.phase) {
            Some(run::Phase::Waiting { wait, since, .. }) => {
                format!("{} since {}", paused(wait, approver), clock(*since))
            }
            _ => format!("{agent} works on the {} since {}", stage.name(), clock(*since)),
        },
        Work::Asking { since, .. } => match (stage, row.pull_request_number) {
            (StageName::Review, Some(number)) => {
                format!("waiting for {approver}'s approval of pull request {number} since {}", clock(*since))
            }
            _ => {
                format!("waiting for {approver}'s answer about the {} since {}", stage.name(), clock(*since))
            }
        },
        Work::Merging { since } => {
            let number = row.pull_request_number.unwrap_or_default();
            format!("pull request {number} is in the merge queue since {}", clock(*since))
        }
    }
}

fn paused(wait: &Wait, approver: &str) -> String {
    match wait {
        Wait::Budget { detail } => format!("waiting for budget ({detail})"),
        Wait::RateLimit { until, .. } => format!("waiting for the model providers until {}", clock(*until)),
        Wait::Paused { .. } => "paused by a human".into(),
        Wait::Approval { .. } | Wait::Human { .. } => format!("waiting for {approver}'s answer"),
    }
}

fn clock(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// A pull request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PullRequest)]
pub struct PullRequestView {
    /// Its id.
    pub id: Uuid,
    /// 1, 2, 3 ... within the project.
    pub number: i64,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// The story it is for.
    pub story_id: Option<Uuid>,
    /// One line.
    pub title: String,
    /// What and why.
    pub body: String,
    /// submitted, reviewing, approved, changes_requested, merged, closed.
    pub state: String,
    /// The branch that is offered.
    pub head_branch: String,
    /// The branch that it is offered for.
    pub base_branch: String,
    /// The newest commit of the head branch.
    pub head_commit: String,
    /// The commit that was approved.
    pub approved_commit: Option<String>,
    /// The commit that brought it in.
    pub merge_commit: Option<String>,
    /// The version of its last event.
    pub version: i64,
    /// Remarks, oldest first.
    pub comments: Vec<CommentView>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
}

/// A remark.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Comment)]
pub struct CommentView {
    /// Who.
    pub author: AuthorView,
    /// The remark.
    pub body: String,
    /// The file it is about.
    pub path: Option<String>,
    /// The line it is about.
    pub line: Option<u32>,
    /// old or new.
    pub side: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Who did something.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Author)]
pub struct AuthorView {
    /// agent, user or system.
    #[serde(rename = "type")]
    pub kind: String,
    /// Their id; the system has none.
    pub id: Option<Uuid>,
    /// Their name.
    pub name: String,
}

impl AuthorView {
    /// With a name that was looked up.
    pub fn of(actor: Actor, name: Option<&str>) -> Self {
        let fallback = match actor {
            Actor::System => "Syndarix",
            Actor::Agent(_) => "a former agent",
            Actor::User(_) => "a former user",
        };
        Self { kind: actor.kind().into(), id: actor.id(), name: name.unwrap_or(fallback).to_owned() }
    }
}

impl PullRequestView {
    /// With the names of the people and agents who remarked.
    pub(super) fn of(version: i64, pr: PullRequest, names: &std::collections::HashMap<Uuid, String>) -> Self {
        let name = |actor: Actor| actor.id().and_then(|id| names.get(&id)).map(String::as_str);
        let comments = pr
            .comments
            .iter()
            .map(|comment| CommentView {
                author: AuthorView::of(comment.author, name(comment.author)),
                body: comment.body.clone(),
                path: comment.path.clone(),
                line: comment.line,
                side: side_name(comment.side).into(),
                at: comment.at,
            })
            .collect();
        let state = pr.phase().to_owned();
        let (approved_commit, merge_commit) = match pr.phase {
            pull_request::Phase::Approved { head, .. } => (Some(head), None),
            pull_request::Phase::Merged { commit, .. } => (None, Some(commit)),
            _ => (None, None),
        };
        Self {
            id: pr.id.0,
            number: pr.number,
            project_id: pr.project.0,
            story_id: pr.story.map(|story| story.0),
            title: pr.title,
            body: pr.body,
            state,
            head_branch: pr.head_branch,
            base_branch: pr.base_branch,
            head_commit: pr.head,
            approved_commit,
            merge_commit,
            version,
            comments,
            created_at: pr.created_at,
        }
    }
}

fn side_name(side: syndarix_domain::story::Side) -> &'static str {
    match side {
        syndarix_domain::story::Side::Old => "old",
        syndarix_domain::story::Side::New => "new",
    }
}

/// An event of the history of a story or a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryItem {
    /// Dense within the story or the run.
    pub version: i64,
    /// `story.moved`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: AuthorView,
    /// The payload.
    pub data: Value,
    /// The phase after it.
    pub phase: String,
}
