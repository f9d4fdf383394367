-- What waits is found by its beginning. Not with the column: the lock which that takes is let go before the table is read.
create index job_waits on job (waits_since) where owner is null and not due and waits_since is not null;
