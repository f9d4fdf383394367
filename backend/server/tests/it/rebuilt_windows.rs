//! What budgets count is the sum of their usage rows, and is made anew from them.

use crate::{
    budgets::project,
    cli,
    ledger::{counted, hard, organisation, reserve, set, settlement},
    ledger_away::somebody_waits,
    support::TestApp,
};
use serde_json::json;
use std::sync::Arc;
use syndarix::{
    db::Author,
    features::{
        costs::{self, Owner, RebuiltWindows, Target, rebuild_windows},
        llm::Place,
    },
};
use syndarix_domain::{
    budget::{Period, Scope},
    ids::{GatewayKeyId, ProjectId},
};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Calls of one key, below budgets of it, of its project and of its organisation.
struct Tree {
    place: Place,
    targets: [Target; 3],
}

impl Tree {
    async fn of(app: &TestApp, project: ProjectId) -> Self {
        let key = Uuid::now_v7();
        let organisation = organisation(&app.app, project).await;
        let targets = [
            Target { on: Owner::Organisation(organisation), period: Period::Month },
            Target::of_project(project),
            Target { on: Owner::Project(project, Scope::Key, key), period: Period::Day },
        ];
        for target in targets {
            set(&app.app, target, hard(100_000_000)).await;
        }
        Self { place: Place { key: Some(GatewayKeyId(key)), ..Place::of_project(project) }, targets }
    }

    /// What each of the three budgets counts.
    async fn counted(&self, app: &TestApp) -> [(i64, i64, i64, i64); 3] {
        let [organisation, project, key] = self.targets;
        [
            counted(&app.app, organisation).await,
            counted(&app.app, project).await,
            counted(&app.app, key).await,
        ]
    }
}

async fn rebuilt(app: &TestApp, write: bool) -> RebuiltWindows {
    rebuild_windows(&app.app.store, write).await.unwrap()
}

async fn execute(app: &TestApp, sql: &'static str) {
    sqlx::raw_sql(sql).execute(app.app.pool()).await.unwrap();
}

#[tokio::test]
async fn a_window_that_was_changed_by_hand_is_named_and_made_anew_from_its_usage_rows() {
    let app = TestApp::start().await;
    let project = project(&app, Some(100_000)).await;
    let tree = Tree::of(&app, project).await;
    let (done, _) = reserve(&app.app, tree.place, 600).await;
    app.app.ledger.settle(settlement(&app.app, &done, 300)).await.unwrap();
    let (open, _) = reserve(&app.app, tree.place, 600).await;
    let before = tree.counted(&app).await;
    let sound = rebuilt(&app, false).await;
    assert_eq!((sound.windows, sound.different), (3, vec![]));

    for (sql, named, how) in [
        (
            "update budget_window set spent_micro_usd = 7 where budget_id = (select id from budget where scope = 'key')",
            "budget_window/key/",
            "spent_micro_usd is 7, its usage rows come to 300",
        ),
        (
            "update budget_window set reserved_micro_usd = 0, reserved_tokens = 5
              where budget_id = (select id from budget where scope = 'organisation')",
            "budget_window/organisation/",
            "reserved_micro_usd is 0, its usage rows come to 600; reserved_tokens is 5, its usage rows come to 610",
        ),
        (
            "delete from budget_window where budget_id = (select id from budget where scope = 'project')",
            "budget_window/project/",
            "it is not there",
        ),
        (
            "delete from budget_window where budget_id = (select id from budget where scope = 'key')",
            "budget_window/key/",
            "spent_micro_usd is 0, its usage rows come to 300",
        ),
    ] {
        execute(&app, sql).await;
        let told = rebuilt(&app, false).await.different;
        let repaired = rebuilt(&app, true).await;
        assert!(told.len() == 1 && told[0].starts_with(named) && told[0].contains(how), "{told:?}");
        assert_eq!((repaired.different, repaired.left), (told, vec![]));
        assert_eq!(tree.counted(&app).await, before, "{sql}");
    }
    app.app.ledger.settle(settlement(&app.app, &open, 200)).await.unwrap();
    assert_eq!(tree.counted(&app).await, [(500, 0, 514, 0); 3], "and the books go on");
}

#[tokio::test]
async fn a_budget_that_is_taken_away_meanwhile_is_passed_over_and_the_others_are_made_anew() {
    let app = TestApp::start().await;
    let tree = Tree::of(&app, project(&app, None).await).await;
    let (done, _) = reserve(&app.app, tree.place, 600).await;
    app.app.ledger.settle(settlement(&app.app, &done, 300)).await.unwrap();
    execute(&app, "update budget_window set spent_micro_usd = 7").await;
    let [organisation, project, key] = tree.targets;
    let mut remover = app.app.store.begin(Author::system());
    assert!(costs::remove_limits(&mut remover, key).await.unwrap());

    let (repaired, ()) = tokio::join!(rebuilt(&app, true), async {
        // All budgets are listed by then, and the first of them waits for the books.
        somebody_waits(&app).await;
        remover.commit().await.unwrap();
    });

    let mut named: Vec<_> = repaired.different.iter().filter_map(|window| window.split('/').nth(1)).collect();
    named.sort_unstable();
    assert_eq!((named, repaired.left), (vec!["organisation", "project"], vec![]));
    for target in [organisation, project] {
        assert_eq!(counted(&app.app, target).await, (300, 0, 307, 0));
    }
}

/// Calls of one task, one after the other.
const CALLS: u32 = 25;
const TASKS: usize = 8;

fn busy(app: &Arc<TestApp>, places: [Place; 2]) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for task in 0..TASKS {
        let (app, place) = (Arc::clone(app), places[task % 2]);
        callers.spawn(async move {
            for n in 0..CALLS {
                let (call, granted) = reserve(&app.app, place, 600).await;
                granted.unwrap();
                app.app.ledger.settle(settlement(&app.app, &call, n)).await.unwrap();
            }
        });
    }
    callers
}

fn is_over(callers: &mut JoinSet<()>) -> bool {
    while let Some(done) = callers.try_join_next() {
        done.unwrap();
    }
    callers.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_calls_are_under_way_no_window_differs_and_a_repair_among_them_leaves_all_of_them_right() {
    let app = Arc::new(TestApp::start().await);
    let first = Tree::of(&app, project(&app, None).await).await;
    let second = Tree::of(&app, project(&app, None).await).await;

    let mut callers = busy(&app, [first.place, second.place]);
    while !is_over(&mut callers) {
        assert_eq!(rebuilt(&app, false).await.different, Vec::<String>::new());
    }
    let mut callers = busy(&app, [first.place, second.place]);
    while !is_over(&mut callers) {
        // One after the other: calls lock them in an order of their own.
        for by_hand in [
            "update budget_window w set spent_micro_usd = spent_micro_usd + 1000
               from budget b where b.id = w.budget_id and b.scope = 'organisation'",
            "update budget_window w set reserved_tokens = reserved_tokens + 9
               from budget b where b.id = w.budget_id and b.scope = 'key'",
        ] {
            execute(&app, by_hand).await;
        }
        let repaired = rebuilt(&app, true).await;
        assert_eq!(repaired.left, Vec::<String>::new());
    }

    // Half of the tasks were each tree's, twice.
    let tasks = i64::try_from(TASKS).unwrap();
    let (calls, spent) = (tasks * i64::from(CALLS), tasks * (0..i64::from(CALLS)).sum::<i64>());
    let expected = [(spent, 0, spent + 7 * calls, 0); 3];
    assert_eq!((first.counted(&app).await, second.counted(&app).await), (expected, expected));
}

#[tokio::test]
async fn the_command_says_which_counter_is_wrong_and_repairs_it_where_it_is_told_to() {
    let place = cli::Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    place.json(&["project", "create", "shop"]);
    let pool = place.pool().await;
    sqlx::query("update budget_window set spent_micro_usd = 7").execute(&pool).await.unwrap();
    pool.close().await;

    let told = place.run(&["rebuild"]);

    let said = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("budget_window/project/") && said.contains("spent_micro_usd is 7"), "{said}");
    let repaired = place.json(&["rebuild", "--write"]);
    assert_eq!((repaired["different"].as_array().unwrap().len(), &repaired["left"]), (1, &json!([])));
    assert_eq!(place.json(&["rebuild"])["different"], json!([]));
    place.end().await;
}
