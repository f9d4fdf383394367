-- What a virtual key has spent is added up before each of its calls, where it has a budget.
create index usage_key on usage (key_id) where key_id is not null;
