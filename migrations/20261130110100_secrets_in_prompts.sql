-- What is done about credentials that are found in what a project says to models.
alter table project add column secrets_in_prompts text not null default 'off'
    constraint project_secrets_in_prompts check (secrets_in_prompts in ('off', 'report', 'redact'));
