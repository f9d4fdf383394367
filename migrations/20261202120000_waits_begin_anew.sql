-- Since when a job waits, where it waits for a length of time: a wait that has yet to begin was written before the clock was
-- set back, and begins anew. Null where it waits for a time that somebody named.
alter table job add column waits_since timestamptz;
