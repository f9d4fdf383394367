//! A project with a person and an agent in it, for features that only need to stand in one.

use crate::support::TestApp;
use syndarix::clock::Clock;
use syndarix_domain::ids::{AgentId, ProjectId, RunId, UserId};
use uuid::Uuid;

/// Somebody's project.
pub struct Seeded {
    pub project: Uuid,
    pub user: Uuid,
    pub agent: Uuid,
    pub run: Uuid,
    /// The access token of the person, who may do everything here.
    pub user_token: String,
}

impl Seeded {
    /// A path below the project.
    pub fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project)
    }

    /// A token for the agent's calls to one MCP server, and to the backend.
    pub fn agent_token(&self, app: &TestApp, server: &str) -> String {
        let caps = vec![format!("{server}:read"), format!("{server}:write")];
        let bound = (ProjectId(self.project), RunId(self.run));
        app.app.keys.sign_service(server, AgentId(self.agent), bound, caps, app.app.store.new_id()).unwrap()
    }
}

/// A project of its own, named after the person.
pub async fn project_of(app: &TestApp, name: &str) -> Seeded {
    // Service tokens are checked against the system's clock.
    app.clock.set(Clock::default().now());
    let new = || app.app.store.new_id();
    let (organisation, user, project, agent_type, agent) = (new(), new(), new(), new(), new());
    let sql = format!(
        "insert into organisation (id, name, created_at) values ('{organisation}', '{name}', now());
         insert into app_user (id, email, name, password_hash, created_at)
             values ('{user}', '{name}@example.org', '{name}', '-', now());
         insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
             values ('{project}', '{organisation}', '{name}', 'milestone', '{{}}', 'ready', '{{}}', now());
         insert into project_member (project_id, user_id, role, created_at)
             values ('{project}', '{user}', 'admin', now());
         insert into project_log (project_id) values ('{project}');
         insert into agent_type (id, organisation_id, name, role, version, is_active, created_at)
             values ('{agent_type}', '{organisation}', 'Engineer', 'engineer', 1, true, now());
         insert into agent (id, project_id, agent_type_id, type_version, role, name, status, last_activity_at, created_at)
             values ('{agent}', '{project}', '{agent_type}', 1, 'engineer', 'Ada of {name}', 'active', now(), now())"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(app.app.pool()).await.unwrap();
    let user_token = app.app.keys.sign_access(UserId(user), 0).unwrap();
    Seeded { project, user, agent, run: new(), user_token }
}
