-- Which revision of its machine a state row is of: what another revision wrote is mapped before anything reads it. The
-- indexes are of a column that hardly ever changes, so they find such rows at once and do not stand in the way of HOT
-- updates.
alter table sprint add column def_rev integer not null default 1;
alter table story add column def_rev integer not null default 1;
alter table pull_request add column def_rev integer not null default 1;
alter table run add column def_rev integer not null default 1;
alter table approval add column def_rev integer not null default 1;
create index sprint_revision on sprint (def_rev);
create index story_revision on story (def_rev);
create index pull_request_revision on pull_request (def_rev);
create index run_revision on run (def_rev);
create index approval_revision on approval (def_rev);
