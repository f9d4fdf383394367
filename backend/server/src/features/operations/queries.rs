//! Whose jobs somebody may see, and whose they may act on.

use sqlx::PgPool;
use syndarix_domain::ids::UserId;
use uuid::Uuid;

/// The projects whose jobs a person may see.
pub(super) async fn visible(pool: &PgPool, user: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select project_id from project_member where user_id = $1
         union
         select p.id from project p join membership m on m.organisation_id = p.organisation_id
          where m.user_id = $1 and m.role in ('owner', 'admin')",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await
}

/// A dead letter's project, if this person is owner or admin of its organisation.
pub(super) async fn administered(
    pool: &PgPool,
    user: UserId,
    job: i64,
) -> Result<Option<(Uuid, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "select d.project_id, d.queue, d.kind from job_dead d
           join project p on p.id = d.project_id
           join membership m on m.organisation_id = p.organisation_id
          where d.id = $1 and m.user_id = $2 and m.role in ('owner', 'admin')",
    )
    .bind(job)
    .bind(user.0)
    .fetch_optional(pool)
    .await
}
