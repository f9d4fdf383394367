-- What happens to a step that was begun and of which no end is known, and where large results are.

create table step_result (
    project_id uuid not null references project,
    -- SHA-256 of the body as it was written, in hex: equal results are kept once.
    hash text not null,
    bytes integer not null,
    body jsonb not null,
    primary key (project_id, hash)
);

alter table step
    -- What the tool's own definition allows after an interruption, as it was when the step was begun.
    add column recovery text,
    -- What was done about an interruption.
    add column resolution text,
    -- A result over 32 kB is kept apart, so that reading the steps of a run does not read all of them.
    add column result_hash text,
    add constraint step_recovery check (recovery in ('repeat', 'trace', 'human')),
    add constraint step_resolution check (resolution in ('repeated', 'found', 'not_found', 'asked', 'allowed', 'declined')),
    add constraint step_result_kept foreign key (project_id, result_hash) references step_result;
