-- Deployments that a model call passed over, and why: a row for each, and for each kind of reason, however often a run asks
-- again within one call. Of a call that passed nobody over nothing is written.
create table usage_skip (
    project_id uuid not null references project,
    call_id uuid not null,
    deployment text not null,
    -- cooling_down, window_too_small or untranslatable.
    kind text not null,
    -- For people, as it was the last time.
    reason text not null,
    times integer not null default 1,
    at timestamptz not null,
    constraint usage_skip_key primary key (project_id, call_id, deployment, kind)
);
