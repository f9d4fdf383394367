-- What is written to a cache that is kept for an hour costs more than what is kept for five minutes; some providers count
-- pictures and sound apart. Rows from before this have none of it.

alter table usage
    -- The part of tokens_cache_write that is kept for an hour, and what it was charged at, in micro-USD per 1,000,000.
    add column tokens_cache_write_1h bigint not null default 0,
    add column rate_cache_write_1h bigint,
    -- Parts of tokens_in and tokens_out that were charged at a rate of their own, where there were any:
    -- [{"class": "image", "tokens": 1, "rate": 1}]
    add column other_classes jsonb;
