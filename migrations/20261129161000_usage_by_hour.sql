-- What was used, summed up by the hour once nothing of that hour can change any more: what people look at stays quick when
-- there are millions of attempts.
create table usage_hour (
    project_id uuid not null references project,
    hour timestamptz not null,
    agent_id uuid,
    key_id uuid,
    story_id uuid,
    provider text not null,
    model text not null,
    simulated boolean not null,
    calls bigint not null,
    failures bigint not null,
    tokens_in bigint not null,
    tokens_out bigint not null,
    tokens_cached bigint not null,
    tokens_reasoning bigint not null,
    cost_micro_usd bigint not null,
    constraint usage_hour_key
        unique nulls not distinct (project_id, hour, agent_id, key_id, story_id, provider, model, simulated)
);

-- Hours before this moment are summed up, those after it are not. One row.
create table usage_hour_until (
    one boolean primary key default true check (one),
    until timestamptz not null
);
insert into usage_hour_until (until) values ('epoch');

-- An hour of all projects is read once; rows come in the order of their moments.
create index usage_at on usage using brin (at);

-- Attempts of any age in the shape of the sums. Read it in one statement with nothing else: it is of one snapshot.
create view usage_sum as
select project_id, hour as at, agent_id, key_id, story_id, provider, model, simulated, calls, failures, tokens_in, tokens_out,
       tokens_cached, tokens_reasoning, cost_micro_usd
  from usage_hour
union all
select project_id, at, agent_id, key_id, story_id, provider, model, simulated, 1, case when state = 'failed' then 1 else 0 end,
       tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost_micro_usd
  from usage where at >= (select until from usage_hour_until);
