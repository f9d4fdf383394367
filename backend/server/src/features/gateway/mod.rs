//! The model gateway: any client of OpenAI's or Anthropic's format may point at it, with a virtual key of a project.
//!
//! Invariants: a virtual key is kept as a hash only and shown once; a key that is revoked, has run out or belongs to
//! another project asks nothing (at once in this process, within `keys::TTL` in others), nor does one whose agent was
//! terminated or whose person has left (within `keys::TTL`); every call is recorded with its project and key, also when
//! nobody waits for the answer any more; a client is told of failures in its own format.
//!
//! `groups`, `providers` and `keys` are managed under `/api/v1`, where `deployments` says how models are doing and the `playground` asks them;
//! `calls` are answered under `/v1`, where SDKs look for them.

mod calls;
mod deployments;
mod groups;
mod keys;
mod names;
mod playground;
mod providers;

use crate::{
    db::{Error, Uow},
    features::llm::{self, Purpose, Screen, SetAside},
    state::App,
};
pub use providers::{RotateError, Rotation, rotate as rotate_master_key};

use futures::{FutureExt, future::BoxFuture};
use groups::Effective;
use keys::Keyring;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use syndarix_bus::Buckets;
use syndarix_domain::{Timestamp, ids::ProjectId};
use syndarix_llm::{Event, ModelGroup, ModelGroups, Native};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::router::OpenApiRouter;

/// How long a look into the database may take before a client is told that it is away.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How many pieces a provider may be ahead of its reader.
const AHEAD: usize = 32;
/// How long a stop waits for what is written beside calls: it has little time, and the books come after.
const BESIDE_WITHIN: Duration = Duration::from_secs(1);

/// What one process keeps of the gateway.
#[derive(Debug, Default)]
pub struct Front {
    keyring: Keyring,
    groups: Effective,
    bodies: calls::Room,
    turns: calls::Turns,
    /// Limits of a minute that processes keep together, once they do.
    limits: OnceLock<Buckets>,
    /// Calls under way. They go on when their client leaves, until they are recorded.
    calls: TaskTracker,
    /// Cancelled when calls must come to an end.
    ending: CancellationToken,
}

impl Front {
    /// A project's settings have changed: its keys' next calls read them anew.
    pub fn forget_settings(&self, project: ProjectId) {
        self.keyring.forget_project(project);
    }

    /// The model groups that a project's calls may name.
    pub async fn groups_of(&self, app: &App, project: ProjectId) -> Result<Arc<ModelGroups>, Error> {
        Ok(self.groups.of(app, project).await?.groups)
    }

    /// What looks at a project's prompts before they leave; `None`: nobody does.
    pub async fn screen_of(&self, app: &App, project: ProjectId) -> Result<Option<Arc<Screen>>, Error> {
        Ok(self.groups.of(app, project).await?.screen)
    }

    /// Forgets what projects may name and want, so that the next call reads it anew.
    pub fn forget(&self) {
        self.groups.forget();
    }

    /// Whether limits of a minute are those of all processes at this moment.
    pub fn are_limits_shared(&self) -> bool {
        self.limits.get().is_some_and(Buckets::are_shared)
    }

    /// Lets something be written beside a call, which does not wait for it; a stop does, for a moment.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        self.calls.spawn(async move {
            let too_late = async {
                ending.cancelled().await;
                tokio::time::sleep(BESIDE_WITHIN).await;
            };
            tokio::select! {
                biased;
                () = work => {}
                () = too_late => tracing::warn!("what was to be written beside a call is left out: the process stops"),
            }
        });
    }

    /// Ends what is still streamed, and waits until every call is recorded.
    pub async fn close(&self) {
        self.ending.cancel();
        self.calls.close();
        self.calls.wait().await;
    }
}

/// Keeps the limits of a minute together with other processes, over the Redis at this address, until `cancel`. While it is
/// away, every process counts for itself.
pub fn share_limits(app: &App, url: String, tracker: &TaskTracker, cancel: CancellationToken) {
    let buckets = Buckets::new("limits");
    if app.gateway.limits.set(buckets.clone()).is_ok() {
        tracker.spawn(buckets.run(url, cancel));
    }
}

/// What is asked, and by whom it may be answered.
type Question = (Arc<ModelGroup>, Arc<Native>);

/// Lets a call run beside whoever waits for it: it is recorded whether or not anybody reads its events. `tokens` is told
/// what all its attempts used, and kept until it is over.
fn run(
    app: &App,
    purpose: Purpose,
    question: Question,
    tokens: impl SetAside + 'static,
) -> mpsc::Receiver<Event> {
    let (call, events) = call(app, purpose, question, tokens);
    app.gateway.calls.spawn(call);
    events
}

/// The same for an answer that comes in one piece: whoever waits for it lets the call go on by waiting, which saves a task
/// and the ways between two.
fn attend(
    app: &App,
    purpose: Purpose,
    question: Question,
    tokens: impl SetAside + 'static,
) -> (Attended, mpsc::Receiver<Event>) {
    let (call, events) = call(app, purpose, question, tokens);
    // A stop waits for it as for those that run by themselves.
    let under_way = app.gateway.calls.token();
    let call = async move {
        call.await;
        drop(under_way);
    };
    (Attended { calls: app.gateway.calls.clone(), call: Some(call.boxed()) }, events)
}

fn call(
    app: &App,
    purpose: Purpose,
    (group, native): Question,
    tokens: impl SetAside + 'static,
) -> (impl Future<Output = ()> + Send + 'static, mpsc::Receiver<Event>) {
    let (out, events) = mpsc::channel(AHEAD);
    let app = app.clone();
    let call = async move {
        if let Err(error) = llm::answer(&app, purpose, (&group, &native), (tokens, out)).await {
            tracing::error!(%error, "a gateway call could not begin");
        }
    };
    (call, events)
}

/// A call that goes on while it is waited for, and by itself when it is not any more.
struct Attended {
    calls: TaskTracker,
    call: Option<BoxFuture<'static, ()>>,
}

impl Future for Attended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(call) = &mut self.call else { return Poll::Ready(()) };
        let polled = call.poll_unpin(context);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        // Where there is no runtime any more, the process ends, and its successor finds what was reserved.
        if let Some(call) = self.call.take()
            && Handle::try_current().is_ok()
        {
            self.calls.spawn(call);
        }
    }
}

/// Forgets the answers that a project has kept.
pub async fn forget_answers(uow: &mut Uow, project: ProjectId) -> Result<(), Error> {
    calls::forget(uow, project).await
}

/// Forgets kept answers that have run out.
pub async fn forget_expired_answers(app: &App, now: Timestamp) -> Result<(), Error> {
    Ok(calls::forget_expired(app.pool(), now).await?)
}

/// The operations of people.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(groups::routes())
        .merge(providers::routes())
        .merge(keys::routes())
        .merge(deployments::routes())
        .merge(playground::routes())
}

/// What clients of models ask, outside the API.
pub fn public_routes() -> axum::Router<App> {
    calls::routes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_written_beside_calls_but_not_for_what_hangs() {
        let front = Front::default();
        let (written, told) = tokio::sync::oneshot::channel();
        front.beside(async move { written.send(()).unwrap() });
        front.beside(std::future::pending());

        let closed = tokio::time::timeout(5 * BESIDE_WITHIN, front.close()).await;

        assert!(closed.is_ok() && told.await.is_ok());
    }
}
