-- A key's row is written by its command's own transaction: no row is pending any more, and none needs an owner.
-- One id in place of scope and key: the first half of their SHA-256.

delete from idempotency where status = 0;

alter table idempotency
    add column id uuid,
    -- What came of the command, committed with it: the answer can be made from it.
    add column result jsonb not null default 'null',
    -- The answer, once it was given.
    add column answer jsonb;
update idempotency
set id = encode(substring(sha256(convert_to(scope || E'\n' || key, 'UTF8')) for 16), 'hex')::uuid, answer = body;
alter table idempotency
    drop constraint idempotency_pkey,
    drop column scope,
    drop column key,
    drop column status,
    drop column body,
    add primary key (id);
