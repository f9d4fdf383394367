-- Making and dropping a day lock the history for a moment. Each is one statement: a caller that freezes in the middle of
-- a transaction would hold that lock, and with it the ends of all jobs. Null: another is the leader now. False: left for
-- the next time, since the table is busy, or rows of the day are in the rest already.
create function job_done_make_day(day date, as_duty text, as_holder uuid, as_epoch bigint) returns boolean
language plpgsql set lock_timeout = '500ms' as $$
declare
    name text := 'job_done_' || to_char(day, 'YYYYMMDD');
begin
    perform from leader_lease
      where duty = as_duty and holder = as_holder and epoch = as_epoch and expires_at > clock_timestamp() for share;
    if not found then
        return null;
    end if;
    -- Made apart and then attached: that does not keep anybody from writing to the history.
    execute format('create table %I (like job_done including all)', name);
    execute format('alter table job_done attach partition %I for values from (%L) to (%L)',
                   name, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
    return true;
exception when lock_not_available or check_violation then
    return false;
end $$;

create function job_done_drop_day(day date, as_duty text, as_holder uuid, as_epoch bigint) returns boolean
language plpgsql set lock_timeout = '500ms' as $$
begin
    perform from leader_lease
      where duty = as_duty and holder = as_holder and epoch = as_epoch and expires_at > clock_timestamp() for share;
    if not found then
        return null;
    end if;
    execute format('drop table if exists %I', 'job_done_' || to_char(day, 'YYYYMMDD'));
    return true;
exception when lock_not_available then
    return false;
end $$;
