-- Every minute it is looked for runs that wait for money: by an index of those, however many others wait for people. A
-- column, because an index that mentions `state` would make every update of a run a cold one.
alter table run add column for_money boolean not null
    generated always as (phase = 'waiting' and coalesce(state -> 'phase' -> 'wait' ->> 'on' = 'budget', false)) stored;
create index run_for_money on run (project_id) where for_money;
