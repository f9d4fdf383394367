-- Locks a project's books, and reads the budgets above some calls after that, each with its windows; no row where the project
-- has no books. It has to stay volatile: each statement of such a function sees what was committed before that statement, so
-- that the second one sees what whoever had the lock before has written. One statement for both would see what there was
-- before it waited. Budgets are found by scope and id; the organisation's goes without saying.
create function hold_books(of_project uuid, scopes text[], ids uuid[], since timestamptz)
returns table (
    id uuid, scope text, scope_id uuid, period text,
    hard_limit_micro_usd bigint, soft_limit_micro_usd bigint, hard_limit_tokens bigint, soft_limit_tokens bigint,
    starts_at timestamptz,
    spent_micro_usd bigint, simulated_micro_usd bigint, reserved_micro_usd bigint, spent_tokens bigint, reserved_tokens bigint)
language plpgsql volatile rows 10 as $$
#variable_conflict use_column
begin
    perform from budget b join budget_window w on w.budget_id = b.id
      where b.scope = 'project' and b.scope_id = of_project and b.period = 'total' for update of w;
    if not found then
        return;
    end if;
    -- No window is longer than a month; that of a budget for all time begins with time.
    return query
    select b.id, b.scope, b.scope_id, b.period,
           b.hard_limit_micro_usd, b.soft_limit_micro_usd, b.hard_limit_tokens, b.soft_limit_tokens, w.starts_at,
           coalesce(w.spent_micro_usd, 0), coalesce(w.simulated_micro_usd, 0), coalesce(w.reserved_micro_usd, 0),
           coalesce(w.spent_tokens, 0), coalesce(w.reserved_tokens, 0)
      from budget b
      left join budget_window w on w.budget_id = b.id and (b.period = 'total' or w.starts_at > since - interval '32 days')
     where (b.project_id = of_project and (b.scope, b.scope_id) in (select n.scope, n.id from unnest(scopes, ids) as n (scope, id)))
        or (b.scope = 'organisation' and b.scope_id = (select p.organisation_id from project p where p.id = of_project));
end $$;
