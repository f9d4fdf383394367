//! Samples of the approval machine.

use super::{Named, Sampled, id, line_comment, minute, play};
use serde_json::{Value, json};
use syndarix_domain::{
    actor::Actor,
    approval::{Approval, Command, Decided, Outcome, Request, Subject},
    machine::Rejection,
    policy::{Action, Category},
};

const DIGEST: &str = "5eed";

/// A question of a run.
pub(crate) fn request(text: &str, n: u128) -> Request {
    Request {
        id: id(n),
        project: id(n + 1),
        subject: Subject::Run { run: id(n + 2) },
        action: Action::PullRequestMerge,
        category: Category::Milestone,
        rule: text.into(),
        title: text.into(),
        summary: text.into(),
        requested_by: Actor::Agent(id(n + 3)),
        story: Some(id(n + 4)),
        pull_request: Some(id(n + 5)),
        arguments: json!({ "branch": text, "times": 3 }),
        editable: true,
        digest: DIGEST.into(),
        confidence: Some(91),
        alternatives: vec![text.into()],
        remind_at: Some(minute(60)),
        expires_at: Some(minute(600)),
    }
}

/// A question whose arguments nobody may change.
pub(crate) fn fixed(text: &str, n: u128) -> Request {
    let subject = Subject::Sprint { sprint: id(n + 2), complete: true };
    Request {
        subject,
        requested_by: Actor::System,
        story: None,
        pull_request: None,
        editable: false,
        remind_at: None,
        expires_at: None,
        ..request(text, n)
    }
}

/// A human's answer.
pub(crate) fn decided(outcome: Outcome, note: &str, arguments: Option<Value>) -> Decided {
    Decided { outcome, by: id(71), at: minute(9), note: note.into(), comments: Vec::new(), arguments }
}

fn decide(outcome: Outcome, note: &str, arguments: Option<Value>) -> Command {
    Command::Decide { digest: DIGEST.into(), decided: decided(outcome, note, arguments) }
}

fn after(request: Request, commands: &[Command]) -> Result<Option<Approval>, Rejection> {
    play(std::iter::once(Command::Ask(Box::new(request))).chain(commands.iter().cloned()))
}

impl Sampled for Approval {
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection> {
        use Outcome::{Approved, ApprovedWithChanges, ChangesRequested, Rejected};
        let asked = || request("merge it?", 1);
        let reason = || "gone".to_owned();
        let changed = Some(json!({ "branch": "other" }));
        Ok(vec![
            ("nothing", None),
            ("pending", after(asked(), &[])?),
            ("pending, not editable", after(fixed("start it?", 1), &[])?),
            ("pending, reminded", after(asked(), &[Command::Remind])?),
            ("approved", after(asked(), &[decide(Approved, "", None)])?),
            ("approved_with_changes", after(asked(), &[decide(ApprovedWithChanges, "", changed)])?),
            ("changes_requested", after(asked(), &[decide(ChangesRequested, "rename it", None)])?),
            ("rejected", after(asked(), &[decide(Rejected, "not now", None)])?),
            ("expired", after(asked(), &[Command::Expire])?),
            ("cancelled", after(asked(), &[Command::Cancel { reason: reason() }])?),
            ("superseded", after(asked(), &[Command::Supersede { reason: reason() }])?),
        ])
    }

    fn commands(_: Option<&Self>) -> Vec<Named<Command>> {
        use Outcome::{Approved, ApprovedWithChanges, ChangesRequested, Rejected};
        let changed = || Some(json!({ "branch": "other" }));
        let stale = Command::Decide { digest: "old".into(), decided: decided(Approved, "", None) };
        let mut commented = decided(ChangesRequested, "", None);
        commented.comments.push(line_comment("rename it"));
        vec![
            ("ask", Command::Ask(Box::new(request("merge it?", 1)))),
            ("decide, approved", decide(Approved, "", None)),
            ("decide, approved, arguments changed in passing", decide(Approved, "", changed())),
            ("decide, approved, another digest", stale),
            ("decide, approved_with_changes", decide(ApprovedWithChanges, "", changed())),
            ("decide, approved_with_changes, no arguments", decide(ApprovedWithChanges, "", None)),
            ("decide, approved_with_changes, null", decide(ApprovedWithChanges, "", Some(Value::Null))),
            ("decide, changes_requested", decide(ChangesRequested, "rename it", None)),
            (
                "decide, changes_requested, by a line comment",
                Command::Decide { digest: DIGEST.into(), decided: commented },
            ),
            ("decide, changes_requested, no word", decide(ChangesRequested, " ", None)),
            ("decide, rejected", decide(Rejected, "not now", None)),
            ("decide, rejected, no word", decide(Rejected, "", None)),
            ("remind", Command::Remind),
            ("expire", Command::Expire),
            ("cancel", Command::Cancel { reason: "gone".into() }),
            ("supersede", Command::Supersede { reason: "new commits".into() }),
        ]
    }
}
