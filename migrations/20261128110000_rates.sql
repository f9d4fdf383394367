-- How often jobs of one key may start. Jobs that name a rate wait in its line, outside the queue's indexes; as many as
-- may start are let out of it, and the claim asks once more. Jobs without a rate touch nothing of this.
create type rate_limit as (key text, count integer, seconds double precision);

alter table job add column rate rate_limit,
    -- Set while it waits in the line of its rate: its place there, a later one for a lower priority.
    add column in_line_at timestamptz;
alter table job_dead add column rate rate_limit;
alter table timer add column rate rate_limit;

-- Without those that a worker of the release before, which knows of no line, took out of it.
create index job_in_line on job (((rate).key), tenant, in_line_at, id) where in_line_at is not null and owner is null and not due;
-- Let out of the line and not started yet: they count against what else may be let out.
create index job_let_out on job (((rate).key)) where owner is null and due and (rate).key is not null;
-- As `job_later`, which a worker of the release before still uses, but without those in a line.
create index job_delayed on job (run_at) where owner is null and not due and in_line_at is null;

-- The latest starts of a key. Narrow, and nothing that changes is indexed, so that every update is a heap-only one.
create table job_rate (
    key       text          primary key,
    starts    timestamptz[] not null,
    -- From here on the row says nothing that a missing row would not.
    idle_from timestamptz   not null
) with (fillfactor = 50);

-- How many of `wanted` jobs may start now; they count as started when the caller commits. Null: another transaction is
-- deciding about this key. A clock that was set back must not close a key for longer than its window.
create function job_rate_take(as_key text, most integer, seconds double precision, wanted bigint) returns integer
language plpgsql as $$
declare
    at   timestamptz;
    past timestamptz[];
    ahead boolean;
    room integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended(as_key, 8)) then
        return null;
    end if;
    at := clock_timestamp();
    select array_agg(least(start, at) order by start), bool_or(start > at) into past, ahead
      from job_rate, unnest(starts) as start
     where key = as_key and start > at - make_interval(secs => seconds);
    room := least(greatest(most - coalesce(cardinality(past), 0), 0), wanted);
    if room > 0 or ahead then
        insert into job_rate as known (key, starts, idle_from)
        values (as_key, coalesce(past, '{}') || array_fill(at, array[room]), at + make_interval(secs => seconds))
        on conflict (key) do update set starts = excluded.starts, idle_from = excluded.idle_from;
    end if;
    return room;
end $$;

-- Of jobs that the caller has locked, in the order of their turns: those that may start. The others go to the line, or stay
-- where they are while another transaction is deciding about their key.
create function job_rate_sift(jobs bigint[], ageing double precision) returns bigint[]
language plpgsql as $$
declare
    asked  record;
    room   integer;
    passed bigint[] := '{}';
begin
    for asked in
        select (rate).key, min((rate).count) as most, max((rate).seconds) as seconds, array_agg(job.id order by nth) as ids
          from unnest(jobs) with ordinality as mine (id, nth) join job on job.id = mine.id group by (rate).key
    loop
        room := job_rate_take(asked.key, asked.most, asked.seconds, cardinality(asked.ids));
        continue when room is null;
        passed := passed || asked.ids[1:room];
        update job set due = false, in_line_at = run_at + priority * make_interval(secs => ageing)
         where id = any (asked.ids[room + 1:]);
    end loop;
    return passed;
end $$;
