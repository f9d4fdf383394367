//! What follows from a question's decisions: timers, notices, and the answer for whoever waits.

use super::{Notice, notify, timers};
use crate::{
    db::{Effects, Error, Uow},
    features::{agents, runs, workflow},
};
use futures::future::BoxFuture;
use syndarix_domain::{
    approval::{Approval, Decided, Effect, Outcome, Subject},
    ids::{RunId, UserId},
    run::Answer,
    story::LineComment,
};
use syndarix_jobs::{NewJob, NewTimer};

impl Effects for Approval {
    fn carry_out<'u>(
        uow: &'u mut Uow,
        approval: &'u Self,
        effect: Effect,
    ) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            let request = &approval.request;
            match effect {
                Effect::Notify { sentence } => notify(uow, request.project, notice(approval, sentence)).await,
                Effect::SetReminder { at } => set_timer(uow, approval, timers::REMIND, at),
                Effect::SetExpiry { at } => set_timer(uow, approval, timers::EXPIRE, at),
                Effect::ClearTimers => {
                    uow.clear_timers(request.id, None);
                    Ok(())
                }
                Effect::Answer { subject: Subject::Run { run }, decided } => {
                    let answer = match decided {
                        None => Answer::Expired,
                        Some(decided) => answer(uow, approval, run, &decided).await?,
                    };
                    runs::answer(uow, approval, run, answer).await
                }
                Effect::Answer { subject: Subject::Sprint { sprint, complete }, decided } => {
                    let approved = decided.is_some_and(|decided| is_yes(decided.outcome));
                    workflow::answer_sprint(uow, approval, sprint, complete, approved).await
                }
                Effect::Answer { subject: Subject::Agent { agent }, decided } => {
                    let approved = decided.is_some_and(|decided| is_yes(decided.outcome));
                    agents::answer_spawn(uow, approval, agent, approved).await
                }
            }
        })
    }
}

/// The first word about a question, a reminder, or the escalation: each is told once.
fn notice(approval: &Approval, sentence: String) -> Notice {
    let kind = match approval.reminders {
        0 => "asked".to_owned(),
        n => format!("reminder {n}"),
    };
    let notice = Notice::about(format!("approval/{}", approval.request.id), kind, sentence);
    if approval.escalated { notice.escalated() } else { notice }
}

fn is_yes(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Approved | Outcome::ApprovedWithChanges)
}

fn set_timer(
    uow: &mut Uow,
    approval: &Approval,
    name: &'static str,
    at: syndarix_domain::Timestamp,
) -> Result<(), Error> {
    let payload = timers::Payload { approval: approval.request.id };
    let job = NewJob::new("default", name, payload.to_json()).for_project(approval.request.project.0);
    let stream = approval.request.id.0;
    uow.set_timer(NewTimer { stream, name: name.into(), fire_at: at, job })
}

async fn answer(uow: &mut Uow, approval: &Approval, run: RunId, decided: &Decided) -> Result<Answer, Error> {
    if let (Outcome::ApprovedWithChanges, Some(arguments)) = (decided.outcome, &decided.arguments) {
        return runs::edited(uow, approval, run, arguments).await;
    }
    let from = name_of(uow, decided.by).await?;
    let comments: Vec<LineComment> = decided.comments.clone();
    Ok(match decided.outcome {
        Outcome::Approved | Outcome::ApprovedWithChanges => Answer::Approved,
        Outcome::ChangesRequested => {
            Answer::ChangesRequested { from, summary: decided.note.clone(), comments }
        }
        Outcome::Rejected => Answer::Rejected { reason: format!("rejected by {from}: {}", decided.note) },
    })
}

async fn name_of(uow: &mut Uow, user: UserId) -> Result<String, Error> {
    let name: Option<String> = sqlx::query_scalar("select name from app_user where id = $1")
        .bind(user.0)
        .fetch_optional(uow.conn().await?)
        .await?;
    Ok(name.unwrap_or_else(|| "a former user".into()))
}
