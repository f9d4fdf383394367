-- Nobody filters by these columns: to sample and sort them is most of what ANALYZE does, and it comes by often.

alter table event alter column data set statistics 0, alter column actor set statistics 0;
alter table audit_entry
    alter column header set statistics 0,
    alter column payload set statistics 0,
    alter column salt set statistics 0,
    alter column action set statistics 0;
alter table audit_seal alter column previous set statistics 0, alter column hash set statistics 0;
alter table sprint alter column state set statistics 0;
alter table story alter column state set statistics 0;
alter table pull_request alter column state set statistics 0;
alter table run alter column state set statistics 0;
alter table approval alter column state set statistics 0;
alter table step alter column request set statistics 0, alter column result set statistics 0;
