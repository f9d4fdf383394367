//! The tree of budgets as it is stored: a limit is set, changed and taken away here, and nowhere else.
//!
//! Who sets a budget holds the books of its projects, so that what was spent before is counted exactly once: either it is in
//! the sum that the budget begins with, or the call sees the budget.

use super::wake;
use crate::{
    db::{Error, Uow},
    features::llm::lock_books,
};
use sqlx::{FromRow, PgConnection};
use syndarix_domain::{
    Timestamp,
    budget::{Period, Scope},
    ids::{OrganisationId, ProjectId},
};
use uuid::Uuid;

/// A budget's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// On what.
    pub on: Owner,
    /// For how long.
    pub period: Period,
}

/// What a budget is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// All projects of an organisation.
    Organisation(OrganisationId),
    /// A project, or something in it.
    Project(ProjectId, Scope, Uuid),
}

/// What may be used up; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Limits {
    /// Calls stop here, in micro-USD.
    pub hard_micro_usd: Option<i64>,
    /// People are told on the way to here, in micro-USD.
    pub soft_micro_usd: Option<i64>,
    /// Calls stop here, in tokens.
    pub hard_tokens: Option<i64>,
    /// People are told on the way to here, in tokens.
    pub soft_tokens: Option<i64>,
}

impl Target {
    /// The budget of a project for all time, which every project has.
    pub fn of_project(project: ProjectId) -> Self {
        Self { on: Owner::Project(project, Scope::Project, project.0), period: Period::Total }
    }

    /// The budget of a virtual key for all time.
    pub fn of_key(project: ProjectId, key: Uuid) -> Self {
        Self { on: Owner::Project(project, Scope::Key, key), period: Period::Total }
    }

    pub(super) fn scope(&self) -> (Scope, Uuid) {
        match self.on {
            Owner::Organisation(id) => (Scope::Organisation, id.0),
            Owner::Project(_, scope, id) => (scope, id),
        }
    }

    pub(super) fn project(&self) -> Option<Uuid> {
        match self.on {
            Owner::Organisation(_) => None,
            Owner::Project(project, ..) => Some(project.0),
        }
    }
}

/// Sets the limits, and has whatever waits for money look again. A budget that was not there begins with what was
/// spent in its window before.
pub async fn set(uow: &mut Uow, target: Target, limits: Limits) -> Result<(), Error> {
    let now = uow.now();
    let fresh_id = uow.new_id();
    let conn = uow.conn().await?;
    hold(conn, target).await?;
    let (scope, scope_id) = target.scope();
    let (id, fresh): (Uuid, bool) = sqlx::query_as(
        "insert into budget (id, organisation_id, project_id, scope, scope_id, period, hard_limit_micro_usd,
                             soft_limit_micro_usd, hard_limit_tokens, soft_limit_tokens, updated_at)
         values ($1, coalesce((select organisation_id from project where id = $2), $4), $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (scope, scope_id, period) do update
            set hard_limit_micro_usd = $6, soft_limit_micro_usd = $7, hard_limit_tokens = $8, soft_limit_tokens = $9,
                updated_at = $10
         returning id, id = $1",
    )
    .bind(fresh_id)
    .bind(target.project())
    .bind(scope.name())
    .bind(scope_id)
    .bind(target.period.name())
    .bind(limits.hard_micro_usd)
    .bind(limits.soft_micro_usd)
    .bind(limits.hard_tokens)
    .bind(limits.soft_tokens)
    .bind(now)
    .fetch_one(&mut *conn)
    .await?;
    if fresh {
        count(conn, id, target, now).await?;
    }
    uow.enqueue(wake::job(target.on))
}

/// The limits of a budget as they are until the transaction ends; none where there is none.
pub(super) async fn limits(uow: &mut Uow, target: Target) -> Result<Limits, Error> {
    let (scope, scope_id) = target.scope();
    let conn = uow.conn().await?;
    hold(conn, target).await?;
    let found: Option<Limits> = sqlx::query_as(
        "select hard_limit_micro_usd as hard_micro_usd, soft_limit_micro_usd as soft_micro_usd,
                hard_limit_tokens as hard_tokens, soft_limit_tokens as soft_tokens
           from budget where scope = $1 and scope_id = $2 and period = $3",
    )
    .bind(scope.name())
    .bind(scope_id)
    .bind(target.period.name())
    .fetch_optional(conn)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Takes a budget away. `false`: there was none.
pub async fn remove(uow: &mut Uow, target: Target) -> Result<bool, Error> {
    let (scope, scope_id) = target.scope();
    let conn = uow.conn().await?;
    hold(conn, target).await?;
    let removed = sqlx::query(
        "delete from budget where scope = $1 and scope_id = $2 and period = $3 and project_id is not distinct from $4",
    )
    .bind(scope.name())
    .bind(scope_id)
    .bind(target.period.name())
    .bind(target.project())
    .execute(conn)
    .await?;
    if removed.rows_affected() > 0 {
        uow.enqueue(wake::job(target.on))?;
    }
    Ok(removed.rows_affected() > 0)
}

/// Nobody reserves or settles below the target until the transaction ends. A project that is just being made has no books.
pub(super) async fn hold(conn: &mut PgConnection, target: Target) -> Result<(), Error> {
    match target.on {
        Owner::Project(project, Scope::Project, _) if target.period == Period::Total => {
            match lock_books(conn, project).await {
                Err(Error::NotFound(_)) => Ok(()),
                locked => locked,
            }
        }
        Owner::Project(project, ..) => lock_books(conn, project).await,
        Owner::Organisation(organisation) => {
            sqlx::query(
                "select from budget b join budget_window w on w.budget_id = b.id
                  where b.organisation_id = $1 and b.scope = 'project' and b.period = 'total' order by b.id for update of w",
            )
            .bind(organisation.0)
            .execute(conn)
            .await?;
            Ok(())
        }
    }
}

/// What usage rows belong to a target, as a condition on `u`; `$2` is the target's id, `$3` the project's.
fn belongs(scope: Scope) -> &'static str {
    match scope {
        Scope::Organisation => {
            "u.project_id in (select id from project where organisation_id = $2) and $3::uuid is null"
        }
        Scope::Project => "u.project_id = $3 and u.project_id = $2",
        Scope::Sprint => "u.project_id = $3 and u.sprint_id = $2",
        Scope::Agent => "u.project_id = $3 and u.agent_id = $2",
        Scope::Run => "u.project_id = $3 and u.run_id = $2",
        Scope::Key => "u.project_id = $3 and u.key_id = $2",
    }
}

/// What the usage rows of a target come to from one moment, `$4`, up to another, `$5`, as a statement; `$2` is the target's
/// id, `$3` the project's.
pub(super) fn sums(scope: Scope) -> String {
    let belongs = belongs(scope);
    format!(
        "select coalesce(sum(u.cost_micro_usd) filter (where u.state <> 'reserved' and not u.simulated), 0)::bigint
                    as spent_micro_usd,
                coalesce(sum(u.cost_micro_usd) filter (where u.state <> 'reserved' and u.simulated), 0)::bigint
                    as simulated_micro_usd,
                coalesce(sum(u.reserved_micro_usd) filter (where u.state = 'reserved'), 0)::bigint as reserved_micro_usd,
                coalesce(sum(u.tokens_in + u.tokens_out) filter (where u.state <> 'reserved'), 0)::bigint as spent_tokens,
                coalesce(sum(u.reserved_tokens) filter (where u.state = 'reserved'), 0)::bigint as reserved_tokens
           from usage u where {belongs} and u.at >= $4 and u.at < $5"
    )
}

/// Makes the window of a moment the sum of its usage rows. Whoever calls this holds the target's books.
pub(super) async fn count(
    conn: &mut PgConnection,
    budget: Uuid,
    target: Target,
    at: Timestamp,
) -> Result<(), Error> {
    let ((scope, scope_id), (starts_at, ends_at)) = (target.scope(), target.period.window(at));
    let sums = sums(scope);
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "insert into budget_window (budget_id, starts_at, spent_micro_usd, simulated_micro_usd, reserved_micro_usd,
                                    spent_tokens, reserved_tokens)
         select $1, $4, s.* from ({sums}) s
         on conflict (budget_id, starts_at) do update
            set spent_micro_usd = excluded.spent_micro_usd, simulated_micro_usd = excluded.simulated_micro_usd,
                reserved_micro_usd = excluded.reserved_micro_usd, spent_tokens = excluded.spent_tokens,
                reserved_tokens = excluded.reserved_tokens"
    )))
    .bind(budget)
    .bind(scope_id)
    .bind(target.project())
    .bind(starts_at)
    .bind(ends_at)
    .execute(conn)
    .await?;
    Ok(())
}
