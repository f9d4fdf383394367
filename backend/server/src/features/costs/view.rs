//! A budget as it is shown: what counts in it now, and what it is in.

use crate::{
    http::{ApiError, List, Page},
    state::App,
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use syndarix_domain::{Timestamp, budget::Period};
use utoipa::ToSchema;
use uuid::Uuid;

/// Budgets `b` with what counts in them and the nodes that they are in. An agent is in the sprint of the story that it works
/// on, and in none when it does not work; its runs are where it is, those that are over as well: so each node has one place,
/// whatever was worked on before.
const SHOWN: &str = "
select b.scope, b.scope_id, b.period, b.hard_limit_micro_usd, b.soft_limit_micro_usd, b.hard_limit_tokens,
       b.soft_limit_tokens,
       case b.scope when 'organisation' then (select o.name from organisation o where o.id = b.scope_id)
                    when 'project' then (select p.name from project p where p.id = b.scope_id)
                    when 'sprint' then (select s.state ->> 'name' from sprint s where s.id = b.scope_id)
                    when 'agent' then (select a.name from agent a where a.id = b.scope_id)
                    when 'run' then (select concat('#', t.state ->> 'number', ' ', t.state ->> 'title',
                                                   ' (' || replace(a.role, '_', ' ') || ')')
                                       from story t
                                      where t.project_id = b.project_id and t.id = (r.state ->> 'story')::uuid)
                    when 'key' then (select k.name from gateway_key k where k.id = b.scope_id) end as name,
       places.above,
       coalesce(w.starts_at, 'epoch') as starts_at, coalesce(w.spent_micro_usd, 0) as spent_micro_usd,
       coalesce(w.reserved_micro_usd, 0) as reserved_micro_usd,
       coalesce(w.simulated_micro_usd, 0) as simulated_micro_usd,
       coalesce(w.spent_tokens, 0) as spent_tokens, coalesce(w.reserved_tokens, 0) as reserved_tokens
  from budget b
  left join lateral (select * from budget_window w where w.budget_id = b.id order by w.starts_at desc limit 1) w on true
  left join project p on p.id = b.project_id
  left join organisation o on o.id = p.organisation_id
  left join run r on b.scope = 'run' and r.id = b.scope_id and r.project_id = b.project_id
  left join agent a on a.project_id = b.project_id
       and a.id = case b.scope when 'agent' then b.scope_id when 'run' then (r.state ->> 'agent')::uuid end
  left join run work on work.project_id = b.project_id and work.id = a.current_run_id
  left join story st on st.project_id = b.project_id and st.id = (work.state ->> 'story')::uuid
  left join sprint s on s.project_id = b.project_id and s.id = (st.state ->> 'sprint')::uuid
  cross join lateral (
       select coalesce(jsonb_agg(jsonb_build_object('scope', n.scope, 'scope_id', n.id, 'name', n.name) order by n.depth)
                       filter (where n.id <> b.scope_id), '[]') as above
         from (values (1, 'organisation', o.id, o.name), (2, 'project', p.id, p.name),
                      (3, 'sprint', s.id, s.state ->> 'name'), (4, 'agent', a.id, a.name)) n (depth, scope, id, name)
  ) places";

/// A budget on a node of the tree, in the window of this moment.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub(super) struct BudgetNode {
    /// organisation, project, sprint, agent, run or key.
    scope: String,
    /// Which one.
    scope_id: Uuid,
    /// What people call it; a run by its story and its agent's role.
    name: Option<String>,
    /// What it is in, from the organisation down. An agent is in the sprint that it works in at this moment.
    #[sqlx(json)]
    above: Vec<BudgetPlace>,
    /// total, day, week or month; a day, a week and a month begin at midnight, UTC.
    period: String,
    /// Model calls never pass this: what it would not pay for is asked of what costs less, later in the chain or in a
    /// cheaper group, and else refused.
    hard_limit_micro_usd: Option<i64>,
    /// People are told at 80, 90 and 100 % of this; from there on a cheaper model group is asked where one is named, as it
    /// is for what a hard limit would not pay for.
    soft_limit_micro_usd: Option<i64>,
    /// The hard limit of tokens, of prompts and answers.
    hard_limit_tokens: Option<i64>,
    /// The soft limit of tokens.
    soft_limit_tokens: Option<i64>,
    /// Since when it is counted.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    /// When it begins anew; null: never.
    #[sqlx(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Real money spent.
    spent_micro_usd: i64,
    /// Worst cost of the calls under way.
    reserved_micro_usd: i64,
    /// What the scripted endpoint would have cost. Counts against the limit, never as real money.
    simulated_micro_usd: i64,
    /// Tokens of prompts and answers.
    spent_tokens: i64,
    /// The most that calls under way may still use.
    reserved_tokens: i64,
}

/// A node above a budget's, with or without a budget of its own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct BudgetPlace {
    /// organisation, project, sprint or agent.
    scope: String,
    /// Which one.
    scope_id: Uuid,
    /// What people call it.
    name: Option<String>,
}

/// A page of budgets with what counts in them now, from the top of the tree. `belongs` is written here, never sent.
pub(super) async fn nodes(
    app: &App,
    belongs: &str,
    id: Uuid,
    page: &Page,
) -> Result<List<BudgetNode>, ApiError> {
    let rows: Vec<BudgetNode> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{SHOWN} where {belongs}
          order by array_position(array['organisation', 'project', 'sprint', 'agent', 'run', 'key'], b.scope), b.scope_id, b.period
          limit $2 offset $3"
    )))
    .bind(id)
    .bind(page.limit()? + 1)
    .bind(page.offset()?)
    .fetch_all(app.pool())
    .await?;
    let now = app.clock().now();
    let rows = rows.into_iter().map(|row| row.at(now)).collect();
    List::page(rows, page)
}

impl BudgetNode {
    /// As it counts at this moment: a window that is over counts no more.
    fn at(self, now: Timestamp) -> Self {
        let Some(period) = Period::named(&self.period) else { return self };
        let (starts_at, ends_at) = period.window(now);
        let ends_at = (period != Period::Total).then_some(ends_at);
        if self.starts_at >= starts_at {
            return Self { ends_at, ..self };
        }
        let none = Self { spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, ..self };
        Self { starts_at, ends_at, spent_tokens: 0, reserved_tokens: 0, ..none }
    }
}
