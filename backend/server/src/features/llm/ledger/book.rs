//! The budgets above some calls of one project, held still until the transaction ends.

use super::{
    Refusal,
    place::{Node, Place},
};
use crate::db::{Along, Error};
use sqlx::{FromRow, PgConnection, Postgres, postgres::PgArguments, query::Query};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use syndarix_domain::{
    Timestamp,
    budget::{Amount, Budget, Limit, Period, Scope, Wish},
    ids::ProjectId,
    lease::{Terms, allowance},
    money::MicroUsd,
};
use uuid::Uuid;

pub(super) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

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
    /// It begins with this transaction.
    fresh: bool,
}

/// A budget with one of its windows.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    id: Uuid,
    scope: String,
    scope_id: Uuid,
    period: String,
    hard_limit_micro_usd: Option<i64>,
    soft_limit_micro_usd: Option<i64>,
    hard_limit_tokens: Option<i64>,
    soft_limit_tokens: Option<i64>,
    starts_at: Option<Timestamp>,
    #[sqlx(flatten)]
    counts: Counts,
}

/// What counts in a window.
#[derive(Debug, Default, FromRow)]
struct Counts {
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
    /// Locks the project's books, and reads every budget above these calls after that: a budget that was set a moment ago is
    /// seen, and nobody sets another, or books anything, before this transaction ends. Only an organisation's windows are
    /// shared with other projects, and locked by themselves.
    pub(crate) async fn open(
        conn: &mut PgConnection,
        project: ProjectId,
        calls: &[Counted],
    ) -> Result<Self, Error> {
        let rows = hold(conn, project, calls).await?;
        Self::of(conn, project, calls, rows).await
    }

    /// The same, of what has been read since the books were locked.
    pub(super) async fn of(
        conn: &mut PgConnection,
        project: ProjectId,
        calls: &[Counted],
        mut rows: Vec<Row>,
    ) -> Result<Self, Error> {
        if rows.is_empty() {
            return Err(Error::NotFound("budget"));
        }
        let shared: BTreeSet<Uuid> =
            rows.iter().filter(|row| row.scope == Scope::Organisation.name()).map(|row| row.id).collect();
        if !shared.is_empty() {
            let begun = windows(project, &rows, calls);
            begin(conn, begun.iter().filter(|window| window.fresh && shared.contains(&window.id))).await?;
            rows.retain(|row| !shared.contains(&row.id));
            rows.extend(locked(conn, &shared, first(calls).unwrap_or_default()).await?);
        }
        Ok(Self { windows: windows(project, &rows, calls) })
    }

    fn above(&self, place: &Place, at: Timestamp) -> Vec<usize> {
        let nodes: Vec<Node> = place.nodes().collect();
        let counts =
            |window: &Window| nodes.contains(&window.node) && window.starts_at <= at && at < window.ends_at;
        (0..self.windows.len()).filter(|&place| counts(&self.windows[place])).collect()
    }

    /// The refusal of a call that yields, where a budget above it has reached its soft limit.
    pub(super) fn asks_to_yield(&self, call: &Counted) -> Option<Refusal> {
        let reached = |place: &usize| self.windows[*place].budget.is_soft_reached();
        let window = &self.windows[self.above(&call.place, call.at).into_iter().find(reached)?];
        let reason = format!("{} soft limit is reached", window.name());
        let (only_reserved, node, needed) = (false, window.node, Amount::default());
        Some(Refusal { only_reserved, node, reason, needed, yields: true })
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

    /// Renews a lease that holds so much: what it comes to, and what it might come to.
    pub(super) fn renew(&mut self, lease: &Counted, left: Amount, terms: &Terms) -> (Amount, Amount) {
        let above = self.above(&lease.place, lease.at);
        let budgets: Vec<&Budget> = above.iter().map(|&place| &self.windows[place].budget).collect();
        let allowed = allowance(left, &budgets);
        let booked = terms.booked(left, allowed);
        for place in above {
            let budget = &mut self.windows[place].budget;
            budget.reserved = budget.reserved.minus(left).plus(booked);
        }
        (booked, allowed)
    }

    /// The first budget that a call of this amount would not fit even if nothing else were under way.
    pub(crate) fn refuses(&self, place: &Place, at: Timestamp, amount: Amount) -> bool {
        self.above(place, at).into_iter().any(|place| !self.windows[place].budget.would_fit(amount))
    }

    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// What has changed, and has to be written.
    pub(super) fn changed(&self) -> Vec<&Window> {
        self.windows.iter().filter(|window| window.budget != window.before).collect()
    }

    /// What has changed, for the statement that writes the events.
    pub(super) fn along(&self) -> Result<Option<Along>, Error> {
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(None);
        }
        Along::of(WRITE, |query| bind_windows(query, &changed)).map(Some)
    }

    /// Writes what has changed.
    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let changed = self.changed();
        if !changed.is_empty() {
            bind_windows(sqlx::query(WRITE), &changed).execute(conn).await?;
        }
        Ok(())
    }
}

/// Writes windows, those too that begin with this transaction.
pub(super) const WRITE: &str = "
insert into budget_window (budget_id, starts_at, spent_micro_usd, simulated_micro_usd, reserved_micro_usd, spent_tokens,
                           reserved_tokens)
select * from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
on conflict (budget_id, starts_at) do update
   set spent_micro_usd = excluded.spent_micro_usd, simulated_micro_usd = excluded.simulated_micro_usd,
       reserved_micro_usd = excluded.reserved_micro_usd, spent_tokens = excluded.spent_tokens,
       reserved_tokens = excluded.reserved_tokens";

/// Binds the seven parameters of [`WRITE`].
pub(super) fn bind_windows<'q>(query: PgQuery<'q>, changed: &[&Window]) -> PgQuery<'q> {
    let each = |number: fn(&Window) -> i64| changed.iter().map(|window| number(window)).collect::<Vec<_>>();
    query
        .bind(changed.iter().map(|window| window.id).collect::<Vec<_>>())
        .bind(changed.iter().map(|window| window.starts_at).collect::<Vec<_>>())
        .bind(each(|window| window.budget.spent.money.0.saturating_sub(window.simulated)))
        .bind(each(|window| window.simulated))
        // A budget that was set between two windows may not know of a reservation that it sees settled.
        .bind(each(|window| window.budget.reserved.money.0.max(0)))
        .bind(each(|window| window.budget.spent.tokens))
        .bind(each(|window| window.budget.reserved.tokens.max(0)))
}

impl Window {
    /// Whose it is, in a sentence.
    pub(super) fn name(&self) -> String {
        format!("the {}'s", self.node.scope)
    }

    /// The page of a run reads the budget and the amounts from this sentence: `frontend/src/costs/raise.ts`. It has none
    /// of an organisation's amounts: they say what projects spend that whoever asks may not know of.
    fn refusal(&self, needed: Amount) -> Refusal {
        let Budget { hard, spent, reserved, .. } = self.budget;
        let only_reserved = self.budget.would_fit(needed);
        let (name, period) = (self.name(), self.period.phrase());
        let period = if self.period == Period::Total { String::new() } else { format!(" for {period}") };
        let all = spent.plus(reserved).plus(needed);
        let reason = match hard.money.filter(|limit| all.money > *limit) {
            passed if self.node.scope == Scope::Organisation => {
                let tokens = if passed.is_none() { " of tokens" } else { "" };
                let who = "an owner or admin of the organisation can raise it";
                format!("{name} hard budget{tokens}{period} would be passed: {who}")
            }
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
        Refusal { only_reserved, node: self.node, reason, needed, yields: false }
    }
}

impl Row {
    fn node(&self, project: ProjectId) -> Option<Node> {
        let scope = Scope::named(&self.scope)?;
        Some(Node { scope, id: if scope == Scope::Organisation { project.0 } else { self.scope_id } })
    }

    /// This budget in a window, with what counts in it so far.
    fn window(&self, node: Node, period: Period, starts_at: Timestamp, counts: &Counts) -> Window {
        let spent = counts.spent_micro_usd.saturating_add(counts.simulated_micro_usd);
        let budget = Budget {
            hard: Limit { money: self.hard_limit_micro_usd.map(MicroUsd), tokens: self.hard_limit_tokens },
            soft: Limit { money: self.soft_limit_micro_usd.map(MicroUsd), tokens: self.soft_limit_tokens },
            spent: Amount::new(spent, counts.spent_tokens),
            reserved: Amount::new(counts.reserved_micro_usd, counts.reserved_tokens),
        };
        let (_, ends_at) = period.window(starts_at);
        let (id, simulated) = (self.id, counts.simulated_micro_usd);
        Window { node, period, starts_at, ends_at, budget, before: budget, id, simulated, fresh: false }
    }
}

/// The windows that calls count in: those that are there, and those that a new reservation begins.
fn windows(project: ProjectId, rows: &[Row], calls: &[Counted]) -> Vec<Window> {
    let mut found = BTreeMap::new();
    for row in rows {
        let (Some(node), Some(period)) = (row.node(project), Period::named(&row.period)) else { continue };
        let above = |call: &&Counted| call.place.nodes().any(|one| one == node);
        if let Some(starts_at) = row.starts_at {
            found.insert((row.id, starts_at), row.window(node, period, starts_at, &row.counts));
        }
        for call in calls.iter().filter(|call| call.new).filter(above) {
            let (starts_at, _) = period.window(call.at);
            let is_there = rows.iter().any(|one| one.id == row.id && one.starts_at == Some(starts_at));
            if !is_there {
                let begins =
                    || Window { fresh: true, ..row.window(node, period, starts_at, &Counts::default()) };
                found.entry((row.id, starts_at)).or_insert_with(begins);
            }
        }
    }
    found.into_values().collect()
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

const COLUMNS: &str = "b.id, b.scope, b.scope_id, b.period, b.hard_limit_micro_usd, b.soft_limit_micro_usd, b.hard_limit_tokens,
    b.soft_limit_tokens, w.starts_at, coalesce(w.spent_micro_usd, 0) as spent_micro_usd,
    coalesce(w.simulated_micro_usd, 0) as simulated_micro_usd, coalesce(w.reserved_micro_usd, 0) as reserved_micro_usd,
    coalesce(w.spent_tokens, 0) as spent_tokens, coalesce(w.reserved_tokens, 0) as reserved_tokens";

/// Locks the books, and reads the budgets above the calls after that, each with its windows since the earliest of them; one
/// without any has no `starts_at`. Nothing is read where the project has no books.
pub(super) async fn hold(
    conn: &mut PgConnection,
    project: ProjectId,
    calls: &[Counted],
) -> Result<Vec<Row>, Error> {
    let (scopes, ids) = nodes_above(project, calls);
    Ok(sqlx::query_as("select * from hold_books($1, $2::text[], $3::uuid[], $4)")
        .bind(project.0)
        .bind(scopes)
        .bind(ids)
        .bind(first(calls).unwrap_or_default())
        .fetch_all(conn)
        .await?)
}

/// Scopes and ids of the nodes above the calls. The project's is always one of them, the organisation's never.
pub(super) fn nodes_above(project: ProjectId, calls: &[Counted]) -> (Vec<&'static str>, Vec<Uuid>) {
    let mut nodes: HashSet<Node> = calls.iter().flat_map(|call| call.place.nodes()).collect();
    nodes.insert(Node { scope: Scope::Project, id: project.0 });
    let own = nodes.iter().filter(|node| node.scope != Scope::Organisation);
    own.map(|node| (node.scope.name(), node.id)).unzip()
}

/// The earliest moment that something counts in.
pub(super) fn first(calls: &[Counted]) -> Option<Timestamp> {
    calls.iter().map(|call| call.at).min()
}

/// Makes windows that other projects may begin at the same moment: whoever comes second waits for the first, and then finds
/// what the first has counted.
async fn begin(conn: &mut PgConnection, fresh: impl Iterator<Item = &Window>) -> Result<(), Error> {
    let (ids, starts): (Vec<Uuid>, Vec<Timestamp>) =
        fresh.map(|window| (window.id, window.starts_at)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into budget_window (budget_id, starts_at)
         select * from unnest($1::uuid[], $2::timestamptz[]) on conflict do nothing",
    )
    .bind(ids)
    .bind(starts)
    .execute(conn)
    .await?;
    Ok(())
}

/// The windows of an organisation's budgets as they are once nobody else has them, locked in one order.
async fn locked(
    conn: &mut PgConnection,
    budgets: &BTreeSet<Uuid>,
    first: Timestamp,
) -> Result<Vec<Row>, Error> {
    let ids: Vec<Uuid> = budgets.iter().copied().collect();
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from budget b join budget_window w on w.budget_id = b.id
          where b.id = any($1) and (b.period = 'total' or w.starts_at > $2 - interval '32 days')
          order by w.budget_id, w.starts_at for update of w"
    )))
    .bind(ids)
    .bind(first)
    .fetch_all(conn)
    .await?)
}
