//! The windows of budgets, compared with the usage rows that they are the sums of, and made anew from them.
//!
//! A window and its rows are read in one statement, which sees both as one moment had them: what is booked meanwhile is
//! in both or in neither, and a live system shows no difference that is none. What differs is looked at again while
//! nobody books, and only then named and, where asked, repaired.

use super::{
    tree::{self, Owner, Target},
    wake,
};
use crate::db::{Author, Error, Store, retry_conflicts};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};
use std::collections::BTreeSet;
use syndarix_domain::{
    Timestamp,
    budget::{Period, Scope},
    ids::{OrganisationId, ProjectId},
};
use uuid::Uuid;

/// Budgets that are read at once.
const PAGE: i64 = 200;
/// What is counted in a window.
const COUNTERS: [&str; 5] =
    ["spent_micro_usd", "simulated_micro_usd", "reserved_micro_usd", "spent_tokens", "reserved_tokens"];

/// What a comparison of all windows found.
#[derive(Debug, Default)]
pub struct RebuiltWindows {
    /// Windows that were compared.
    pub windows: u64,
    /// Those that differed from their rows, as `budget_window/scope/id/period/day: how`.
    pub different: Vec<String>,
    /// Those that differ still, after a repair was asked for: found by a second look.
    pub left: Vec<String>,
}

/// Compares every window that there is, and those that should be there now; where asked, repairs them and looks again.
pub async fn rebuild_windows(store: &Store, write: bool) -> Result<RebuiltWindows, Error> {
    let mut report = RebuiltWindows::default();
    each(store, write, &mut report).await?;
    if write && !report.different.is_empty() {
        let mut again = RebuiltWindows::default();
        each(store, false, &mut again).await?;
        report.left = again.different;
    }
    Ok(report)
}

async fn each(store: &Store, write: bool, report: &mut RebuiltWindows) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let page = budgets(store.pool(), after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for budget in &page {
            let Some(target) = budget.target() else { continue };
            let mut starts = starts(store.pool(), budget.id).await?;
            // One that is not there begins with nothing, whatever its rows say.
            starts.insert(target.period.window(store.clock().now()).0);
            for starts_at in starts {
                report.windows += 1;
                let window = Window { budget: budget.id, target, starts_at };
                report.different.extend(window.look(store, write).await?);
            }
        }
    }
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    project_id: Option<Uuid>,
    scope: String,
    scope_id: Uuid,
    period: String,
}

impl Row {
    fn target(&self) -> Option<Target> {
        let (scope, period) = (Scope::named(&self.scope)?, Period::named(&self.period)?);
        let on = match self.project_id {
            Some(project) => Owner::Project(ProjectId(project), scope, self.scope_id),
            None => Owner::Organisation(OrganisationId(self.scope_id)),
        };
        Some(Target { on, period })
    }
}

async fn budgets(pool: &PgPool, after: Uuid) -> Result<Vec<Row>, Error> {
    let budgets = sqlx::query_as(
        "select id, project_id, scope, scope_id, period from budget where id > $1 order by id limit $2",
    );
    Ok(budgets.bind(after).bind(PAGE).fetch_all(pool).await?)
}

async fn starts(pool: &PgPool, budget: Uuid) -> Result<BTreeSet<Timestamp>, Error> {
    let starts = sqlx::query_scalar("select starts_at from budget_window where budget_id = $1");
    Ok(starts.bind(budget).fetch_all(pool).await?.into_iter().collect())
}

/// One budget in one of its windows.
#[derive(Debug, Clone, Copy)]
struct Window {
    budget: Uuid,
    target: Target,
    starts_at: Timestamp,
}

impl Window {
    /// How it differs from its rows, if it does; repaired, where asked.
    async fn look(self, store: &Store, write: bool) -> Result<Option<String>, Error> {
        let mut tx = store.pool().begin().await?;
        without_time_limit(&mut tx).await?;
        let found = self.difference(&mut tx).await?;
        tx.commit().await?;
        if found.is_none() {
            return Ok(None);
        }
        let found = retry_conflicts(|| self.held(store, write)).await?;
        Ok(found.map(|how| format!("{}: {how}", self.name())))
    }

    /// The same while nobody books. Whatever waits for money looks again after a repair.
    async fn held(self, store: &Store, write: bool) -> Result<Option<String>, Error> {
        let mut uow = store.begin(Author::system());
        let conn = uow.conn().await?;
        without_time_limit(conn).await?;
        match tree::hold(conn, self.target).await {
            // Without the window that is locked nobody books either: it may be the one that is made anew.
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        if !self.is_kept(conn).await? {
            return Ok(None);
        }
        let found = self.difference(conn).await?;
        if found.is_some() && write {
            tree::count(conn, self.budget, self.target, self.starts_at).await?;
            uow.enqueue(wake::job(self.target.on))?;
            uow.commit().await?;
        }
        Ok(found)
    }

    /// Whether its budget has not been taken away since it was listed. What is there stays until the transaction ends.
    async fn is_kept(self, conn: &mut PgConnection) -> Result<bool, Error> {
        let budget = sqlx::query_scalar::<_, Uuid>("select id from budget where id = $1 for key share");
        Ok(budget.bind(self.budget).fetch_optional(conn).await?.is_some())
    }

    async fn difference(self, conn: &mut PgConnection) -> Result<Option<String>, Error> {
        let ((scope, scope_id), (_, ends_at)) =
            (self.target.scope(), self.target.period.window(self.starts_at));
        let sums = tree::sums(scope);
        let kept = COUNTERS.map(|counter| format!("coalesce(w.{counter}, 0)")).join(", ");
        let counted = COUNTERS.map(|counter| format!("s.{counter}")).join(", ");
        let (is_there, kept, counted): (bool, Vec<i64>, Vec<i64>) = sqlx::query_as(AssertSqlSafe(format!(
            "select w.budget_id is not null, array[{kept}], array[{counted}]
               from ({sums}) s left join budget_window w on w.budget_id = $1 and w.starts_at = $4"
        )))
        .bind(self.budget)
        .bind(scope_id)
        .bind(self.target.project())
        .bind(self.starts_at)
        .bind(ends_at)
        .fetch_one(conn)
        .await?;
        // One of all time is there from the moment that its budget is; any other begins with its first call.
        if !is_there && self.target.period == Period::Total {
            return Ok(Some("it is not there".to_owned()));
        }
        let said: Vec<String> = COUNTERS
            .iter()
            .zip(kept.iter().zip(&counted))
            .filter(|(_, (kept, counted))| kept != counted)
            .map(|(counter, (kept, counted))| {
                format!("{counter} is {kept}, its usage rows come to {counted}")
            })
            .collect();
        Ok((!said.is_empty()).then(|| said.join("; ")))
    }

    fn name(&self) -> String {
        let ((scope, id), period) = (self.target.scope(), self.target.period.name());
        format!("budget_window/{scope}/{id}/{period}/{}", self.starts_at.format("%Y-%m-%d"))
    }
}

/// All usage of a project may have to be added up.
async fn without_time_limit(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("set local statement_timeout = 0").execute(conn).await?;
    Ok(())
}
