//! The events of one stream, oldest first, each with the phase that it led to.

use super::{
    queries,
    views::{AuthorView, HistoryItem},
};
use crate::{
    db::{Error, Recorded},
    http::{ApiError, List},
    state::App,
};
use syndarix_domain::{ids::ProjectId, machine::Machine};
use uuid::Uuid;

/// The whole history of a machine's instance.
pub async fn history<M: Machine>(
    app: &App,
    project: ProjectId,
    stream: Uuid,
) -> Result<List<HistoryItem>, ApiError> {
    let history = app.store.history(project, stream, None).await?;
    if history.first().is_none_or(|event| event.kind != M::KIND.name()) {
        return Err(ApiError::not_found(M::KIND.name()));
    }
    let ids: Vec<Uuid> = history.iter().filter_map(|event| event.actor.id()).collect();
    let names = queries::names(app.pool(), project, &ids).await?;
    let phases = phases::<M>(&history)?;
    let items = history.iter().zip(phases).map(|(event, phase)| {
        let envelope = event.envelope();
        let name = event.actor.id().and_then(|id| names.get(&id)).map(String::as_str);
        HistoryItem {
            version: event.version,
            kind: envelope.kind,
            at: event.at,
            actor: AuthorView::of(event.actor.0, name),
            data: envelope.data,
            phase,
        }
    });
    Ok(List::all(items.collect()))
}

/// The phase after each event of a history.
fn phases<M: Machine>(history: &[Recorded]) -> Result<Vec<String>, Error> {
    let mut state: Option<M> = None;
    history
        .iter()
        .map(|event| {
            state = M::evolve(state.take(), &event.decode::<M>()?);
            Ok(state.as_ref().map_or_else(String::new, |state| state.phase().to_owned()))
        })
        .collect()
}
