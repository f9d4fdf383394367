//! The budgets above some calls of one project, held still until the transaction ends.

use super::{
    Refusal,
    place::{Node, Place},
};
use crate::db::Error;
use sqlx::{FromRow, PgConnection};
use std::collections::{BTreeMap, HashSet};
use syndarix_domain::{
    Timestamp,
    budget::{Amount, Budget, Limit, Period, Scope, Wish},
    ids::ProjectId,
    money::MicroUsd,
};
use uuid::Uuid;

/// Budgets of one project's calls.
#[derive(Debug)]
pub(crate) struct Book {
    windows: Vec<Window>,
}

/// One budget in one of its windows.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) node: Node,
    pub(super) period: Period,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) budget: Budget,
    /// As it was found.
    pub(super) before: Budget,
    id: Uuid,
    simulated: i64,
}

#[derive(Debug, FromRow)]
struct BudgetRow {
    id: Uuid,
    scope: String,
    scope_id: Uuid,
    period: String,
    hard_limit_micro_usd: Option<i64>,
    soft_limit_micro_usd: Option<i64>,
    hard_limit_tokens: Option<i64>,
    soft_limit_tokens: Option<i64>,
}

#[derive(Debug, FromRow)]
struct WindowRow {
    budget_id: Uuid,
    starts_at: Timestamp,
    spent_micro_usd: i64,
    simulated_micro_usd: i64,
    reserved_micro_usd: i64,
    spent_tokens: i64,
    reserved_tokens: i64,
}

/// A moment at which a call counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    /// Against whom.
    pub(crate) place: Place,
    /// When it was reserved.
    pub(crate) at: Timestamp,
    /// Whether it is reserved now: a window that is not there yet begins with it.
    pub(crate) new: bool,
}

impl Book {
    /// Locks the project's books, and every budget above these calls. All of it is read after the lock: a budget that was
    /// set a moment ago is seen, and nobody sets another before this transaction ends.
    pub(crate) async fn open(
        conn: &mut PgConnection,
        project: ProjectId,
        calls: &[Counted],
    ) -> Result<Self, Error> {
        lock(conn, project).await?;
        let budgets = budgets(conn, project, calls).await?;
        let mut wanted = BTreeMap::new();
        for call in calls {
            let nodes: Vec<Node> = call.place.nodes().collect();
            for budget in budgets.iter().filter(|budget| nodes.contains(&budget.node)) {
                let (starts_at, _) = budget.period.window(call.at);
                *wanted.entry((budget.id, starts_at)).or_insert(false) |= call.new;
            }
        }
        let rows = windows(conn, &wanted).await?;
        let windows = rows.into_iter().filter_map(|row| {
            let budget = budgets.iter().find(|budget| budget.id == row.budget_id)?;
            Some(budget.in_window(&row))
        });
        Ok(Self { windows: windows.collect() })
    }

    fn above(&self, place: &Place, at: Timestamp) -> Vec<usize> {
        let nodes: Vec<Node> = place.nodes().collect();
        let counts =
            |window: &Window| nodes.contains(&window.node) && window.starts_at <= at && at < window.ends_at;
        (0..self.windows.len()).filter(|&place| counts(&self.windows[place])).collect()
    }

    /// Sets aside what the call may use, against every budget above it or none, and says which answer limit that pays for.
    pub(super) fn reserve<F: Fn(u32) -> Amount>(
        &mut self,
        call: &Counted,
        wish: &Wish<F>,
    ) -> Result<u32, Refusal> {
        let above = self.above(&call.place, call.at);
        let budgets: Vec<&Budget> = above.iter().map(|&place| &self.windows[place].budget).collect();
        let granted = wish.grant(&budgets).map_err(|place| {
            let needed = (wish.worst_case)(wish.floor.min(wish.max_output));
            self.windows[above[place]].refusal(needed)
        })?;
        let amount = (wish.worst_case)(granted);
        for place in above {
            let budget = &mut self.windows[place].budget;
            budget.reserved = budget.reserved.plus(amount);
        }
        Ok(granted)
    }

    /// Ends a reservation with what was used.
    pub(super) fn settle(&mut self, call: &Counted, reserved: Amount, used: Amount, simulated: bool) {
        for place in self.above(&call.place, call.at) {
            let window = &mut self.windows[place];
            window.budget.settle(reserved, used);
            if simulated {
                window.simulated = window.simulated.saturating_add(used.money.0);
            }
        }
    }

    /// The first budget that a call of this amount would not fit even if nothing else were under way.
    pub(crate) fn refuses(&self, place: &Place, at: Timestamp, amount: Amount) -> bool {
        self.above(place, at).into_iter().any(|place| !self.windows[place].budget.would_fit(amount))
    }

    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Writes what has changed.
    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let changed: Vec<&Window> =
            self.windows.iter().filter(|window| window.budget != window.before).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let each =
            |number: fn(&Window) -> i64| changed.iter().map(|window| number(window)).collect::<Vec<_>>();
        sqlx::query(
            "update budget_window w
                set spent_micro_usd = c.spent, simulated_micro_usd = c.simulated, reserved_micro_usd = c.reserved,
                    spent_tokens = c.spent_tokens, reserved_tokens = c.reserved_tokens
               from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
                    as c (budget_id, starts_at, spent, simulated, reserved, spent_tokens, reserved_tokens)
              where w.budget_id = c.budget_id and w.starts_at = c.starts_at",
        )
        .bind(changed.iter().map(|window| window.id).collect::<Vec<_>>())
        .bind(changed.iter().map(|window| window.starts_at).collect::<Vec<_>>())
        .bind(each(|window| window.budget.spent.money.0.saturating_sub(window.simulated)))
        .bind(each(|window| window.simulated))
        // A budget that was set between two windows may not know of a reservation that it sees settled.
        .bind(each(|window| window.budget.reserved.money.0.max(0)))
        .bind(each(|window| window.budget.spent.tokens))
        .bind(each(|window| window.budget.reserved.tokens.max(0)))
        .execute(conn)
        .await?;
        Ok(())
    }
}

impl Window {
    /// Whose it is, in a sentence.
    pub(super) fn name(&self) -> String {
        format!("the {}'s", self.node.scope)
    }

    fn refusal(&self, needed: Amount) -> Refusal {
        let Budget { hard, spent, reserved, .. } = self.budget;
        let only_reserved = self.budget.would_fit(needed);
        let (name, period) = (self.name(), self.period.phrase());
        let period = if self.period == Period::Total { String::new() } else { format!(" for {period}") };
        let all = spent.plus(reserved).plus(needed);
        let reason = match hard.money.filter(|limit| all.money > *limit) {
            Some(limit) => format!(
                "{name} hard budget of {limit}{period} would be passed: {} spent, {} reserved, this call may cost {}",
                spent.money, reserved.money, needed.money
            ),
            None => format!(
                "{name} hard budget of {} tokens{period} would be passed: {} used, {} reserved, this call may use {}",
                hard.tokens.unwrap_or_default(),
                spent.tokens,
                reserved.tokens,
                needed.tokens
            ),
        };
        Refusal { only_reserved, reason, needed }
    }
}

/// A budget above one of the calls.
struct Found {
    id: Uuid,
    node: Node,
    period: Period,
    hard: Limit,
    soft: Limit,
}

impl Found {
    fn in_window(&self, row: &WindowRow) -> Window {
        let spent = row.spent_micro_usd.saturating_add(row.simulated_micro_usd);
        let budget = Budget {
            hard: self.hard,
            soft: self.soft,
            spent: Amount::new(spent, row.spent_tokens),
            reserved: Amount::new(row.reserved_micro_usd, row.reserved_tokens),
        };
        let (_, ends_at) = self.period.window(row.starts_at);
        Window {
            node: self.node,
            period: self.period,
            starts_at: row.starts_at,
            ends_at,
            budget,
            before: budget,
            id: self.id,
            simulated: row.simulated_micro_usd,
        }
    }
}

/// One transaction at a time is at a project's books.
pub async fn lock(conn: &mut PgConnection, project: ProjectId) -> Result<(), Error> {
    sqlx::query_scalar::<_, Uuid>(
        "select b.id from budget b join budget_window w on w.budget_id = b.id
          where b.scope = 'project' and b.scope_id = $1 and b.period = 'total' for update of w",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?
    .map(|_locked| ())
    .ok_or(Error::NotFound("budget"))
}

async fn budgets(
    conn: &mut PgConnection,
    project: ProjectId,
    calls: &[Counted],
) -> Result<Vec<Found>, Error> {
    let nodes: HashSet<Node> = calls
        .iter()
        .flat_map(|call| call.place.nodes())
        .filter(|node| node.scope != Scope::Organisation)
        .collect();
    let (scopes, ids): (Vec<&str>, Vec<Uuid>) = nodes.iter().map(|node| (node.scope.name(), node.id)).unzip();
    let rows: Vec<BudgetRow> = sqlx::query_as(
        "select id, scope, scope_id, period, hard_limit_micro_usd, soft_limit_micro_usd, hard_limit_tokens, soft_limit_tokens
           from budget
          where project_id = $1 and (scope, scope_id) in (select * from unnest($2::text[], $3::uuid[]))
         union all
         select id, scope, scope_id, period, hard_limit_micro_usd, soft_limit_micro_usd, hard_limit_tokens, soft_limit_tokens
           from budget
          where scope = 'organisation' and scope_id = (select organisation_id from project where id = $1)",
    )
    .bind(project.0)
    .bind(scopes)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().filter_map(|row| {
        let scope = Scope::named(&row.scope)?;
        let id = if scope == Scope::Organisation { project.0 } else { row.scope_id };
        Some(Found {
            id: row.id,
            node: Node { scope, id },
            period: Period::named(&row.period)?,
            hard: Limit { money: row.hard_limit_micro_usd.map(MicroUsd), tokens: row.hard_limit_tokens },
            soft: Limit { money: row.soft_limit_micro_usd.map(MicroUsd), tokens: row.soft_limit_tokens },
        })
    });
    Ok(found.collect())
}

/// The windows, locked in one order; those that a new reservation begins are made.
async fn windows(
    conn: &mut PgConnection,
    wanted: &BTreeMap<(Uuid, Timestamp), bool>,
) -> Result<Vec<WindowRow>, Error> {
    let (ids, starts): (Vec<Uuid>, Vec<Timestamp>) = wanted.keys().copied().unzip();
    let rows = locked(conn, &ids, &starts).await?;
    let missing: Vec<(Uuid, Timestamp)> = wanted
        .iter()
        .filter(|(key, new)| **new && !rows.iter().any(|row| (row.budget_id, row.starts_at) == **key))
        .map(|(key, _)| *key)
        .collect();
    if missing.is_empty() {
        return Ok(rows);
    }
    let (new, new_starts): (Vec<Uuid>, Vec<Timestamp>) = missing.into_iter().unzip();
    sqlx::query(
        "insert into budget_window (budget_id, starts_at)
         select * from unnest($1::uuid[], $2::timestamptz[]) on conflict do nothing",
    )
    .bind(new)
    .bind(new_starts)
    .execute(&mut *conn)
    .await?;
    locked(conn, &ids, &starts).await
}

async fn locked(
    conn: &mut PgConnection,
    ids: &[Uuid],
    starts: &[Timestamp],
) -> Result<Vec<WindowRow>, Error> {
    Ok(sqlx::query_as(
        "select budget_id, starts_at, spent_micro_usd, simulated_micro_usd, reserved_micro_usd, spent_tokens, reserved_tokens
           from budget_window
          where (budget_id, starts_at) in (select * from unnest($1::uuid[], $2::timestamptz[]))
          order by budget_id, starts_at for update",
    )
    .bind(ids)
    .bind(starts)
    .fetch_all(conn)
    .await?)
}
