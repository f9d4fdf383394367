-- Why somebody gave a dead letter up, in their words.
alter table job_done add column note text;
