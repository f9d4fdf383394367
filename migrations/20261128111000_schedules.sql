-- Recurring timers by cron expression, and what becomes of ticks that nobody fired in time. Timers that are there keep
-- their period and their policy: one job for all the ticks that were missed.
alter table timer
    add column cron text,
    add column zone text,
    -- How many missed ticks are made up for, the latest ones.
    add column catch_up smallint not null default 1,
    -- Only ticks after this one fire: a schedule's name and a tick are the identity of what it starts.
    add column last_tick timestamptz,
    add constraint timer_one_schedule check (every_seconds is null or cron is null),
    add constraint timer_cron_has_zone check ((cron is null) = (zone is null)),
    add constraint timer_catch_up_positive check (catch_up >= 0);

-- The tick that a job is for.
alter table job add column tick timestamptz;
alter table job_dead add column tick timestamptz;
