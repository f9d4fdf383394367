-- no-transaction
-- Day by day, each in a transaction of its own: nobody who writes an attempt waits for more than a day's failures of the
-- past. May be stopped and begun again.
do $$
declare
    day timestamptz := (select date_trunc('day', min(at)) from usage);
    last timestamptz := (select max(at) from usage);
begin
    while day <= last loop
        update usage
           set error_kind = lower(regexp_replace(substring(error from '^[A-Za-z]+'), '([a-z])([A-Z])', '\1_\2', 'g')),
               error = regexp_replace(error, '^[A-Za-z]+( \{[^{}]*\})?: ', '')
         where at >= day and at < day + interval '1 day' and state = 'failed' and error_kind is null
           and error ~ '^[A-Z][A-Za-z]+( \{[^{}]*\})?: ';
        commit;
        day := day + interval '1 day';
    end loop;
end $$;
