//! The bodies of requests: how large, how slow, and how many large ones at the same time.

use super::refusal::Refusal;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use syndarix_llm::inbound::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest request, in bytes: as Anthropic takes it, a conversation with pictures.
const MAX_BODY: usize = 32 << 20;
/// How long a body may take to come.
const WITHIN: Duration = Duration::from_secs(120);
/// Bytes of large bodies that a process holds at the same time.
const LARGE_IN_ALL: usize = 256 << 20;
/// What is not larger has room at any time: as many as there are connections fill no memory.
const SMALL: usize = 32 << 10;
/// Bytes that are counted as one.
const UNIT: usize = 1 << 10;

/// The room that a process has for large bodies.
#[derive(Debug, Clone)]
pub(in crate::features::gateway) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_IN_ALL / UNIT)))
    }
}

/// A body's place in the room, until its call has ended.
#[derive(Debug, Default)]
pub(super) struct Place {
    units: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Makes it large enough, if there is room.
    fn grow(&mut self, room: &Room, bytes: usize) -> Result<(), Fault> {
        let wanted = if bytes <= SMALL { 0 } else { bytes.div_ceil(UNIT) };
        let more = wanted.saturating_sub(self.units);
        if more == 0 {
            return Ok(());
        }
        let Some(permit) =
            u32::try_from(more).ok().and_then(|more| Arc::clone(&room.0).try_acquire_many_owned(more).ok())
        else {
            let message = "too many large requests are being worked on: try again in a moment";
            return Err(Fault::new(503, "busy", message).after(Some(1_000)));
        };
        self.units = wanted;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

/// Reads a body. It keeps its place in the room for as long as what is given back beside it is kept.
pub(super) async fn read(room: &Room, headers: &HeaderMap, body: Body) -> Result<(Bytes, Place), Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(too_large().into());
    }
    let read = tokio::time::timeout(WITHIN, collect(room, body)).await;
    let late = || {
        let message = format!("the request was not there after {} s", WITHIN.as_secs());
        Fault::new(408, "request_timeout", message)
    };
    Ok(read.map_err(|_| late())??)
}

async fn collect(room: &Room, body: Body) -> Result<(Bytes, Place), Fault> {
    let (mut chunks, mut place) = (body.into_data_stream(), Place::default());
    // A body in one chunk, the usual case, is not copied.
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Fault::bad_request(format!("the body did not come whole: {error}")))?;
        let length = first.len().max(whole.len()).saturating_add(chunk.len());
        if length > MAX_BODY {
            return Err(too_large());
        }
        place.grow(room, length)?;
        if first.is_empty() {
            first = chunk;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&chunk);
    }
    let whole = if whole.is_empty() { first } else { whole.freeze() };
    Ok((whole, place))
}

fn too_large() -> Fault {
    Fault::new(413, "request_too_large", format!("a request has at most {} MiB", MAX_BODY >> 20)).for_good()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(room: &Room, bytes: usize) -> Result<Place, u16> {
        let chunks = futures::stream::iter(
            std::iter::repeat_n(vec![b'x'; UNIT], bytes / UNIT).map(Ok::<_, std::io::Error>),
        );
        let read = read(room, &HeaderMap::new(), Body::from_stream(chunks)).await;
        read.map(|(body, place)| {
            assert_eq!(body.len(), bytes);
            place
        })
        .map_err(|refusal| refusal.fault.status)
    }

    #[tokio::test]
    async fn large_bodies_wait_for_room_outside_and_small_ones_never_do() {
        let room = Room(Arc::new(Semaphore::new(1 << 10)));
        let first = sent(&room, 768 << 10).await.unwrap();
        assert_eq!(sent(&room, 512 << 10).await.unwrap_err(), 503);
        assert_eq!(room.0.available_permits(), 256, "what was refused holds nothing");
        sent(&room, SMALL).await.unwrap();
        drop(first);
        sent(&room, 512 << 10).await.unwrap();
        assert_eq!(room.0.available_permits(), 1 << 10);
    }

    #[tokio::test]
    async fn a_body_that_is_larger_than_it_may_be_is_refused_before_all_of_it_is_read() {
        assert_eq!(sent(&Room::default(), MAX_BODY + UNIT).await.unwrap_err(), 413);
    }
}
