//! The books of model calls: a tree of budgets, many calls at once, crashes in between.

use crate::{budgets::project, support::TestApp};
use chrono::Duration as Span;
use std::{sync::Arc, time::Duration};
use syndarix::{
    config::Durability,
    db::Author,
    features::{
        costs::{self, Limits, Owner, Target},
        llm::{Attempt, Failed, Ledger, Outcome, Place, Refusal, Reservation, Settlement, beat},
    },
    state::App,
};
use syndarix_domain::{
    actor::Actor,
    budget::{Amount, Budget, Limit, Period, Scope, Wish},
    ids::{AgentId, CallId, GatewayKeyId, OrganisationId, ProjectId, RunId, SprintId, UserId},
    money::MicroUsd,
};
use syndarix_llm::{Rates, Usage};
use tokio::task::JoinSet;
use uuid::Uuid;

/// One micro-USD for each token of an answer, nothing for the prompt.
const RATES: Rates = Rates { input: 0, output: 1_000_000, ..Rates::FREE };
/// What is too short to be worth asking for.
const FLOOR: u32 = 512;
const AT_ONCE: Duration = Duration::ZERO;
/// Who asks for all calls.
pub(crate) const SOMEBODY: UserId = UserId(Uuid::from_u128(7));

pub(crate) fn reservation(app: &App, place: Place, max_output: u32) -> Reservation {
    Reservation {
        id: app.store.new_id(),
        place,
        attempt: Attempt {
            call: CallId(app.store.new_id()),
            number: 1,
            story: None,
            step: None,
            user: Some(SOMEBODY),
            deployment: "d".into(),
            provider: "p".into(),
            model: "m".into(),
            unpriced: false,
            price_version: "test".into(),
            simulated: false,
            group: "g".into(),
            downgraded_to: None,
        },
        yields: false,
        rates: RATES,
        max_input: 10,
        max_output,
        choices: 1,
        at: app.clock().now(),
    }
}

pub(crate) fn settlement(app: &App, of: &Reservation, output: u32) -> Settlement {
    Settlement {
        id: of.id,
        project: of.place.project,
        actor: Actor::System,
        outcome: Outcome {
            call: of.attempt.call,
            run: None,
            step: None,
            model: "m".into(),
            error: None,
            usage: Usage { input: 7, output, ..Usage::default() },
            cost: i64::from(output),
            unpriced: false,
            rates: RATES,
            price_version: "test".into(),
            latency_ms: 1,
            first_content_ms: None,
            simulated: false,
        },
        at: app.clock().now(),
        unsure: false,
    }
}

pub(crate) async fn reserve(app: &App, place: Place, max_output: u32) -> (Reservation, Result<u32, Refusal>) {
    let reservation = reservation(app, place, max_output);
    let answer = app.ledger.reserve(&reservation, AT_ONCE).await.unwrap();
    (reservation, answer)
}

pub(crate) async fn set(app: &App, target: Target, limits: Limits) {
    let mut uow = app.store.begin(Author::system());
    costs::set_limits(&mut uow, target, limits).await.unwrap();
    uow.commit().await.unwrap();
}

pub(crate) fn hard(micro_usd: i64) -> Limits {
    Limits { hard_micro_usd: Some(micro_usd), ..Limits::default() }
}

pub(crate) async fn organisation(app: &App, project: ProjectId) -> OrganisationId {
    let id: Uuid = sqlx::query_scalar("select organisation_id from project where id = $1")
        .bind(project.0)
        .fetch_one(app.pool())
        .await
        .unwrap();
    OrganisationId(id)
}

/// Spent and reserved micro-USD, spent and reserved tokens of a budget's latest window.
pub(crate) async fn counted(app: &App, target: Target) -> (i64, i64, i64, i64) {
    let (scope, id) = match target.on {
        Owner::Organisation(id) => (Scope::Organisation, id.0),
        Owner::Project(_, scope, id) => (scope, id),
    };
    sqlx::query_as(
        "select spent_micro_usd, reserved_micro_usd, spent_tokens, reserved_tokens
           from budget_window w join budget b on b.id = w.budget_id
          where b.scope = $1 and b.scope_id = $2 and b.period = $3 order by starts_at desc limit 1",
    )
    .bind(scope.name())
    .bind(id)
    .bind(target.period.name())
    .fetch_one(app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn when_money_is_short_an_answer_gets_shorter_before_a_call_is_refused() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    let mut granted = Vec::new();
    loop {
        let (reservation, answer) = reserve(&app.app, place, 8_000).await;
        match answer {
            Ok(output) => granted.push(output),
            Err(refusal) => {
                assert!(
                    refusal.reason.starts_with("the project's hard budget of $0.01 would be passed"),
                    "{refusal:?}"
                );
                assert_eq!(refusal.needed, Amount::new(i64::from(FLOOR), 522));
                break;
            }
        }
        // It said little.
        assert!(app.app.ledger.settle(settlement(&app.app, &reservation, 100)).await.unwrap());
    }
    assert_eq!(granted.first(), Some(&2_500), "a quarter of what is left");
    assert!(granted.is_sorted_by(|before, after| before >= after), "{granted:?}");
    assert_eq!(granted.last(), Some(&FLOOR));
    // After each, 100 more are spent: the last one that fits begins with 9,400 spent.
    assert_eq!(granted.len(), 95, "nobody is refused while the money for an answer is there");
    let stored: i32 = sqlx::query_scalar("select max_output from usage order by id limit 1")
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(stored, 2_500);
}

#[tokio::test]
async fn every_node_above_a_call_has_its_say() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let (sprint, agent, run, key) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let nodes = [
        (Scope::Project, project.0),
        (Scope::Sprint, sprint),
        (Scope::Agent, agent),
        (Scope::Run, run),
        (Scope::Key, key),
    ];
    let mut targets: Vec<Target> = nodes
        .iter()
        .map(|(scope, id)| Target { on: Owner::Project(project, *scope, *id), period: Period::Day })
        .collect();
    targets.push(Target {
        on: Owner::Organisation(organisation(&app.app, project).await),
        period: Period::Month,
    });
    let place = Place {
        project,
        sprint: Some(SprintId(sprint)),
        agent: Some(AgentId(agent)),
        run: Some(RunId(run)),
        key: Some(GatewayKeyId(key)),
    };
    for target in targets {
        set(&app.app, target, hard(100)).await;
        let (_, answer) = reserve(&app.app, place, 1_000).await;
        let refusal = answer.unwrap_err();
        let name = match target.on {
            Owner::Organisation(_) => "the organisation's hard budget for this month".to_owned(),
            Owner::Project(_, scope, _) => format!("the {scope}'s hard budget of $0.000100 for today"),
        };
        assert!(refusal.reason.starts_with(&name), "{refusal:?}");
        assert!(!refusal.only_reserved);
        let elsewhere = Place { sprint: Some(SprintId(Uuid::now_v7())), ..Place::of_project(project) };
        let passes = reserve(&app.app, elsewhere, 1_000).await.1.is_ok();
        let above_both = matches!(target.on, Owner::Organisation(_) | Owner::Project(_, Scope::Project, _));
        assert_eq!(passes, !above_both, "{target:?}");
        set(&app.app, target, Limits { soft_tokens: Some(1_000_000), ..Limits::default() }).await;
    }
    assert!(reserve(&app.app, place, 1_000).await.1.is_ok(), "all limits are gone");
}

#[tokio::test]
async fn tokens_run_out_like_money() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let limits = Limits { hard_tokens: Some(2_000), ..Limits::default() };
    set(&app.app, Target::of_project(project), limits).await;
    let (first, granted) = reserve(&app.app, Place::of_project(project), 8_000).await;
    assert_eq!(granted, Ok(FLOOR), "a quarter would be 490");
    assert!(app.app.ledger.settle(settlement(&app.app, &first, 500)).await.unwrap());
    assert_eq!(counted(&app.app, Target::of_project(project)).await, (500, 0, 507, 0));
    for _ in 0..2 {
        assert!(reserve(&app.app, Place::of_project(project), 8_000).await.1.is_ok());
    }
    let refusal = reserve(&app.app, Place::of_project(project), 8_000).await.1.unwrap_err();
    let sentence = "the project's hard budget of 2000 tokens would be passed: 507 used, 1044 reserved, this call may use 522";
    assert_eq!(refusal.reason, sentence);
    assert!(refusal.only_reserved, "it would fit if nobody else were at it");
}

#[tokio::test]
async fn an_organisations_budget_refuses_without_a_word_of_what_its_projects_spend() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    let on = Owner::Organisation(organisation(&app.app, place.project).await);
    for (limits, budget) in [
        (hard(100), "hard budget for this week"),
        (Limits { hard_tokens: Some(100), ..Limits::default() }, "hard budget of tokens for this week"),
    ] {
        set(&app.app, Target { on, period: Period::Week }, limits).await;
        let refusal = reserve(&app.app, place, 1_000).await.1.unwrap_err();
        let raised = "an owner or admin of the organisation can raise it";
        assert_eq!(refusal.reason, format!("the organisation's {budget} would be passed: {raised}"));
    }
}

#[tokio::test]
async fn a_budget_that_is_set_while_calls_are_under_way_counts_each_of_them_once() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let agent = Uuid::now_v7();
    let place = Place { agent: Some(AgentId(agent)), ..Place::of_project(project) };
    let (done, _) = reserve(&app.app, place, 600).await;
    app.app.ledger.settle(settlement(&app.app, &done, 300)).await.unwrap();
    let (open, _) = reserve(&app.app, place, 600).await;
    let target = Target { on: Owner::Project(project, Scope::Agent, agent), period: Period::Week };
    set(&app.app, target, hard(5_000)).await;
    assert_eq!(counted(&app.app, target).await, (300, 600, 307, 610));
    app.app.ledger.settle(settlement(&app.app, &open, 200)).await.unwrap();
    assert_eq!(counted(&app.app, target).await, (500, 0, 514, 0));
}

#[tokio::test]
async fn a_period_begins_anew_and_what_was_reserved_before_counts_before() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let place = Place::of_project(project);
    let target = Target { on: Owner::Project(project, Scope::Project, project.0), period: Period::Day };
    set(&app.app, target, hard(1_000)).await;
    let (yesterday, granted) = reserve(&app.app, place, 600).await;
    assert_eq!(granted, Ok(FLOOR));
    assert!(reserve(&app.app, place, 600).await.1.is_err(), "only 488 are left of the day");
    app.clock.set(app.app.clock().now() + Span::days(1));
    let (_, granted) = reserve(&app.app, place, 600).await;
    assert_eq!(granted, Ok(FLOOR), "a new day");
    app.app.ledger.settle(settlement(&app.app, &yesterday, 400)).await.unwrap();
    let windows: Vec<(i64, i64)> = sqlx::query_as(
        "select spent_micro_usd, reserved_micro_usd from budget_window w join budget b on b.id = w.budget_id
          where b.period = 'day' order by starts_at",
    )
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    assert_eq!(windows, [(400, 0), (0, 512)]);
}

#[tokio::test]
async fn whoever_is_only_in_the_way_of_others_reservations_waits_for_them() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(1_000)).await);
    let (first, granted) = reserve(&app.app, place, 900).await;
    assert_eq!(granted, Ok(FLOOR));
    let second = reservation(&app.app, place, 600);
    let patient = app.app.ledger.reserve(&second, Duration::from_secs(60));
    let frees = async {
        // Not before the other has been refused once, or it would not have to wait.
        while app.app.ledger.reserve(&reservation(&app.app, place, 600), AT_ONCE).await.unwrap().is_ok() {}
        app.app.ledger.settle(settlement(&app.app, &first, 10)).await.unwrap();
    };
    let (granted, ()) = tokio::join!(patient, frees);
    assert_eq!(granted.unwrap(), Ok(FLOOR));
}

#[tokio::test]
async fn what_a_silent_process_has_reserved_is_ended_and_what_a_living_one_has_is_left() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    let dead = Ledger::new(app.app.store.clone(), Uuid::now_v7(), Durability::Full);
    let (lost, kept) = (reservation(&app.app, place, 700), reservation(&app.app, place, 700));
    dead.reserve(&lost, AT_ONCE).await.unwrap().unwrap();
    app.app.ledger.reserve(&kept, AT_ONCE).await.unwrap().unwrap();
    beat(app.app.pool(), app.app.instance).await.unwrap();
    costs::schedule(&app.app).await.unwrap();
    // Whoever looks has a clock that is ahead.
    app.clock.set(app.app.clock().now() + Span::hours(2));
    app.ring(Uuid::nil(), "costs.reconcile").await;
    let states: Vec<(Uuid, String, i64, bool, String)> =
        sqlx::query_as("select id, state, cost_micro_usd, estimated, price_version from usage order by id")
            .fetch_all(app.app.pool())
            .await
            .unwrap();
    let row = |of: &Reservation, state: &str, cost: i64| {
        (of.id, state.to_owned(), cost, state == "interrupted", "test".to_owned())
    };
    assert_eq!(states, [row(&lost, "interrupted", 700), row(&kept, "reserved", 0)]);
    assert!(!dead.settle(settlement(&app.app, &lost, 5)).await.unwrap(), "it comes too late to count twice");
    let total = counted(&app.app, Target::of_project(place.project)).await;
    assert_eq!(total, (700, 700, 710, 710));
}

#[tokio::test]
async fn a_process_that_was_heard_before_the_clock_was_set_back_is_found_silent_all_the_same() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    let gone = Uuid::now_v7();
    let dead = Ledger::new(app.app.store.clone(), gone, Durability::Full);
    dead.reserve(&reservation(&app.app, place, 700), AT_ONCE).await.unwrap().unwrap();
    beat(app.app.pool(), gone).await.unwrap();
    costs::schedule(&app.app).await.unwrap();
    let mut states: Vec<String> = Vec::new();
    for passes in [
        "update reservation_holder set last_seen = last_seen + interval '1 hour'",
        "update reservation_holder set last_seen = last_seen - interval '2 minutes'",
    ] {
        sqlx::query(passes).execute(app.app.pool()).await.unwrap();
        app.ring(Uuid::nil(), "costs.reconcile").await;
        states.push(sqlx::query_scalar("select state from usage").fetch_one(app.app.pool()).await.unwrap());
    }
    assert_eq!(states, ["reserved", "interrupted"], "it may live, and then it is gone");
}

/// What a project sees of its usage: cost, tokens of answers, calls.
async fn seen(app: &App, project: ProjectId) -> (i64, i64, i64) {
    sqlx::query_as(
        "select sum(cost_micro_usd)::bigint, sum(tokens_out)::bigint, sum(calls)::bigint from usage_sum where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn usage_is_summed_up_once_its_hour_is_over_and_counts_once_all_the_while() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    costs::schedule(&app.app).await.unwrap();
    let start = app.app.clock().now();
    let gone = Uuid::now_v7();
    let (mut cost, other) = (0, Ledger::new(app.app.store.clone(), gone, Durability::Full));
    for hour in 0..6 {
        app.clock.set(start + Span::hours(hour) + Span::minutes(59));
        beat(app.app.pool(), app.app.instance).await.unwrap();
        for output in [100, 200] {
            let (reservation, _) = reserve(&app.app, place, 700).await;
            app.app.ledger.settle(settlement(&app.app, &reservation, output)).await.unwrap();
            cost += i64::from(output);
        }
        if hour == 2 {
            beat(app.app.pool(), gone).await.unwrap();
            other.reserve(&reservation(&app.app, place, 700), AT_ONCE).await.unwrap().unwrap();
        }
        if hour == 3 {
            let silent =
                "update reservation_holder set last_seen = now() - interval '2 minutes' where instance = $1";
            sqlx::query(silent).bind(gone).execute(app.app.pool()).await.unwrap();
        }
        app.ring(Uuid::nil(), "costs.reconcile").await;
        let calls = 2 * (hour + 1) + i64::from(hour >= 2);
        // What was open at 11:59 has been ended once its process was gone, at its worst case.
        let lost = if hour > 2 { 700 } else { 0 };
        assert_eq!(seen(&app.app, place.project).await, (cost + lost, cost + lost, calls), "hour {hour}");
    }
    let hours: Vec<(i64, i64)> = sqlx::query_as("select calls, cost_micro_usd from usage_hour order by hour")
        .fetch_all(app.app.pool())
        .await
        .unwrap();
    assert_eq!(hours, [(2, 300), (2, 300), (3, 1_000), (2, 300), (2, 300)][..hours.len()]);
    assert_eq!(hours.len(), 4, "the hour that has just ended, and this one, may still change");
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// A call of one of three agents in one of two sprints and one of two runs, with a key or without.
    Begin { agent: usize, sprint: usize, run: usize, key: bool, output: u32 },
    /// One that is open ends, at a share of its reservation in thousandths.
    End(proptest::sample::Index, u32),
    /// A limit is set on one of the nodes, in money or tokens.
    Set(usize, i64, bool),
}

fn moves() -> impl proptest::strategy::Strategy<Value = Vec<Move>> {
    use proptest::prelude::*;
    let one = prop_oneof![
        5 => (0_usize..3, 0_usize..2, 0_usize..2, any::<bool>(), 1_u32..3_000)
            .prop_map(|(agent, sprint, run, key, output)| Move::Begin { agent, sprint, run, key, output }),
        4 => (any::<proptest::sample::Index>(), 0_u32..=1_000).prop_map(|(which, share)| Move::End(which, share)),
        1 => (0_usize..10, 0_i64..20_000, any::<bool>()).prop_map(|(node, limit, money)| Move::Set(node, limit, money)),
    ];
    prop::collection::vec(one, 10..40)
}

/// What the model keeps of one node.
struct Modelled {
    node: (Scope, Uuid),
    budget: Budget,
    /// Whether there is a budget on it; what is used counts also before.
    set: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_do_to_a_tree_of_budgets_what_the_model_does() {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };
    let app = TestApp::start().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..10 {
        let moves = moves().new_tree(&mut runner).unwrap().current();
        let project = project(&app, None).await;
        let organisation = organisation(&app.app, project).await;
        let id = |_| Uuid::now_v7();
        let (agents, sprints, runs) = ([0; 3].map(id), [0; 2].map(id), [0; 2].map(id));
        let key = Uuid::now_v7();
        let scopes = [(Scope::Organisation, organisation.0), (Scope::Project, project.0)]
            .into_iter()
            .chain(agents.map(|id| (Scope::Agent, id)))
            .chain(sprints.map(|id| (Scope::Sprint, id)))
            .chain([(Scope::Key, key)])
            .chain(runs.map(|id| (Scope::Run, id)));
        let mut model: Vec<Modelled> = scopes
            .map(|node| Modelled { node, budget: Budget::default(), set: node.0 == Scope::Project })
            .collect();
        let mut open: Vec<(Reservation, Amount, Vec<usize>)> = Vec::new();
        for this in &moves {
            match this {
                Move::Begin { agent, sprint, run, key: keyed, output } => {
                    let place = Place {
                        agent: Some(AgentId(agents[*agent])),
                        sprint: Some(SprintId(sprints[*sprint])),
                        run: Some(RunId(runs[*run])),
                        key: keyed.then_some(GatewayKeyId(key)),
                        ..Place::of_project(project)
                    };
                    let above: Vec<usize> = [0, 1, 2 + agent, 5 + sprint, 8 + run]
                        .into_iter()
                        .chain(keyed.then_some(7))
                        .collect();
                    let worst_case = |output: u32| Amount::new(i64::from(output), 10 + i64::from(output));
                    let wish = Wish { max_output: *output, floor: FLOOR, worst_case };
                    let limited: Vec<&Budget> = above
                        .iter()
                        .map(|at| &model[*at])
                        .filter(|one| one.set)
                        .map(|one| &one.budget)
                        .collect();
                    let expected = wish.grant(&limited).ok();
                    let (reservation, answer) = reserve(&app.app, place, *output).await;
                    assert_eq!(answer.ok(), expected, "{moves:?}");
                    if let Some(output) = expected {
                        let amount = worst_case(output);
                        for at in &above {
                            let budget = &mut model[*at].budget;
                            budget.reserved = budget.reserved.plus(amount);
                        }
                        open.push((reservation, amount, above));
                    }
                }
                Move::End(..) if open.is_empty() => {}
                Move::End(which, share) => {
                    let (reservation, amount, above) = open.swap_remove(which.index(open.len()));
                    let output = u32::try_from(amount.money.0).unwrap() * share / 1_000;
                    let mut settlement = settlement(&app.app, &reservation, output);
                    // What failed is paid for and tells nothing of how long answers are: the floor stays where it is.
                    settlement.outcome.error = Some(Failed { kind: "connection", message: "cut off".into() });
                    assert!(app.app.ledger.settle(settlement).await.unwrap());
                    let used = Amount::new(i64::from(output), 7 + i64::from(output));
                    for at in above {
                        model[at].budget.settle(amount, used);
                    }
                }
                Move::Set(node, limit, in_money) => {
                    let one = &mut model[*node];
                    let limits = if *in_money { (Some(*limit), None) } else { (None, Some(*limit)) };
                    one.budget.hard = Limit { money: limits.0.map(MicroUsd), tokens: limits.1 };
                    one.set = true;
                    let on = match one.node {
                        (Scope::Organisation, id) => Owner::Organisation(OrganisationId(id)),
                        (scope, id) => Owner::Project(project, scope, id),
                    };
                    let target = Target { on, period: Period::Total };
                    let new = Limits { hard_micro_usd: limits.0, hard_tokens: limits.1, ..Limits::default() };
                    set(&app.app, target, new).await;
                }
            }
        }
        for one in model.iter().filter(|one| one.set) {
            let on = match one.node {
                (Scope::Organisation, id) => Owner::Organisation(OrganisationId(id)),
                (scope, id) => Owner::Project(project, scope, id),
            };
            let (spent, reserved) = (one.budget.spent, one.budget.reserved);
            let stored = counted(&app.app, Target { on, period: Period::Total }).await;
            let expected = (spent.money.0, reserved.money.0, spent.tokens, reserved.tokens);
            assert_eq!(stored, expected, "{:?} {moves:?}", one.node);
        }
    }
}

/// Lets the tables refuse every write that would pass a hard limit: at no moment does any transaction see more.
pub(crate) async fn watch(app: &TestApp) {
    for statement in WATCH.split_inclusive("end $$;") {
        sqlx::raw_sql(statement).execute(app.app.pool()).await.unwrap();
    }
}

const WATCH: &str = "
create function watched() returns trigger language plpgsql as $$
begin
    if exists (select from budget b where b.id = new.budget_id
                  and (new.spent_micro_usd + new.simulated_micro_usd + new.reserved_micro_usd > b.hard_limit_micro_usd
                       or new.spent_tokens + new.reserved_tokens > b.hard_limit_tokens)) then
        raise exception 'a hard limit was passed';
    end if;
    return new;
end $$;
create trigger watched before insert or update on budget_window for each row execute function watched()";

const CALLS: usize = 1_000;

/// A call that asks, takes so long at its provider, and ends; one in ten dies before, and nobody settles for it. What it cost, and
/// what it leaves reserved.
pub(crate) async fn played(
    (app, ledger): (&App, &Ledger),
    call: &Reservation,
    takes: Duration,
) -> (i64, i64) {
    let Ok(granted) = ledger.reserve(call, Duration::from_secs(2)).await.unwrap() else { return (0, 0) };
    tokio::time::sleep(takes).await;
    if rand::random_range(0..10) == 0 {
        return (0, i64::from(granted));
    }
    let output = rand::random_range(0..=granted);
    assert!(ledger.settle(settlement(app, call, output)).await.unwrap());
    (i64::from(output), 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_on_two_processes_with_crashes_never_pass_a_limit_above_them() {
    let app = Arc::new(TestApp::start().await);
    let others = Arc::new([app.app.clone(), app.another().await]);
    let first = project(&app, Some(300_000)).await;
    let owner = organisation(&app.app, first).await;
    let second = project(&app, Some(200_000)).await;
    sqlx::query("update project set organisation_id = $1, name = id::text")
        .bind(owner.0)
        .execute(app.app.pool())
        .await
        .unwrap();
    sqlx::query("update budget set organisation_id = $1")
        .bind(owner.0)
        .execute(app.app.pool())
        .await
        .unwrap();
    let (agents, key) = ([0; 4].map(|_| Uuid::now_v7()), Uuid::now_v7());
    set(&app.app, Target { on: Owner::Organisation(owner), period: Period::Month }, hard(400_000)).await;
    for agent in agents {
        let target = Target { on: Owner::Project(first, Scope::Agent, agent), period: Period::Day };
        set(&app.app, target, Limits { hard_tokens: Some(120_000), ..Limits::default() }).await;
    }
    set(&app.app, Target::of_key(second, key), hard(150_000)).await;
    // All windows of days and months begin anew, with calls of both projects at once.
    app.clock.set(app.app.clock().now() + Span::days(40));
    watch(&app).await;
    let mut calls = JoinSet::new();
    for n in 0..CALLS {
        let others = Arc::clone(&others);
        let place = if n % 3 == 0 {
            Place { key: Some(GatewayKeyId(key)), ..Place::of_project(second) }
        } else {
            Place { agent: Some(AgentId(agents[n % 4])), ..Place::of_project(first) }
        };
        calls.spawn(async move {
            let process = &others[n % 2];
            let call = reservation(process, place, rand::random_range(1..4_000));
            played((process, &process.ledger), &call, Duration::ZERO).await
        });
    }
    let ended = calls.join_all().await;
    let (asked, held) = ended.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(asked > 0 && held > 0, "{asked} {held}");
    let (spent, reserved): (i64, i64) = sqlx::query_as(
        "select coalesce(sum(cost_micro_usd), 0)::bigint, coalesce(sum(reserved_micro_usd) filter (where state = 'reserved'), 0)::bigint
           from usage",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!((spent, reserved), (asked, held), "no row is lost, none counts twice");
    let organisation = Target { on: Owner::Organisation(owner), period: Period::Month };
    let counts = counted(&app.app, organisation).await;
    assert_eq!((counts.0, counts.1), (asked, held), "the tree's top is the sum of what is below");
    // The dead ones are found, and their money with them.
    costs::schedule(&app.app).await.unwrap();
    app.ring(Uuid::nil(), "costs.reconcile").await;
    let counts = counted(&app.app, organisation).await;
    assert_eq!((counts.0, counts.1), (asked + held, 0));
}
