//! Gives a run to an agent, and frees the agent again.

use super::Definition;
use crate::db::{Error, Uow};
use serde_json::json;
use sqlx::{FromRow, PgPool, types::Json};
use syndarix_domain::{
    ids::{AgentId, ProjectId, RunId},
    pull_request::PullRequest,
    stage::{Room, StageName},
};
use syndarix_forge::{GitError, Identity};
use uuid::Uuid;

/// An instance with the version of its type that it keeps.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// A person-like name.
    pub name: String,
    /// What it was spawned from.
    pub definition: Definition,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    definition: Json<Definition>,
}

impl From<Row> for Agent {
    fn from(row: Row) -> Self {
        Self { id: AgentId(row.id), name: row.name, definition: row.definition.0 }
    }
}

/// Names that instances get, in turn; a number follows when all are taken.
const NAMES: &[&str] = &[
    "Ada", "Bela", "Chidi", "Dara", "Edith", "Farid", "Grace", "Hana", "Ines", "Jonas", "Kofi", "Lena",
    "Mina", "Nils", "Olga", "Pablo", "Quinn", "Rosa", "Soren", "Tariq", "Uma", "Vera", "Wen", "Yara", "Zoe",
];

/// An idle agent of the first of the stage's roles that has one, marked as working on this run; else a new one where the
/// project has [`Room`]; else none.
pub async fn assign(
    uow: &mut Uow,
    project: ProjectId,
    stage: StageName,
    run: RunId,
    task: &str,
) -> Result<Option<Agent>, Error> {
    let roles: Vec<&str> = stage.roles().iter().map(|role| role.name()).collect();
    let idle = match idle(uow, project, &roles).await? {
        Some(agent) => Some(agent),
        None => spawn_one(uow, project, (stage, &roles)).await?,
    };
    let Some(agent) = idle else { return Ok(None) };
    sqlx::query(
        "update agent set status = 'active', current_run_id = $3, current_task = $4, last_activity_at = $5
         where id = $1 and project_id = $2",
    )
    .bind(agent.id.0)
    .bind(project.0)
    .bind(run.0)
    .bind(task)
    .bind(uow.now())
    .execute(uow.conn().await?)
    .await?;
    announce_status(uow, project, agent.id, "active", Some(run));
    Ok(Some(agent))
}

async fn idle(uow: &mut Uow, project: ProjectId, roles: &[&str]) -> Result<Option<Agent>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select a.id, a.name, v.definition from agent a
         join agent_type_version v on v.agent_type_id = a.agent_type_id and v.version = a.type_version
         where a.project_id = $1 and a.status = 'idle' and a.role = any($2)
         order by array_position($2, a.role), a.last_activity_at
         limit 1 for update of a skip locked",
    )
    .bind(project.0)
    .bind(roles)
    .fetch_optional(uow.conn().await?)
    .await?;
    Ok(row.map(Agent::from))
}

/// Whether the project may have one more. Counted under the project's row lock, so that two at once cannot both
/// take the last place.
pub(super) async fn free_place(uow: &mut Uow, project: ProjectId) -> Result<bool, Error> {
    lock(uow, project).await?;
    let Team { roles, limit } = team(uow, project).await?;
    Ok(roles.len() < limit)
}

/// The same for a stage that finds nobody. Where there is no room without the lock either, nobody stands in line to hear that:
/// stories that wait for an agent ask every few seconds.
async fn has_room(uow: &mut Uow, project: ProjectId, stage: StageName) -> Result<bool, Error> {
    if !team(uow, project).await?.has_room(stage) {
        return Ok(false);
    }
    lock(uow, project).await?;
    Ok(team(uow, project).await?.has_room(stage))
}

async fn lock(uow: &mut Uow, project: ProjectId) -> Result<(), Error> {
    sqlx::query("select from project where id = $1 for no key update")
        .bind(project.0)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

/// The roles of a project's agents, and how many it may have.
struct Team {
    roles: Vec<String>,
    limit: usize,
}

impl Team {
    fn has_room(&self, stage: StageName) -> bool {
        Room::of(stage, &self.roles, self.limit) == Room::Free
    }
}

async fn team(uow: &mut Uow, project: ProjectId) -> Result<Team, Error> {
    let found: Option<(Vec<String>, i32)> = sqlx::query_as(
        "select array(select role from agent where project_id = $1 and status <> 'terminated'), agent_limit
           from project where id = $1",
    )
    .bind(project.0)
    .fetch_optional(uow.conn().await?)
    .await?;
    let (roles, limit) = found.ok_or(Error::NotFound("project"))?;
    Ok(Team { roles, limit: usize::try_from(limit).unwrap_or(0) })
}

async fn spawn_one(
    uow: &mut Uow,
    project: ProjectId,
    (stage, roles): (StageName, &[&str]),
) -> Result<Option<Agent>, Error> {
    if !has_room(uow, project, stage).await? {
        return Ok(None);
    }
    let found: Option<(Uuid, i32, String, Json<Definition>)> = sqlx::query_as(
        "select t.id, t.version, t.role, v.definition from agent_type t
         join agent_type_version v on v.agent_type_id = t.id and v.version = t.version
         where t.is_active and t.role = any($2)
           and (t.organisation_id is null
                or t.organisation_id = (select organisation_id from project where id = $1))
         order by array_position($2, t.role), t.organisation_id nulls last, t.name limit 1",
    )
    .bind(project.0)
    .bind(roles)
    .fetch_optional(uow.conn().await?)
    .await?;
    let Some((type_id, version, role, definition)) = found else { return Ok(None) };
    let id = AgentId(uow.new_id());
    spawn(uow, project, id, NewAgent { type_id, version, role, name: None }, definition.0).await.map(Some)
}

/// What a new instance is spawned from.
pub(super) struct NewAgent {
    pub(super) type_id: Uuid,
    pub(super) version: i32,
    pub(super) role: String,
    pub(super) name: Option<String>,
}

/// Adds an instance. The caller holds the project's row lock, so the name that is free stays free.
pub(super) async fn spawn(
    uow: &mut Uow,
    project: ProjectId,
    id: AgentId,
    new: NewAgent,
    definition: Definition,
) -> Result<Agent, Error> {
    let name = match new.name {
        Some(name) => name,
        None => free_name(uow, project).await?,
    };
    sqlx::query(
        "insert into agent (id, project_id, agent_type_id, type_version, role, name, status, last_activity_at, created_at)
         values ($1, $2, $3, $4, $5, $6, 'idle', $7, $7)",
    )
    .bind(id.0)
    .bind(project.0)
    .bind(new.type_id)
    .bind(new.version)
    .bind(&new.role)
    .bind(&name)
    .bind(uow.now())
    .execute(uow.conn().await?)
    .await?;
    let data = json!({ "agent_id": id, "name": name, "role": new.role, "type": definition.name, "version": new.version });
    uow.announce(project, "agent", id, "agent.spawned.v1", data);
    Ok(Agent { id, name, definition })
}

async fn free_name(uow: &mut Uow, project: ProjectId) -> Result<String, Error> {
    let taken: Vec<String> = sqlx::query_scalar("select name from agent where project_id = $1")
        .bind(project.0)
        .fetch_all(uow.conn().await?)
        .await?;
    let round = taken.len() / NAMES.len();
    let candidates = (round..).flat_map(|round| {
        NAMES.iter().map(move |name| match round {
            0 => (*name).to_owned(),
            round => format!("{name} {}", round + 1),
        })
    });
    let free = candidates.into_iter().find(|name| !taken.contains(name));
    free.ok_or(Error::NotFound("name"))
}

/// Frees the agent that worked on this run; one that was paused or terminated meanwhile stays so.
pub async fn release(uow: &mut Uow, project: ProjectId, agent: AgentId, run: RunId) -> Result<(), Error> {
    let status: Option<String> = sqlx::query_scalar(
        "update agent set status = case when status = 'active' then 'idle' else status end,
                current_run_id = null, current_task = null, last_activity_at = $4
         where id = $1 and project_id = $2 and current_run_id = $3 returning status",
    )
    .bind(agent.0)
    .bind(project.0)
    .bind(run.0)
    .bind(uow.now())
    .fetch_optional(uow.conn().await?)
    .await?;
    if let Some(status) = status {
        announce_status(uow, project, agent, &status, None);
    }
    Ok(())
}

pub(super) fn announce_status(
    uow: &mut Uow,
    project: ProjectId,
    agent: AgentId,
    status: &str,
    run: Option<RunId>,
) {
    let data = json!({ "agent_id": agent, "status": status, "run_id": run });
    uow.announce(project, "agent", agent, "agent.status_changed.v1", data);
}

/// The name of the agent who wrote a pull request's change.
pub async fn author_of(pool: &PgPool, pr: &PullRequest) -> Result<String, sqlx::Error> {
    let name: Option<String> = sqlx::query_scalar(
        "select a.name from run r join agent a on a.id = (r.state ->> 'agent')::uuid
         where r.project_id = $1 and r.story_id = $2 and r.state ->> 'stage' = 'implementation'
         order by r.id desc limit 1",
    )
    .bind(pr.project.0)
    .bind(pr.story.map(|story| story.0))
    .fetch_optional(pool)
    .await?;
    Ok(name.unwrap_or_else(|| "Syndarix".into()))
}

/// How an agent signs its commits. The address is not one that mail could reach.
pub fn commit_identity(name: &str) -> Result<Identity, GitError> {
    let local: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '.' }).collect();
    Identity::new(name, &format!("{local}@agents.syndarix.localhost"))
}

/// An agent's name, for sentences that people read.
pub async fn name_of(pool: &PgPool, project: ProjectId, agent: AgentId) -> Result<String, Error> {
    let name: Option<String> = sqlx::query_scalar("select name from agent where id = $1 and project_id = $2")
        .bind(agent.0)
        .bind(project.0)
        .fetch_optional(pool)
        .await?;
    Ok(name.unwrap_or_else(|| "a former agent".into()))
}
