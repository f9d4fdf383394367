//! A project with a person and an agent in it, for features that only need to stand in one.

use crate::support::TestApp;
use syndarix::{clock::Clock, features::auth::Grant};
use syndarix_domain::ids::{AgentId, ProjectId, RunId};
use syndarix_mcp_kit::{
    Host, Options, TokenVerifier, ToolServer,
    testing::{Bench, Client, Started},
};
use uuid::Uuid;

/// Somebody's project.
pub(crate) struct Seeded {
    pub(crate) project: Uuid,
    pub(crate) agent: Uuid,
    pub(crate) run: Uuid,
    /// The access token of the person, who may do everything here.
    pub(crate) user_token: String,
}

impl Seeded {
    /// A path below the project.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project)
    }

    /// A token for the agent's calls to one MCP server, and to the backend.
    pub(crate) fn agent_token(&self, app: &TestApp, server: &str) -> String {
        self.agent_token_with(app, server, &[&format!("{server}:write")])
    }

    /// The same with these capabilities.
    pub(crate) fn agent_token_with(&self, app: &TestApp, server: &str, caps: &[&str]) -> String {
        let caps = caps.iter().map(|cap| (*cap).to_owned()).collect();
        let bound = (ProjectId(self.project), RunId(self.run));
        let grant = Grant { caps, branch: None };
        app.app.keys.sign_service(server, AgentId(self.agent), bound, grant, app.app.store.new_id()).unwrap()
    }
}

/// A person with a project, and an agent of theirs who is at work in a run.
pub(crate) async fn project_of(app: &TestApp, name: &str) -> Seeded {
    // Service tokens are checked against the system's clock.
    app.clock.set(Clock::default().now());
    let user_token = app.user(name).await;
    let project: Uuid = app.project(&user_token).await.parse().unwrap();
    let (agent_type, agent) = (app.app.store.new_id(), app.app.store.new_id());
    let run = app.app.store.new_id();
    let sql = format!(
        "insert into agent_type (id, organisation_id, name, role, version, updated_at)
             select '{agent_type}', organisation_id, 'Seeded', 'engineer', 1, now() from project where id = '{project}';
         insert into agent (id, project_id, agent_type_id, type_version, role, name, status, last_activity_at, created_at)
             values ('{agent}', '{project}', '{agent_type}', 1, 'engineer', 'Ada of {name}', 'active', now(), now());
         insert into run (id, project_id, version, phase, state, updated_at)
             values ('{run}', '{project}', 1, 'acting', jsonb_build_object('story', gen_random_uuid()), now())"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(app.app.pool()).await.unwrap();
    Seeded { project, agent, run, user_token }
}

/// The MCP server of this name over real HTTP, before the application over real HTTP, and a client of the agent.
pub(crate) struct Tools {
    pub(crate) client: Client,
    _server: Started,
    _backend: Started,
}

impl Tools {
    pub(crate) async fn start(app: &TestApp, seed: &Seeded, server: ToolServer<()>) -> Self {
        let name = server.name();
        let backend = Started::new("backend", app.router.clone()).await;
        let mut bench = Bench::new();
        (bench.project, bench.agent, bench.run) = (seed.project, seed.agent, seed.run);
        let options = Options {
            workspaces: Some(bench.workspaces()),
            backend_url: Some(backend.base.parse().unwrap()),
            ..Options::default()
        };
        let verifier = TokenVerifier::from_pem(app.app.keys.public_pem()).unwrap();
        let host = Host::new(verifier, options).unwrap();
        let server = Started::new(name, server.mount(&host)).await;
        let client = bench.client_at(&server.url, &seed.agent_token(app, name)).await.unwrap();
        Self { client, _server: server, _backend: backend }
    }
}
