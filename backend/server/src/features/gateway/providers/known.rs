//! What an organisation's groups can name: the configured deployments, and those of its own providers.

use super::{
    address::access,
    place,
    queries::{self, Stored},
    settings::{Deployment, full_name},
};
use crate::{db::Error, state::App};
use sqlx::PgConnection;
use std::sync::Arc;
use syndarix_domain::ids::{OrganisationId, ProjectId};
use syndarix_llm::{self as llm, ModelGroups, Secret};
use url::Url;

/// The configured groups and all deployments that an organisation has.
#[derive(Debug, Clone, Default)]
pub(in crate::features::gateway) struct Base {
    /// The groups, with every deployment.
    pub(in crate::features::gateway) groups: ModelGroups,
    /// Those of them that are the organisation's own, by name.
    pub(in crate::features::gateway) own: Arc<[String]>,
}

impl Base {
    /// Whether a deployment is the organisation's own.
    pub(in crate::features::gateway) fn is_own(&self, deployment: &str) -> bool {
        self.own.iter().any(|own| own == deployment)
    }
}

/// What an organisation has.
pub(in crate::features::gateway) async fn base(
    app: &App,
    conn: &mut PgConnection,
    organisation: OrganisationId,
) -> Result<Base, Error> {
    Ok(with(app, &queries::of_organisation(conn, organisation).await?))
}

/// What the organisation of a project has.
pub(in crate::features::gateway) async fn of_project(app: &App, project: ProjectId) -> sqlx::Result<Base> {
    Ok(with(app, &queries::of_project(app.pool(), project).await?))
}

fn with(app: &App, providers: &[Stored]) -> Base {
    let deployments: Vec<llm::Deployment> = providers.iter().flat_map(|one| usable(app, one)).collect();
    Base {
        own: deployments.iter().map(|one| one.name.clone()).collect(),
        groups: app.models.groups.with_deployments(deployments),
    }
}

/// A provider's deployments; none while its key does not open or its address may not be asked.
fn usable(app: &App, stored: &Stored) -> Vec<llm::Deployment> {
    match opened(app, stored) {
        Ok((url, access, key)) => {
            let made = |one: &Deployment| llm::Deployment {
                vendor: stored.vendor.clone(),
                model: one.model.clone(),
                api_key: key.clone(),
                prices: one.prices.map(Into::into),
                context_window: one.context_window,
                max_output: one.max_output,
                accepts_temperature: one.accepts_temperature,
                limits: one.timeouts.map(Into::into).unwrap_or_default(),
                endpoint_access: access,
                api_version: stored.api_version.clone(),
                owner: Some(stored.organisation().0.to_string()),
                ..llm::Deployment::new(full_name(&stored.name, &one.name), stored.kind.into(), url.clone())
            };
            stored.deployments.iter().map(made).collect()
        }
        Err(reason) => {
            tracing::warn!(provider = %stored.id, reason, "a model provider cannot be used");
            Vec::new()
        }
    }
}

fn opened(app: &App, stored: &Stored) -> Result<(Url, llm::EndpointAccess, Option<Secret>), String> {
    let url: Url = stored.base_url.parse().map_err(|error| format!("its address does not read: {error}"))?;
    let allowed = access(&app.config, &url);
    let access = allowed.ok_or("its address is not https, and its host is allowed no longer")?;
    let place = place(stored.organisation(), stored.id, &stored.base_url);
    let key = stored.sealed().map(|sealed| app.vault.unseal(place, sealed)).transpose();
    Ok((url, access, key.map_err(|error| error.to_string())?))
}
