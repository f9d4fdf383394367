-- A lease is a reservation of no call (attempt 0): it is none of the calls that are counted, unless it was lost with its process.
create or replace view usage_sum as
select project_id, hour as at, agent_id, key_id, story_id, provider, model, simulated, calls, failures, tokens_in, tokens_out,
       tokens_cached, tokens_reasoning, cost_micro_usd
  from usage_hour
union all
select project_id, at, agent_id, key_id, story_id, provider, model, simulated, 1, case when state = 'failed' then 1 else 0 end,
       tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost_micro_usd
  from usage where at >= (select until from usage_hour_until) and (attempt > 0 or state <> 'reserved');
