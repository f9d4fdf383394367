//! Questions as the API shows them.

use super::{
    consequences::{Consequences, consequences},
    queries::Place,
};
use crate::features::{
    costs::BudgetView,
    runs::RunDetail,
    workflow::{AuthorView, DiffView, PullRequestView, StoryView},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use std::collections::HashMap;
use syndarix_domain::{
    actor::Actor,
    approval::{Approval, Phase, Subject},
    machine::Machine as _,
    policy::Category,
    story::{LineComment, Side},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A question to a human.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    /// Its id.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// That project's name.
    pub project_name: String,
    /// Why it is asked: critical, milestone, routine, uncertainty, expertise.
    pub category: String,
    /// Where the inbox shows it: critical, milestone, routine.
    pub lane: String,
    /// What would be done.
    pub action: String,
    /// One line.
    pub title: String,
    /// What a human needs to know.
    pub summary: String,
    /// Who asks.
    pub requested_by: AuthorView,
    /// The story that it is about.
    pub story_id: Option<Uuid>,
    /// The pull request that it is about.
    pub pull_request_id: Option<Uuid>,
    /// The run that waits.
    pub run_id: Option<Uuid>,
    /// pending, approved, approved_with_changes, changes_requested, rejected, expired, cancelled, superseded.
    pub state: String,
    /// What a decision binds to; send it back with the decision.
    pub digest: String,
    /// What exactly is asked for.
    pub arguments: Value,
    /// `approved_with_changes` is possible.
    pub arguments_editable: bool,
    /// Which rule asked.
    pub policy: PolicyView,
    /// What happens on each answer.
    pub consequences: Consequences,
    /// How sure the agent is, 0 to 1.
    pub confidence: Option<f64>,
    /// What else could be done.
    pub alternatives: Vec<String>,
    /// Real money that the run has cost so far, in micro-USD.
    pub cost_micro_usd: i64,
    /// What the scripted endpoint would have cost, in micro-USD.
    pub simulated_micro_usd: i64,
    /// The project's budget.
    pub budget: Option<BudgetView>,
    /// The question that took the place of this one, which is superseded.
    pub superseded_by: Option<Uuid>,
    /// Where lists show it.
    #[serde(skip)]
    pub(super) rank: i64,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// When people are reminded.
    pub remind_at: Option<DateTime<Utc>>,
    /// When it lapses; that is never consent.
    pub expires_at: Option<DateTime<Utc>>,
    /// The answer.
    pub decided: Option<DecidedView>,
    /// The remarks that came with the answer.
    pub comments: Vec<RemarkView>,
}

/// The rule that asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// The project's autonomy level: full_control, milestone, autonomous.
    pub autonomy: String,
    /// The rule, as a sentence, as it was when it asked.
    pub rule: String,
}

/// Who answered what.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DecidedView {
    /// Who.
    pub by: PersonView,
    /// When.
    pub at: DateTime<Utc>,
    /// approved, approved_with_changes, changes_requested, rejected.
    pub outcome: String,
    /// Why, in their words.
    pub note: String,
    /// The arguments that hold, where they were changed.
    pub arguments: Option<Value>,
}

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    /// Their id.
    pub id: Uuid,
    /// Their name.
    pub name: String,
}

/// A remark on a line of a diff.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LineRemark)]
#[serde(deny_unknown_fields)]
pub struct RemarkView {
    /// The file, as the diff names it.
    pub path: String,
    /// The line on that side, from 1.
    pub line: Option<u32>,
    /// The side that the line counts on: old or new.
    #[serde(default = "new_side")]
    #[schema(example = "new")]
    pub side: String,
    /// The remark.
    pub body: String,
}

fn new_side() -> String {
    "new".into()
}

impl RemarkView {
    pub(super) fn of(comment: &LineComment) -> Self {
        let side = match comment.side {
            Side::Old => "old",
            Side::New => "new",
        };
        Self { path: comment.path.clone(), line: comment.line, side: side.into(), body: comment.body.clone() }
    }
}

/// A question with everything that is needed to answer it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApprovalDetail {
    /// The question.
    #[serde(flatten)]
    pub approval: ApprovalView,
    /// What is asked for, as it is best shown; null where the diff says it all.
    pub payload: Value,
    /// The change that is asked about, at the head that was asked for.
    pub diff: Option<DiffView>,
    /// Why there is no diff although there should be one.
    pub diff_unavailable: Option<String>,
    /// The run that waits.
    pub run: Option<RunDetail>,
    /// The story that it is about.
    pub story: Option<StoryView>,
    /// The pull request that it is about.
    pub pull_request: Option<PullRequestView>,
    /// What happened to the question.
    pub timeline: Vec<TimelineEntry>,
}

/// Something that happened to a question.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// `approval.requested`, `approval.reminded` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Who.
    pub actor: AuthorView,
    /// In words.
    pub text: String,
}

/// A question's row with what its view needs beside the state.
#[derive(Debug, FromRow)]
pub(super) struct ApprovalRow {
    pub(super) state: Json<Approval>,
    pub(super) project_name: String,
    pub(super) autonomy: String,
    pub(super) pull_request_number: Option<i64>,
    pub(super) base_branch: Option<String>,
    pub(super) cost: i64,
    pub(super) simulated: i64,
    pub(super) rank: i64,
    pub(super) successor: Option<Uuid>,
    pub(super) budget: Option<Json<BudgetView>>,
}

impl ApprovalView {
    pub(super) fn place(&self) -> Place {
        (self.state != "pending", self.rank, self.id)
    }
}

impl ApprovalRow {
    /// The people and agents whose names the view needs.
    pub(super) fn actors(&self) -> impl Iterator<Item = Uuid> {
        let by = match &self.state.phase {
            Phase::Decided(decided) => Some(decided.by.0),
            _ => None,
        };
        self.state.request.requested_by.id().into_iter().chain(by)
    }

    /// With the names that were looked up.
    pub(super) fn view(self, names: &HashMap<Uuid, String>) -> ApprovalView {
        let consequences = consequences(&self, names);
        let Json(approval) = self.state;
        let state = approval.phase().to_owned();
        let (decided, comments) = answer(&approval.phase, names);
        let request = approval.request;
        ApprovalView {
            id: request.id.0,
            project_id: request.project.0,
            project_name: self.project_name,
            category: name(&request.category),
            lane: lane(request.category).into(),
            action: name(&request.action),
            requested_by: author(request.requested_by, names),
            story_id: request.story.map(|story| story.0),
            pull_request_id: request.pull_request.map(|pr| pr.0),
            run_id: match request.subject {
                Subject::Run { run } => Some(run.0),
                _ => None,
            },
            digest: request.digest,
            arguments: request.arguments,
            arguments_editable: request.editable,
            policy: PolicyView { autonomy: self.autonomy, rule: request.rule },
            confidence: request.confidence.map(|percent| f64::from(percent) / 100.0),
            alternatives: request.alternatives,
            cost_micro_usd: self.cost,
            simulated_micro_usd: self.simulated,
            budget: self.budget.map(|Json(budget)| budget),
            superseded_by: self.successor,
            rank: self.rank,
            requested_at: approval.created_at,
            remind_at: request.remind_at,
            expires_at: request.expires_at,
            title: request.title,
            summary: request.summary,
            state,
            consequences,
            decided,
            comments,
        }
    }
}

pub(super) fn author(actor: Actor, names: &HashMap<Uuid, String>) -> AuthorView {
    AuthorView::of(actor, actor.id().and_then(|id| names.get(&id)).map(String::as_str))
}

fn answer(phase: &Phase, names: &HashMap<Uuid, String>) -> (Option<DecidedView>, Vec<RemarkView>) {
    let Phase::Decided(decided) = phase else { return (None, Vec::new()) };
    let view = DecidedView {
        by: PersonView { id: decided.by.0, name: author(Actor::User(decided.by), names).name },
        at: decided.at,
        outcome: decided.outcome.name().into(),
        note: decided.note.clone(),
        arguments: decided.arguments.clone(),
    };
    (Some(view), decided.comments.iter().map(RemarkView::of).collect())
}

/// As stored: the names of the domain's enums.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// What an agent is unsure of or does not know needs a look: it is never in the lane of what is waved through.
fn lane(category: Category) -> &'static str {
    match category {
        Category::Critical => "critical",
        Category::Milestone | Category::Uncertainty | Category::Expertise => "milestone",
        Category::Routine => "routine",
    }
}

/// The categories that a lane shows, as stored.
pub(super) fn categories_of(lane: &str) -> Option<&'static [&'static str]> {
    match lane {
        "critical" => Some(&["critical"]),
        "milestone" => Some(&["milestone", "uncertainty", "expertise"]),
        "routine" => Some(&["routine"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_is_in_the_lane_that_lists_it() {
        use Category::{Critical, Expertise, Milestone, Routine, Uncertainty};
        for category in [Critical, Milestone, Routine, Uncertainty, Expertise] {
            let listed = categories_of(lane(category)).unwrap();
            assert!(listed.contains(&name(&category).as_str()), "{category:?}");
        }
    }
}
