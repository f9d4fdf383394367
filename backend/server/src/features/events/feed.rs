//! The body of a stream: items of one or many projects, turned into frames until the caller may see no more.

use super::{
    access::{Access, Of},
    frame::Frames,
    places::Places,
};
use axum::body::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream, ReadyChunks, SelectAll, Stream},
};
use std::time::Duration;
use syndarix_bus::{Cursor, Item, Listener, LogError, Subscription};
use syndarix_domain::ids::ProjectId;
use tokio::time::{Instant, Interval, interval_at};

/// How often it is checked that the caller may still listen.
const RECHECK: Duration = Duration::from_secs(5);
/// Items that go out in one write when they are there at once.
const BATCH: usize = 32;

/// A stream of events on its way to one client.
pub(super) struct Feed {
    access: Access,
    projects: Vec<ProjectId>,
    items: ReadyChunks<SelectAll<BoxStream<'static, Step>>>,
    places: Places,
    keep_alive: Interval,
    recheck: Interval,
    /// Sent before anything else.
    opening: Option<Frames>,
    ended: bool,
}

/// One item with the place after it.
struct Step {
    project: ProjectId,
    at: Cursor,
    item: Result<Item, LogError>,
}

impl Feed {
    /// Opens a feed where the client left off: at `last`, or now.
    pub(super) async fn open(access: Access, last: Option<&str>) -> Result<Self, crate::http::ApiError> {
        let projects = access.projects().await?;
        let from = last.map(|id| read_id(&access, &projects, id));
        // An id that is none, or that knows nothing of one of the projects, is no place to go on from.
        let astray = match &from {
            None => false,
            Some(None) => true,
            Some(Some(places)) => projects.iter().any(|project| places.get(*project).is_none()),
        };
        let from = from.flatten().filter(|_| !astray);
        let (items, places) = subscribe(&access, &projects, from.as_ref()).await?;
        let keep_alive = every(access.app.config.keep_alive);
        let mut feed = Self {
            access,
            projects,
            items,
            places,
            keep_alive,
            recheck: every(RECHECK),
            opening: None,
            ended: false,
        };
        let mut opening = Frames::opening(&feed.id());
        if astray {
            opening.reset(&feed.id());
        }
        feed.opening = Some(opening);
        Ok(feed)
    }

    /// The feed as a body.
    pub(super) fn into_body(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let frames = feed.next().await?;
            Some((Ok(frames.into()), feed))
        })
    }

    async fn next(&mut self) -> Option<Frames> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        // A stream is never done by itself: a stopping process ends it, and the client resumes elsewhere.
        let stopping = self.access.app.stopping.clone();
        while !self.ended {
            tokio::select! {
                () = stopping.cancelled() => self.ended = true,
                steps = self.items.next() => {
                    let frames = self.frames(steps.unwrap_or_default()).await;
                    if !frames.is_empty() {
                        return Some(frames);
                    }
                }
                _ = self.keep_alive.tick() => return Some(Frames::keep_alive()),
                _ = self.recheck.tick() => {
                    let frames = self.check_again().await;
                    if !frames.is_empty() {
                        return Some(frames);
                    }
                }
            }
        }
        None
    }

    async fn frames(&mut self, steps: Vec<Step>) -> Frames {
        let mut frames = Frames::default();
        for Step { project, at, item } in steps {
            match item {
                Ok(Item::Event(event)) => {
                    self.places.set(project, at);
                    frames.event(&event.event.kind, &self.id(), &event.json);
                }
                Ok(Item::Ephemeral(item)) => frames.ephemeral(&item),
                Ok(Item::Reset(_)) => {
                    // All of it begins anew, so that one reset is enough for all projects.
                    self.start_over(&mut frames).await;
                    break;
                }
                Err(error) => {
                    self.end(&error);
                    break;
                }
            }
        }
        frames
    }

    async fn check_again(&mut self) -> Frames {
        let mut frames = Frames::default();
        match self.access.projects().await {
            Ok(projects) if projects == self.projects => {}
            Ok(projects) => {
                self.projects = projects;
                self.start_over(&mut frames).await;
            }
            // A database that is away for a moment takes nobody's rights.
            Err(error) if error.status().is_server_error() => {}
            Err(_) => self.ended = true,
        }
        frames
    }

    /// Goes on from the ends of the logs; the client is told to load everything again.
    async fn start_over(&mut self, frames: &mut Frames) {
        match subscribe(&self.access, &self.projects, None).await {
            Ok((items, places)) => {
                (self.items, self.places) = (items, places);
                frames.reset(&self.id());
            }
            Err(error) => self.end(&error),
        }
    }

    /// The client comes back and resumes, perhaps at another instance.
    fn end(&mut self, error: &LogError) {
        tracing::warn!(error = error as &dyn std::error::Error, "an event stream is cut short");
        self.ended = true;
    }

    fn id(&self) -> String {
        match (self.access.of, self.projects.first()) {
            (Of::Project, Some(project)) => {
                self.places.get(*project).map(|cursor| cursor.to_string()).unwrap_or_default()
            }
            _ => self.places.encode(),
        }
    }
}

fn read_id(access: &Access, projects: &[ProjectId], id: &str) -> Option<Places> {
    match (access.of, projects.first()) {
        (Of::Project, Some(project)) => id.parse().ok().map(|cursor| Places::of(*project, cursor)),
        _ => Places::decode(id),
    }
}

fn every(period: Duration) -> Interval {
    interval_at(Instant::now() + period, period)
}

/// Listens first, then reads the ends of the logs: nothing falls in between.
async fn subscribe(
    access: &Access,
    projects: &[ProjectId],
    from: Option<&Places>,
) -> Result<(ReadyChunks<SelectAll<BoxStream<'static, Step>>>, Places), LogError> {
    let listeners: Vec<Listener> = projects.iter().map(|project| access.app.hub.listen(*project)).collect();
    let log = super::log(&access.app);
    let ends = log.heads(projects).await?;
    let (mut items, mut places) = (SelectAll::new(), Places::default());
    // A person without a project waits for one; an empty selection would be over at once.
    items.push(stream::pending().boxed());
    for listener in listeners {
        let project = listener.project();
        let Some(end) = ends.get(&project) else { continue };
        let subscription = listener.start(&log, *end, from.and_then(|places| places.get(project)));
        places.set(project, subscription.cursor());
        items.push(steps(subscription));
    }
    Ok((items.ready_chunks(BATCH), places))
}

fn steps(subscription: Subscription) -> BoxStream<'static, Step> {
    stream::unfold(subscription, |mut subscription| async move {
        let item = subscription.next().await;
        Some((Step { project: subscription.project(), at: subscription.cursor(), item }, subscription))
    })
    .boxed()
}
