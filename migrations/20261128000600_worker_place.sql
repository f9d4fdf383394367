-- A place that one process at a time can hold, kept by other means than this database: the embedded server's lock file.
-- Whoever holds it knows that its earlier holders are gone, also after a restart of the server, which forgets the locks.
alter table worker add column place text;
