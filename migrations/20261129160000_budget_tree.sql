-- Budgets are a tree: organisation, project, sprint, agent, run, and virtual key; each for all time, a day, a week or a month.
-- A call counts against every node above it. What is counted stands apart from what is allowed, window by window.

alter table budget rename to budget_before;

create table budget (
    id uuid primary key,
    organisation_id uuid not null references organisation,
    -- Null for the organisation's own.
    project_id uuid references project,
    scope text not null,
    scope_id uuid not null,
    period text not null,
    hard_limit_micro_usd bigint,
    soft_limit_micro_usd bigint,
    hard_limit_tokens bigint,
    soft_limit_tokens bigint,
    updated_at timestamptz not null,
    constraint budget_node_key unique (scope, scope_id, period),
    constraint budget_scope check (scope in ('organisation', 'project', 'sprint', 'agent', 'run', 'key')),
    constraint budget_period check (period in ('total', 'day', 'week', 'month')),
    constraint budget_owner check ((project_id is null) = (scope = 'organisation'))
);
create index budget_project on budget (project_id) where project_id is not null;
create index budget_organisation on budget (organisation_id) where scope = 'organisation';

-- What counts in one period, in UTC. A reservation and its settlement count in the window of the moment of reservation.
create table budget_window (
    budget_id uuid not null references budget on delete cascade,
    starts_at timestamptz not null,
    spent_micro_usd bigint not null default 0,
    -- Spend of the scripted endpoint: limited like real money, shown apart, never added to it.
    simulated_micro_usd bigint not null default 0,
    reserved_micro_usd bigint not null default 0,
    spent_tokens bigint not null default 0,
    reserved_tokens bigint not null default 0,
    primary key (budget_id, starts_at),
    constraint budget_window_not_negative check (
        spent_micro_usd >= 0 and simulated_micro_usd >= 0 and reserved_micro_usd >= 0
        and spent_tokens >= 0 and reserved_tokens >= 0)
) with (fillfactor = 40);

-- Processes that may hold reservations. What one that went silent has reserved is nobody's call any more.
create table reservation_holder (
    instance uuid primary key,
    last_seen timestamptz not null
);

alter table usage
    add column sprint_id uuid,
    -- Which process holds the reservation: when it is gone, so is the call.
    add column instance uuid,
    -- What the reservation held, in tokens; and the answer limit that was sent.
    add column reserved_tokens bigint not null default 0,
    add column max_output integer,
    -- What was asked for, and the cheaper group that served it where a soft limit was reached.
    add column model_group text,
    add column downgraded_to text;

insert into budget (id, organisation_id, project_id, scope, scope_id, period, hard_limit_micro_usd, soft_limit_micro_usd, updated_at)
select gen_random_uuid(), p.organisation_id, p.id, 'project', p.id, 'total', b.hard_limit_micro_usd, b.soft_limit_micro_usd, b.updated_at
  from budget_before b join project p on p.id = b.project_id;
insert into budget_window (budget_id, starts_at, spent_micro_usd, simulated_micro_usd, reserved_micro_usd, spent_tokens)
select b.id, 'epoch', o.spent_micro_usd, o.simulated_micro_usd, o.reserved_micro_usd,
       coalesce((select sum(u.tokens_in + u.tokens_out) from usage u where u.project_id = b.project_id and u.state <> 'reserved'), 0)
  from budget b join budget_before o on o.project_id = b.project_id;

insert into budget (id, organisation_id, project_id, scope, scope_id, period, hard_limit_micro_usd, updated_at)
select gen_random_uuid(), p.organisation_id, k.project_id, 'key', k.id, 'total', k.hard_limit_micro_usd, k.created_at
  from gateway_key k join project p on p.id = k.project_id where k.hard_limit_micro_usd is not null;
insert into budget_window (budget_id, starts_at, spent_micro_usd, simulated_micro_usd, reserved_micro_usd, spent_tokens)
select b.id, 'epoch',
       coalesce(sum(u.cost_micro_usd) filter (where u.state <> 'reserved' and not u.simulated), 0),
       coalesce(sum(u.cost_micro_usd) filter (where u.state <> 'reserved' and u.simulated), 0),
       coalesce(sum(u.reserved_micro_usd) filter (where u.state = 'reserved'), 0),
       coalesce(sum(u.tokens_in + u.tokens_out) filter (where u.state <> 'reserved'), 0)
  from budget b left join usage u on u.key_id = b.scope_id where b.scope = 'key' group by b.id;

-- Whoever still runs the version before makes no model call with this table gone: its calls wait until it is replaced.
drop table budget_before;
alter table gateway_key
    drop column hard_limit_micro_usd,
    add constraint gateway_key_rates check (requests_per_minute > 0 and tokens_per_minute > 0);

-- The budget of a project for all time: every project has it, and it is shown with the project.
create view project_budget as
select b.project_id, b.id as budget_id, b.hard_limit_micro_usd, b.soft_limit_micro_usd,
       w.spent_micro_usd, w.reserved_micro_usd, w.simulated_micro_usd
  from budget b join budget_window w on w.budget_id = b.id
 where b.scope = 'project' and b.period = 'total';

-- What one node of the tree has spent in a window is added up when a budget is set on it.
create index usage_sprint on usage (sprint_id) where sprint_id is not null;
create index usage_agent on usage (agent_id) where agent_id is not null;
