//! A tenant with one of everything, and the requests that name it by its real ids.

use crate::{
    scene::Scene,
    support::TestApp,
    tenancy::{Operation, PROJECT},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use syndarix_domain::ids::ProjectId;
use syndarix_forge::BranchName;
use syndarix_llm::{Deployment, EndpointAccess, ModelGroup, ModelGroups, ProviderKind};
use tower::ServiceExt;
use uuid::Uuid;

/// Tables without a project's id, and which of their rows are the tenant's: `$1` is the project, `$2` the organisation.
const OTHERWISE: &[(&str, &str)] = &[
    ("project", "id = $1"),
    ("audit_entry", "chain = $1"),
    ("organisation", "id = $2"),
    ("membership", "organisation_id = $2"),
    ("agent_type", "organisation_id = $2"),
    ("model_group", "organisation_id = $2"),
    ("model_provider", "organisation_id = $2"),
    ("agent_type_version", "agent_type_id in (select id from agent_type where organisation_id = $2)"),
    ("app_user", "id in (select user_id from membership where organisation_id = $2)"),
];

/// Somebody's organisation and project, with a story under review, somebody else in the team, and all that the paths of
/// the API can name.
pub(crate) struct Tenant {
    pub(crate) name: &'static str,
    pub(crate) token: String,
    pub(crate) project: Uuid,
    organisation: Uuid,
    digest: String,
    next_sprint: Value,
    policy: Value,
    /// By the collection and the parameter after it, as in a path.
    ids: BTreeMap<&'static str, String>,
}

impl Tenant {
    /// An application with a deployment that groups can name.
    pub(crate) async fn app() -> TestApp {
        // It is asked, too: nobody answers there, and no name has to be looked up.
        let url = "http://127.0.0.1:9/v1".parse().unwrap();
        let deployment = Deployment {
            endpoint_access: EndpointAccess::PrivateNetwork,
            ..Deployment::new("d", ProviderKind::OpenAiCompatible, url)
        };
        TestApp::with_models(ModelGroups::new(vec![ModelGroup::new("base", vec![deployment])]).unwrap()).await
    }

    /// Two tenants side by side. No job runs any more, so what changes from here on was changed by a request.
    pub(crate) async fn two(app: &TestApp) -> (Self, Self) {
        let (maria, otto) = (app.user("maria").await, app.user("otto").await);
        let (marias, ottos) = (app.project(&maria).await, app.project(&otto).await);
        let maria = Self::settle(app, "maria", maria, marias.parse().unwrap()).await;
        let otto = Self::settle(app, "otto", otto, ottos.parse().unwrap()).await;
        (maria, otto)
    }

    async fn settle(app: &TestApp, name: &'static str, token: String, project: Uuid) -> Self {
        let mut scene = Scene::in_project(app, token.clone(), ProjectId(project)).await;
        let pull_request = scene.reach_review().await;
        let asked = scene.offer_merge(pull_request).await;
        scene.spend(700, false).await;
        let (_, organisations) = app.get("/api/v1/organisations", &token).await;
        let organisation = text(&organisations["items"][0]["id"]);
        let (_, policy) = app.get(&scene.path("/policy"), &token).await;
        let mut tenant = Self {
            name,
            token: token.clone(),
            project,
            organisation: organisation.parse().unwrap(),
            digest: asked.digest.clone(),
            next_sprint: Value::Null,
            policy: json!({ "rows": policy["rows"], "threshold": policy["threshold"] }),
            ids: BTreeMap::from([
                ("projects/{project_id}", project.to_string()),
                ("organisations/{organisation_id}", organisation),
                ("stories/{story_id}", scene.story.to_string()),
                ("runs/{run_id}", scene.run.to_string()),
                ("agents/{agent_id}", scene.agent.to_string()),
                ("pull-requests/{pull_request_id}", pull_request.to_string()),
                ("approvals/{approval_id}", asked.id.to_string()),
                ("budgets/{scope}", "agent".to_owned()),
                ("{scope}/{scope_id}", scene.agent.to_string()),
                ("{scope_id}/{period}", "day".to_owned()),
                ("budgets/{period}", "month".to_owned()),
                ("model-groups/{name}", "code".to_owned()),
                // A path may be there twice: this one names its owner.
                ("documents/{path}", format!("notes%2Fof-{name}.md")),
            ]),
        };
        tenant.settle_over_rest(app).await;
        tenant.bury(app).await;
        tenant
    }

    /// What people make themselves.
    async fn settle_over_rest(&mut self, app: &TestApp) {
        let colleague = format!("colleague-of-{}", self.name);
        app.user(&colleague).await;
        let team = json!({ "email": format!("{colleague}@example.org"), "role": "viewer" });
        let member = self.make(app, "/members", team.clone()).await;
        let path = format!("/api/v1/organisations/{}/members", self.organisation);
        let in_organisation = json!({ "email": team["email"], "role": "member" });
        let (status, answer) = app.post(&path, &self.token, in_organisation).await;
        assert!(status.is_success(), "{status} {answer}");
        let sprint = self.make(app, "/sprints", json!({ "name": "Alpha" })).await;
        self.next_sprint = self.make(app, "/sprints", json!({ "name": "Beta" })).await["id"].clone();
        // Numbers begin at 1 in every project: only the first tenant gets as far as this one.
        let issues = if self.name == "maria" { 3 } else { 1 };
        let mut number = Value::Null;
        for _ in 0..issues {
            number = self.make(app, "/issues", json!({ "title": "It fails" })).await["number"].clone();
        }
        let document = json!({ "path": format!("notes/of-{}.md", self.name), "content": "# The secret recipe\n\nSalt." });
        self.make(app, "/knowledge/documents", document).await;
        self.make(
            app,
            "/messages",
            json!({ "content": "Hello", "conversation_id": self.id("stories/{story_id}") }),
        )
        .await;
        let limits = json!({ "soft_limit_micro_usd": 1_000_000_000 });
        for path in [
            format!("projects/{}/budgets/agent/{}/day", self.project, self.id("agents/{agent_id}")),
            format!("organisations/{}/budgets/month", self.organisation),
        ] {
            let path = format!("/api/v1/{path}");
            let (status, answer) =
                app.send(Method::PUT, &path, Some(&self.token), Some(limits.clone())).await;
            assert!(status.is_success(), "{path}: {status} {answer}");
        }
        let path = format!("/api/v1/organisations/{}/model-groups/code", self.organisation);
        let group = json!({ "chain": [{ "deployment": "d" }] });
        let (status, answer) = app.send(Method::PUT, &path, Some(&self.token), Some(group)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        let path = format!("/api/v1/organisations/{}/model-providers", self.organisation);
        let (status, provider) = app.post(&path, &self.token, provider()).await;
        assert!(status.is_success(), "{path}: {status} {provider}");
        let key = self.make(app, "/gateway-keys", json!({ "name": "For a script" })).await;
        let (_, types) = app.get("/api/v1/agent-types", &self.token).await;
        let calls = format!("/api/v1/projects/{}/usage/calls", self.project);
        let (_, calls) = app.get(&calls, &self.token).await;
        self.ids.extend([
            ("calls/{call_id}", text(&calls["items"][0]["call_id"])),
            ("members/{user_id}", text(&member["user_id"])),
            ("sprints/{sprint_id}", text(&sprint["id"])),
            ("issues/{number}", number.to_string()),
            ("gateway-keys/{key_id}", text(&key["key"]["id"])),
            ("model-providers/{provider_id}", text(&provider["id"])),
            ("agent-types/{agent_type_id}", text(&types["items"][0]["id"])),
        ]);
    }

    async fn make(&self, app: &TestApp, below: &str, body: Value) -> Value {
        let path = format!("/api/v1/projects/{}{below}", self.project);
        let (status, made) = app.post(&path, &self.token, body).await;
        assert!(status.is_success(), "{path}: {status} {made}");
        made
    }

    /// A job of the project is a dead letter, if it is not one yet.
    pub(crate) async fn bury(&mut self, app: &TestApp) {
        let id: i64 = sqlx::query_scalar(
            "with made as (
                 insert into job_dead (id, queue, project_id, kind, payload, priority, attempt, max_attempts, rescues,
                                       fence, reason, errors, created_at)
                 select (select coalesce(max(id), 1000000) + 1 from job_dead), 'sync', $1, 'test.work', '{}', 2, 3, 3, 0, 5,
                        'it broke', '[]', now()
                  where not exists (select from job_dead where project_id = $1)
                 returning id)
             select id from made union all select id from job_dead where project_id = $1",
        )
        .bind(self.project)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
        self.ids.insert("jobs/{id}", id.to_string());
    }

    /// The real id of what a path names so.
    pub(crate) fn id(&self, place: &str) -> String {
        self.ids[place].clone()
    }

    /// Whether this is the id of something of the tenant.
    pub(crate) fn has_id(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|value| self.ids.values().any(|id| id == value))
    }

    /// Every row of the tenant, by table, and where its branches are.
    pub(crate) async fn everything(&self, app: &TestApp) -> BTreeMap<String, Vec<String>> {
        let by_project: Vec<String> = sqlx::query_scalar(
            "select c.table_name::text from information_schema.columns c join information_schema.tables t
                    using (table_schema, table_name)
              where c.table_schema = 'public' and c.column_name = 'project_id' and t.table_type = 'BASE TABLE'",
        )
        .fetch_all(app.app.pool())
        .await
        .unwrap();
        let by_project = by_project.into_iter().map(|table| (table, "project_id = $1"));
        let otherwise = OTHERWISE.iter().map(|(table, which)| ((*table).to_owned(), *which));
        let mut found = BTreeMap::new();
        for (table, which) in by_project.chain(otherwise) {
            let sql = format!("select t::text from {table} t where {which} and $1 <> $2 order by 1");
            let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(self.project)
                .bind(self.organisation)
                .fetch_all(app.app.pool())
                .await
                .unwrap();
            found.insert(table, rows);
        }
        let mut heads = Vec::new();
        for branch in ["main", "feature"] {
            let head = app.app.forge.head(self.project, &BranchName::new(branch).unwrap()).await.unwrap();
            heads.push(format!("{branch} {head:?}"));
        }
        found.insert("(branches)".into(), heads);
        found
    }

    /// What an operation is sent that is meant for this tenant's things. `None`: the test knows of no body.
    pub(crate) fn body(&self, operation: &str, stranger: &str) -> Option<Value> {
        let id = |place: &str| self.id(place);
        Some(match operation {
            "ask_playground" => json!({ "model": "base", "prompt": "Hello", "max_tokens": 10 }),
            "block_story" | "cancel_job" | "cancel_run" | "cancel_sprint" | "cancel_story" | "purge_job" => {
                json!({ "reason": "So" })
            }
            "change_project" | "change_sprint" => json!({ "name": "Taken over" }),
            "comment_on_issue" | "comment_on_pull_request" => json!({ "body": "I was here" }),
            "complete_sprint" => json!({ "carry_over_to": self.next_sprint }),
            "create_gateway_key" | "replace_gateway_key" => json!({
                "name": "Theirs", "agent_id": id("agents/{agent_id}"), "user_id": id("members/{user_id}"),
            }),
            "create_issue" => json!({ "title": "Theirs", "story_id": id("stories/{story_id}") }),
            "create_project" => json!({
                "organisation_id": self.organisation, "name": "Taken over", "repository": { "source": "empty" },
            }),
            "create_pull_request" => {
                json!({ "title": "Theirs", "head_branch": "feature", "story_id": id("stories/{story_id}") })
            }
            "create_sprint" => json!({ "name": "Gamma" }),
            "create_story" => json!({ "title": "Theirs", "sprint_id": id("sprints/{sprint_id}") }),
            "decide_approval" => json!({ "outcome": "approved", "digest": self.digest }),
            "import_agent_type" => json!({
                "organisation_id": self.organisation,
                "toml": "name = \"Theirs\"\nrole = \"engineer\"\nmodel_group = \"default\"\nsystem_prompt = \"Obey.\"\n\
                         capabilities = []\n",
            }),
            "move_story" => json!({ "sprint_id": id("sprints/{sprint_id}") }),
            "post_message" => json!({
                "content": "Stop", "to": id("agents/{agent_id}"), "conversation_id": id("stories/{story_id}"),
            }),
            "create_model_provider" | "replace_model_provider" => provider(),
            "replace_model_provider_key" => json!({ "key": "another-key-of-theirs" }),
            "put_model_group" => json!({ "chain": [{ "deployment": "d" }] }),
            "put_document" => json!({ "content": "Overwritten" }),
            "put_member" | "put_organisation_member" => json!({ "email": stranger, "role": "admin" }),
            "replace_policy" => self.policy.clone(),
            "redrive_job" | "retry_repository" | "retry_run" | "rotate_gateway_key" => json!({}),
            "set_budget" | "put_budget" | "put_organisation_budget" => json!({ "hard_limit_micro_usd": 1 }),
            "spawn_agent" => json!({ "agent_type_id": id("agent-types/{agent_type_id}") }),
            "store_document" => json!({ "path": "notes/new.md", "content": "Theirs" }),
            "update_issue" => json!({ "title": "Taken over" }),
            _ => return None,
        })
    }
}

/// A path with real ids: the project's of one tenant, the others of another; else the place that has none.
pub(crate) fn addressed(path: &str, project: &Tenant, rest: &Tenant) -> Result<String, String> {
    let mut before = "";
    let mut parts = Vec::new();
    for part in path.split('/') {
        let place = format!("{before}/{part}");
        parts.push(match part {
            PROJECT => project.project.to_string(),
            part if part.starts_with('{') => rest.ids.get(&*place).cloned().ok_or(place)?,
            part => part.to_owned(),
        });
        before = part;
    }
    Ok(parts.join("/"))
}

/// Sends an operation and reads the answer; of a stream, which does not end, only how it begins.
pub(crate) async fn ask(
    app: &TestApp,
    operation: &Operation,
    (path, token): (&str, &str),
    body: Option<Value>,
) -> (StatusCode, Value) {
    // What is searched for has to be said.
    let query = if operation.id == "search_knowledge" { "?q=recipe" } else { "" };
    let request = Request::builder()
        .method(operation.method.clone())
        .uri(format!("{path}{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string().into()),
        None => request.body(Body::empty()),
    };
    let response = app.router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return (status, Value::Null);
    }
    let bytes = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024).await.unwrap();
    let read = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| read()))
}

/// Reading comes first and deleting last, so that no operation takes away what the next one names.
pub(crate) fn in_order(mut operations: Vec<Operation>) -> Vec<Operation> {
    let rank = |method: &Method| match *method {
        Method::GET => 0,
        Method::PUT => 1,
        Method::DELETE => 3,
        _ => 2,
    };
    operations.sort_by_key(|one| (rank(&one.method), std::cmp::Reverse(one.path.clone())));
    operations
}

/// A provider with a key; nobody asks it.
fn provider() -> Value {
    json!({
        "name": "ours", "kind": "openai", "base_url": "https://192.0.2.1/v1", "key": "the-key-of-a-tenant",
        "deployments": [{ "name": "m", "model": "m", "context_window": 1_000, "max_output": 100 }],
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
