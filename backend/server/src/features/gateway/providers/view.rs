//! A provider as it is shown: of its key, what tells it from another.

use super::{
    place,
    queries::Stored,
    settings::{Deployment, Kind, Prices, Timeouts, full_name},
};
use crate::state::App;
use serde::Serialize;
use syndarix_domain::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

/// What may be seen of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelProviderKey)]
pub(super) struct KeyView {
    /// Its last four characters; null of a short one.
    last_four: Option<String>,
    /// The same for the same key in this organisation, until the operator changes the master key.
    fingerprint: String,
    /// When it was given.
    #[schema(value_type = String, format = DateTime)]
    set_at: Timestamp,
    /// Whether the process that answers can decrypt it. False: its models are passed over; give it anew, or have the
    /// operator restore the master key.
    readable: bool,
}

/// A model at a provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelProviderModel)]
pub(super) struct DeploymentView {
    /// What groups and clients call it.
    full_name: String,
    /// What it is called among those of the provider.
    name: String,
    /// What it is called there.
    model: String,
    context_window: u32,
    max_output: u32,
    /// Null: those of the built-in table.
    prices: Option<Prices>,
    accepts_temperature: bool,
    /// Null: it is waited for as usual.
    timeouts: Option<Timeouts>,
}

/// A provider of an organisation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelProvider)]
pub(super) struct ProviderView {
    id: Uuid,
    /// The first part of its deployments' names.
    name: String,
    kind: Kind,
    base_url: String,
    vendor: Option<String>,
    api_version: Option<String>,
    /// Null: it is asked without a key.
    key: Option<KeyView>,
    deployments: Vec<DeploymentView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl ProviderView {
    pub(super) fn of(app: &App, stored: &Stored) -> Self {
        let deployment = |one: &Deployment| DeploymentView {
            full_name: full_name(&stored.name, &one.name),
            name: one.name.clone(),
            model: one.model.clone(),
            context_window: one.context_window,
            max_output: one.max_output,
            prices: one.prices,
            accepts_temperature: one.accepts_temperature,
            timeouts: one.timeouts,
        };
        Self {
            id: stored.id,
            name: stored.name.clone(),
            kind: stored.kind,
            base_url: stored.base_url.clone(),
            vendor: stored.vendor.clone(),
            api_version: stored.api_version.clone(),
            key: key(app, stored),
            deployments: stored.deployments.iter().map(deployment).collect(),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

fn key(app: &App, stored: &Stored) -> Option<KeyView> {
    let place = place(stored.organisation(), stored.id, &stored.base_url);
    Some(KeyView {
        last_four: stored.key_last_four.clone(),
        fingerprint: stored.key_fingerprint.clone()?,
        set_at: stored.key_set_at?,
        readable: app.vault.unseal(place, stored.sealed()?).is_ok(),
    })
}
