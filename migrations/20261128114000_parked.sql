-- A run that waits for a human costs nothing but its rows: the sweeps of every few seconds find what is at work by
-- these indexes, however many are parked beside it.

create index run_at_work on run (id) where phase not in ('waiting', 'succeeded', 'failed', 'stalled', 'cancelled');

-- Not started yet, or waiting for somebody's answer. A column, so that the index below is of values that change seldom:
-- one of an expression on `state` would make every update of a story a cold one. What it does not know is not parked.
alter table story add column parked boolean not null
    generated always as (coalesce(state -> 'phase' -> 'work' ->> 'name' in ('idle', 'asking'), false)) stored;
create index story_moving on story (id) where not parked and phase not in ('done', 'blocked', 'cancelled');
