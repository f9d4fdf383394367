//! The record of what was sent to whom.

use super::{mail::NotSent, notify::Notice, queries::APPROVERS};
use crate::{db::Error, state::App};
use sqlx::{AssertSqlSafe, FromRow, PgPool};
use syndarix_domain::ids::{ProjectId, UserId};
use uuid::Uuid;

/// Somebody who is told.
#[derive(Debug, FromRow)]
pub(super) struct Person {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) email: String,
}

/// A mail whose intent is recorded.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The same for every attempt; the mail's message id is made of it.
    pub(super) id: Uuid,
    /// An earlier attempt began and nobody knows how it ended.
    pub(super) maybe_sent: bool,
}

/// Those who can decide and are asked to: the project's approvers and admins. The owners and admins of the
/// organisation when there is nobody else, and when it is escalated.
pub(super) async fn recipients(
    pool: &PgPool,
    project: ProjectId,
    notice: &Notice,
) -> Result<Vec<Person>, Error> {
    if let Some(person) = notice.only {
        return Ok(member(pool, project, person).await?.into_iter().collect());
    }
    let people = sqlx::query_as(AssertSqlSafe(format!(
        "{APPROVERS} or ($2 and u.id in (select user_id from managers)) order by u.id"
    )))
    .bind(project.0)
    .bind(notice.escalated)
    .fetch_all(pool)
    .await?;
    Ok(people)
}

/// One person, if they still see the project.
async fn member(pool: &PgPool, project: ProjectId, person: UserId) -> Result<Option<Person>, Error> {
    let person = sqlx::query_as(
        "select u.id, u.name, u.email from app_user u where u.id = $2 and (
             exists (select 1 from project_member where project_id = $1 and user_id = u.id)
             or exists (select 1 from membership m join project p on p.organisation_id = m.organisation_id
                        where p.id = $1 and m.user_id = u.id and m.role in ('owner', 'admin')))",
    )
    .bind(project.0)
    .bind(person.0)
    .fetch_optional(pool)
    .await?;
    Ok(person)
}

/// Records the intent. None when this person was told already, or cannot be told at all.
pub(super) async fn begin(
    app: &App,
    project: ProjectId,
    notice: &Notice,
    person: &Person,
) -> Result<Option<Delivery>, Error> {
    let now = app.clock().now();
    let row: Option<(Uuid, bool)> = sqlx::query_as(
        "insert into notification_delivery (id, project_id, subject, user_id, kind, state, attempts, at)
         values ($1, $2, $3, $4, $5, 'sending', 1, $6)
         on conflict (subject, user_id, kind) do update
            set attempts = notification_delivery.attempts + 1,
                uncertain = notification_delivery.uncertain or notification_delivery.state = 'sending',
                state = 'sending'
          where notification_delivery.state in ('sending', 'failed')
         returning id, uncertain",
    )
    .bind(app.store.new_id())
    .bind(project.0)
    .bind(&notice.subject)
    .bind(person.id)
    .bind(&notice.kind)
    .bind(now)
    .fetch_optional(app.pool())
    .await?;
    Ok(row.map(|(id, maybe_sent)| Delivery { id, maybe_sent }))
}

/// Records how it ended.
pub(super) async fn end(app: &App, delivery: &Delivery, sent: &Result<(), NotSent>) -> Result<(), Error> {
    let (state, error) = match sent {
        Ok(()) => ("sent", None),
        Err(NotSent::ForNow(reason)) => ("failed", Some(reason)),
        Err(NotSent::ForGood(reason)) => ("refused", Some(reason)),
    };
    if let Some(reason) = error {
        tracing::warn!(delivery = %delivery.id, state, reason, "a notification was not sent");
    }
    sqlx::query(
        "update notification_delivery set state = $2, error = $3, sent_at = case when $2 = 'sent' then $4 end where id = $1",
    )
    .bind(delivery.id)
    .bind(state)
    .bind(error)
    .bind(app.clock().now())
    .execute(app.pool())
    .await?;
    Ok(())
}
