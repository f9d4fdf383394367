-- Which queues a worker polls, so that a queue that nobody polls can be named. Null for a worker of an earlier release.
alter table worker add column queues text[];
