-- What each attempt was charged at, so that its cost can be computed again from its row alone: micro-USD per 1,000,000
-- tokens of each class, and where the prices came from. Rows from before this have none.

alter table usage
    add column tokens_cache_write bigint not null default 0,
    add column rate_input bigint,
    add column rate_output bigint,
    add column rate_cache_read bigint,
    add column rate_cache_write bigint,
    add column price_version text;
