-- PostgreSQL updates a row in place of its indexes (HOT) only where no column that an index mentions has changed, in its
-- keys or in its condition. Two indexes of runs mentioned `state` and `phase`, which every transition changes: each
-- paid five index entries. What they are about is in columns of its own now, whose values change seldom or never.

alter table run
    add column story_id uuid not null generated always as ((state ->> 'story')::uuid) stored,
    add column at_work boolean not null
        generated always as (phase not in ('waiting', 'succeeded', 'failed', 'stalled', 'cancelled')) stored;

drop index run_story;
drop index run_at_work;
create index run_story on run (story_id);
create index run_at_work on run (id) where at_work;

-- Stories: those that are over leave the index, whichever way.
drop index story_moving;
drop index story_working;
alter table story add column open boolean not null
    generated always as (phase not in ('done', 'blocked', 'cancelled')) stored;
create index story_working on story (id) where open;
create index story_moving on story (id) where open and not parked;
