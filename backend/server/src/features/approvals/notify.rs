//! Telling people outside the UI: a recorded job, so that a mail is neither lost nor sent from a transaction that
//! rolls back.
//!
//! Every mail to every person has its own delivery record, unique by subject, person and kind. The intent is committed
//! before the mail server is talked to: a job that comes again sends nothing to whom it was sent already. Where
//! nobody knows (the process died between the two), the mail is sent again under the same message id, and both the
//! mail and the record say so.

use super::{delivery, mail};
use crate::{
    db::{Error, Uow},
    features::job::{self, payload},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    actor::Actor,
    ids::{ProjectId, UserId},
};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome, Registry};
use tokio_util::sync::CancellationToken;

const KIND: &str = "people.notify";

/// What people are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about, as in the event envelope: `approval/<id>`.
    pub(super) subject: String,
    /// Told once for each subject and kind.
    pub(super) kind: String,
    /// The sentence.
    pub(super) sentence: String,
    /// Whoever should have acted did not: the organisation's owners are told, too.
    pub(super) escalated: bool,
    /// It concerns this person and nobody else.
    #[serde(default)]
    pub(super) only: Option<UserId>,
}

payload!(Notice);

impl Notice {
    /// A sentence about a subject. The same subject and kind is told once, however often it is asked for.
    pub fn about(subject: String, kind: impl Into<String>, sentence: String) -> Self {
        Self { subject, kind: kind.into(), sentence, escalated: false, only: None }
    }

    /// Goes to this person; where it is no person, to those who decide.
    #[must_use]
    pub fn to(mut self, actor: Actor) -> Self {
        self.only = match actor {
            Actor::User(user) => Some(user),
            Actor::Agent(_) | Actor::System => None,
        };
        self
    }

    /// Goes to the organisation's owners and admins, too.
    #[must_use]
    pub fn escalated(mut self) -> Self {
        self.escalated = true;
        self
    }
}

/// Tells the people of a project.
pub async fn notify(uow: &mut Uow, project: ProjectId, notice: Notice) -> Result<(), Error> {
    uow.enqueue(NewJob::new("default", KIND, notice.to_json()).for_project(project.0))
}

pub(super) fn jobs(app: &App, registry: Registry) -> Registry {
    registry.with(KIND, Tell { app: app.clone() })
}

/// The handler of `people.notify`.
struct Tell {
    app: App,
}

#[async_trait]
impl Handler for Tell {
    // Stops between two mails, and never in one: nobody would know whether it was sent, and it would be sent again.
    async fn run(&self, job: Job, _lease: Lease, cancel: CancellationToken) -> Outcome {
        tell(&self.app, &job, &cancel).await.unwrap_or_else(|error| job::outcome_of(&error))
    }
}

async fn tell(app: &App, job: &Job, cancel: &CancellationToken) -> Result<Outcome, Error> {
    let (project, notice): (ProjectId, Notice) = job::read(job)?;
    let link = mail::link(&app.config, project, &notice.subject);
    // Not the sentence: models write parts of it.
    tracing::info!(%project, subject = %notice.subject, kind = %notice.kind, link, "people are told");
    let mut trouble = None;
    for person in delivery::recipients(app.pool(), project, &notice).await? {
        if cancel.is_cancelled() {
            return Ok(job::cancelled());
        }
        let Some(delivery) = delivery::begin(app, project, &notice, &person).await? else { continue };
        let sent = mail::send(app, &notice, &link, &person, &delivery).await;
        delivery::end(app, &delivery, &sent).await?;
        if let Err(mail::NotSent::ForNow(reason)) = sent {
            trouble = Some(reason);
        }
    }
    Ok(match trouble {
        // Who has got the mail is left out when the job comes again.
        Some(reason) => Outcome::Retry { after: None, reason },
        None => Outcome::Done,
    })
}
