//! The proof that a caller may do something in a project. It cannot be made but by checking membership here; operations
//! and queries take the project's id from it and bind it. Jobs take the id from the row that they work on.

use super::{ApiError, Caller, CallerKind};
use crate::state::App;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use std::marker::PhantomData;
use syndarix_domain::{actor::Actor, ids::ProjectId};
use syndarix_mcp_kit::{Access, allows};
use uuid::Uuid;

/// A role in a project, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProjectRole {
    /// Sees everything.
    Viewer,
    /// And decides approvals.
    Approver,
    /// And writes stories, sprints, agents.
    Editor,
    /// And changes members, policy, budget.
    Admin,
}

impl ProjectRole {
    /// As stored and as the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// Reads a stored or sent role.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Approver, Self::Editor, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// A role in an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganisationRole {
    /// May do everything, in every project of the organisation.
    Owner,
    /// The same, and cannot remove owners.
    Admin,
    /// Sees the projects that name them.
    Member,
}

impl OrganisationRole {
    /// As stored and as the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

/// What an endpoint needs.
pub trait Level: Send + Sync + 'static {
    /// The weakest role that is enough.
    const ROLE: ProjectRole;
    /// Agents of the project may use it too.
    const AGENTS: bool;
    /// What an agent's token must allow.
    const ACCESS: Access;
}

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident => $role:ident, $agents:literal, $access:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Level for $name {
            const ROLE: ProjectRole = ProjectRole::$role;
            const AGENTS: bool = $agents;
            const ACCESS: Access = Access::$access;
        }
    )*};
}

levels! {
    /// Reading; agents may read their own project.
    View => Viewer, true, Read;
    /// What agents do through their tools, and editors by hand.
    Work => Editor, true, Write;
    /// What only people change.
    Edit => Editor, false, Write;
    /// Deciding: never an agent.
    Approve => Approver, false, Write;
    /// Members, policy, budget.
    Admin => Admin, false, Write;
}

/// Proof that this caller may do this in this project.
#[derive(Debug)]
pub struct ProjectScope<L = View> {
    project: ProjectId,
    caller: Caller,
    role: ProjectRole,
    level: PhantomData<L>,
}

impl<L> ProjectScope<L> {
    /// The project, to be bound in every query.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Who acts.
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// Who acts, with what the token says.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The caller's role.
    pub fn role(&self) -> ProjectRole {
        self.role
    }
}

impl<L: Level> FromRequestParts<App> for ProjectScope<L> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::not_found("project"))?;
        let project = params
            .iter()
            .find(|(name, _)| *name == "project_id")
            .and_then(|(_, value)| value.parse::<Uuid>().ok())
            .map(ProjectId)
            .ok_or_else(|| ApiError::not_found("project"))?;
        authorize::<L>(app, caller, project, group_of(parts.uri.path())).await
    }
}

/// The one place that says who may do what in a project.
async fn authorize<L: Level>(
    app: &App,
    caller: Caller,
    project: ProjectId,
    group: &str,
) -> Result<ProjectScope<L>, ApiError> {
    let role = match &caller.kind {
        CallerKind::Agent { project: own, .. } if *own != project => None,
        CallerKind::Agent { .. } if !L::AGENTS => {
            return Err(ApiError::forbidden("agents may not do this: it is for people"));
        }
        CallerKind::Agent { capabilities, .. } => {
            check_capability(capabilities, group, L::ACCESS)?;
            Some(ProjectRole::Editor)
        }
        CallerKind::User(user) => role_of(app, project, user.0).await?,
    };
    // A stranger learns nothing, not even that the project is there.
    let role = role.ok_or_else(|| ApiError::not_found("project"))?;
    if role < L::ROLE {
        return Err(ApiError::forbidden(format!(
            "this needs the project role {}; yours is {}",
            L::ROLE.name(),
            role.name()
        )));
    }
    Ok(ProjectScope { project, caller, role, level: PhantomData })
}

/// What of a project a path is about: the word after the project's id.
fn group_of(path: &str) -> &str {
    path.split('/').skip_while(|part| *part != "projects").nth(2).unwrap_or_default()
}

/// The tool server through which agents get at a group, and whose capability they need for it.
fn server_of(group: &str) -> Option<&'static str> {
    match group {
        "issues" => Some("issues"),
        "knowledge" => Some("knowledge-base"),
        "pull-requests" => Some("git"),
        _ => None,
    }
}

/// A token is for what its tools do: reading the rest of its own project is free, writing the rest is not allowed.
fn check_capability(held: &[String], group: &str, access: Access) -> Result<(), ApiError> {
    let allowed = match server_of(group) {
        Some(server) => allows(held, server, access),
        None => access == Access::Read,
    };
    if allowed {
        return Ok(());
    }
    Err(ApiError::forbidden(format!("the agent's token does not allow to {} here", access.as_str())))
}

async fn role_of(app: &App, project: ProjectId, user: Uuid) -> Result<Option<ProjectRole>, ApiError> {
    let row: Option<(Option<String>, Option<String>)> = sqlx::query_as(
        "select pm.role, m.role from project p
         left join project_member pm on pm.project_id = p.id and pm.user_id = $2
         left join membership m on m.organisation_id = p.organisation_id and m.user_id = $2
         where p.id = $1",
    )
    .bind(project.0)
    .bind(user)
    .fetch_optional(app.pool())
    .await?;
    let Some((member, organisation)) = row else { return Ok(None) };
    let through_organisation =
        matches!(organisation.as_deref(), Some("owner" | "admin")).then_some(ProjectRole::Admin);
    let named = member.as_deref().and_then(ProjectRole::parse);
    Ok(through_organisation.max(named))
}
