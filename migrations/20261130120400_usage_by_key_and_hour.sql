-- What a virtual key without a budget of its own has spent is added up from its hours.
create index usage_hour_of_key on usage_hour (key_id) include (project_id, simulated, cost_micro_usd) where key_id is not null;
