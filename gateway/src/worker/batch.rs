//! Joins and polls, group-committed: whatever gathered while the last call was under way goes out as one. Nothing waits
//! for a timer, so an idle room adds no latency, and a flood costs Redis one script call for hundreds of people.

use std::sync::Arc;

use common::ids::UserId;
use lua::StoreError;
use metrics::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::room::{Request, Room};
use crate::domain::{QueueError, Standing};
use crate::store::Arrivals;

/// The most that one call carries: about two milliseconds of Redis.
const MAX_BATCH: usize = 512;

type Answer = oneshot::Sender<Result<Standing, QueueError>>;

/// Takes the room's requests to Redis until `stopping`.
pub(super) async fn run(room: Arc<Room>, mut requests: mpsc::Receiver<Request>, stopping: CancellationToken) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        tokio::select! {
            taken = requests.recv_many(&mut batch, MAX_BATCH) => if taken == 0 { return },
            () = stopping.cancelled() => return,
        }
        serve(&room, &mut batch).await;
    }
}

async fn serve(room: &Room, batch: &mut Vec<Request>) {
    let mut joins: (Vec<UserId>, Vec<Answer>) = Default::default();
    let mut polls: (Vec<(UserId, u32, u32)>, Vec<Answer>) = Default::default();
    for request in batch.drain(..) {
        match request {
            Request::Join { user, answer } => {
                joins.0.push(user);
                joins.1.push(answer);
            }
            Request::Poll { user, position, epoch, answer } => {
                polls.0.push((user, position, epoch));
                polls.1.push(answer);
            }
        }
    }
    note_size(&room.figures.joined_at_once, joins.0.len());
    note_size(&room.figures.polled_at_once, polls.0.len());
    let context = room.context();
    let (joined, polled) = tokio::join!(
        async { if joins.0.is_empty() { None } else { Some(room.store.join(&room.keys, &context, &joins.0).await) } },
        async { if polls.0.is_empty() { None } else { Some(room.store.poll(&room.keys, &context, &polls.0).await) } },
    );
    if let Some(joined) = joined {
        answer(room, &joins.0, joins.1, joined);
    }
    if let Some(polled) = polled {
        let users: Vec<UserId> = polls.0.iter().map(|(user, ..)| *user).collect();
        answer(room, &users, polls.1, polled);
    }
}

fn note_size(sizes: &Histogram, people: usize) {
    if people > 0 {
        sizes.record(u32::try_from(people).unwrap_or(u32::MAX));
    }
}

/// Tells each their own; one who has stopped listening is none of our business.
fn answer(room: &Room, users: &[UserId], waiting: Vec<Answer>, arrivals: Result<Arrivals, StoreError>) {
    match arrivals {
        Ok(arrivals) => {
            room.note_arrivals(users, &arrivals);
            for (answer, arrival) in waiting.into_iter().zip(arrivals.people) {
                let _ = answer.send(arrival.standing.ok_or(QueueError::Rebuilding));
            }
        }
        Err(error) => {
            let error = QueueError::StoreAway(error.to_string());
            for answer in waiting {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}
