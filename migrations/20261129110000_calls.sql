-- A model call has an id of its own: that of its step where an agent asks, a new one where a client of the gateway does.
-- Attempts are counted within the call. Whoever still runs the version before gives none, and finds its rows by step.

alter table usage
    add column call_id uuid,
    -- The virtual key that the call came in with.
    add column key_id uuid;
update usage set call_id = coalesce(step_id, id);
alter table usage
    alter column call_id set default gen_random_uuid(),
    alter column call_id set not null,
    -- A call without a step is made by no job.
    alter column fence drop not null;

create unique index usage_call_attempt_key on usage (call_id, attempt);
alter table usage drop constraint usage_attempt_key;
create unique index usage_step_attempt_key on usage (step_id, attempt) where step_id is not null;
