//! One room as this process knows it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use common::tokens::{PassId, Ticket};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::domain::{ConcertFacts, Mode, QueueError, RoomView, SaleStatus, Standing};
use crate::store::{QueueStore, RoomContext, RoomKeys};

/// How old a view may be to answer from. Older, and whoever asks is told that the queue can't be reached.
const MAX_VIEW_AGE: Duration = Duration::from_secs(2);
/// How long one who asks waits for a view where there is none.
const VIEW_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long one who joins or polls waits for their answer, the calls before theirs included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long after its last use a room's tasks rest.
const IDLE_AFTER: Duration = Duration::from_mins(1);
/// Joins and polls that wait for Redis; more are turned away.
pub(super) const MAX_REQUESTS: usize = 8_192;
/// People noted as present between two ticks; further ones are noted by their next poll.
const MAX_PRESENT: usize = 200_000;
/// People remembered as gone, so that an older ticket of theirs is looked up.
const MAX_LEFT: usize = 100_000;

/// What a person wants of the room's memory.
pub(super) enum Request {
    Join { user: UserId, answer: oneshot::Sender<Result<Standing, QueueError>> },
    Poll { user: UserId, position: u32, epoch: u32, answer: oneshot::Sender<Result<Standing, QueueError>> },
}

/// A view and when it was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) view: Arc<RoomView>,
    pub(super) at: Instant,
}

/// One concert's waiting room.
#[derive(Debug)]
pub struct Room {
    pub(super) concert: ConcertId,
    pub(super) keys: RoomKeys,
    pub(super) store: QueueStore,
    pub(super) seen: watch::Sender<Option<Seen>>,
    pub(super) wanted: Notify,
    /// Whether the last tick failed.
    pub(super) away: AtomicBool,
    facts: RwLock<ConcertFacts>,
    requests: mpsc::Sender<Request>,
    present: Mutex<HashMap<UserId, u32>>,
    left: RwLock<HashSet<UserId>>,
    last_use: Mutex<Instant>,
}

impl Room {
    pub(super) fn new(concert: ConcertId, facts: ConcertFacts, store: QueueStore) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let room = Self {
            concert,
            keys: RoomKeys::of(concert),
            store,
            seen: watch::Sender::new(None),
            wanted: Notify::new(),
            away: AtomicBool::new(false),
            facts: RwLock::new(facts),
            requests,
            present: Mutex::default(),
            left: RwLock::default(),
            last_use: Mutex::new(Instant::now()),
        };
        (room, receiver)
    }

    /// What core-api says of the concert.
    pub fn facts(&self) -> ConcertFacts {
        *self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_facts(&self, facts: ConcertFacts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// What this process last saw of the room, read at most two seconds ago.
    pub async fn view(&self) -> Result<Arc<RoomView>, QueueError> {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let fresh = |seen: &Option<Seen>| {
            seen.as_ref().filter(|seen| seen.at.elapsed() <= MAX_VIEW_AGE).map(|seen| Arc::clone(&seen.view))
        };
        if let Some(view) = fresh(&self.seen.borrow()) {
            return Ok(view);
        }
        self.wanted.notify_one();
        // Known to be away: nobody is made to wait for what the next tick will tell.
        if self.away.load(Ordering::Relaxed) {
            return Err(QueueError::StoreAway("the last look at the room failed".to_owned()));
        }
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(VIEW_TIMEOUT, seen.wait_for(|seen| fresh(seen).is_some())).await;
        let view = waited.ok().and_then(Result::ok).and_then(|seen| fresh(&seen));
        view.ok_or_else(|| QueueError::StoreAway("the room could not be read in time".to_owned()))
    }

    /// Gives a person a place, or tells the one they have. Who shows a ticket from a life of the room that it has
    /// forgotten gets their place in that one back.
    pub async fn join(&self, user: UserId, ticket: Option<&Ticket>) -> Result<Standing, QueueError> {
        let view = self.view().await?;
        match self.sale_over(&view) {
            Some(Standing::SoldOut) => return Err(QueueError::SoldOut),
            Some(_) => return Err(QueueError::SalesClosed),
            None => {}
        }
        // Asked even where the ticket's life is the one last seen: the room may have forgotten it since.
        if let Some(ticket) = ticket
            && let standing @ (Standing::Waiting { .. } | Standing::Admitted(_)) =
                self.look_up(user, ticket.position, ticket.epoch).await?
        {
            return Ok(standing);
        }
        self.left.write().unwrap_or_else(PoisonError::into_inner).remove(&user);
        let standing = self.ask(|answer| Request::Join { user, answer }).await?;
        // A room that was empty is looked at again: somebody is there now.
        self.wanted.notify_one();
        match standing {
            Standing::Closed => Err(QueueError::SalesClosed),
            standing => Ok(standing),
        }
    }

    /// Where the bearer of a ticket stands. Answered from memory until their turn comes near: the ticket says the
    /// position, the view says how far the room has come.
    pub async fn stand(&self, ticket: &Ticket) -> Result<Standing, QueueError> {
        let view = self.view().await?;
        let in_line =
            ticket.epoch == view.counts.epoch && ticket.position > view.counts.frontier && !self.has_left(ticket.user);
        let standing = if in_line {
            Standing::Waiting { position: ticket.position, epoch: ticket.epoch, ahead: None }
        } else {
            self.look_up(ticket.user, ticket.position, ticket.epoch).await?
        };
        // Who waits for a sale that is over waits for nothing; who is inside already may finish.
        Ok(match (standing, self.sale_over(&view)) {
            (Standing::Waiting { .. }, Some(over)) => over,
            (standing, _) => standing,
        })
    }

    /// Where the bearer of a pass stands.
    pub async fn stand_admitted(&self, user: UserId, pass: PassId) -> Result<Standing, QueueError> {
        self.view().await?;
        self.look_up(user, pass.position, 0).await
    }

    /// Takes a person out; whether they were in.
    pub async fn leave(&self, user: UserId) -> Result<bool, QueueError> {
        let was_in = self
            .store
            .leave(&self.keys, self.context(), user)
            .await
            .map_err(|error| QueueError::StoreAway(error.to_string()))?;
        self.note_left([user]);
        Ok(was_in)
    }

    /// Whether this very pass is a live admission.
    pub async fn is_admitted(&self, user: UserId, pass: PassId) -> Result<bool, QueueError> {
        let lease = self.store.lease_end_ms(&self.keys, self.context(), user, pass).await;
        lease.map(|end| end.is_some()).map_err(|error| QueueError::StoreAway(error.to_string()))
    }

    /// Notes that someone near the front is there, and will be asked for again in `for_ms`.
    pub fn note_present(&self, user: UserId, for_ms: u32) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.len() < MAX_PRESENT {
            present.insert(user, for_ms);
        }
    }

    pub(super) fn take_present(&self) -> Vec<(UserId, u32)> {
        std::mem::take(&mut *self.present.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    pub(super) fn note_left(&self, users: impl IntoIterator<Item = UserId>) {
        let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= MAX_LEFT {
            // Older tickets of theirs will be looked up when their turn comes, which is soon enough.
            left.clear();
        }
        left.extend(users);
    }

    fn has_left(&self, user: UserId) -> bool {
        self.left.read().unwrap_or_else(PoisonError::into_inner).contains(&user)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.last_use.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE_AFTER
    }

    /// Whether nobody was in line or inside when last seen.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.borrow().as_ref().is_some_and(|seen| {
            let counts = &seen.view.counts;
            counts.waiting + counts.away + counts.offers + counts.leased == 0
        })
    }

    /// What the scripts have to know: of the sale, and how far this process has seen the room come.
    pub(super) fn context(&self) -> RoomContext {
        let facts = self.facts();
        let (seen_position, seen_epoch) =
            self.seen.borrow().as_ref().map_or((0, 0), |seen| (seen.view.counts.seq, seen.view.counts.epoch));
        RoomContext {
            opens_at_ms: facts.opens_at_ms(),
            sale_over: matches!(facts.status, SaleStatus::SoldOut | SaleStatus::Closed),
            seen_position,
            seen_epoch,
            now_ms: 0,
        }
    }

    /// Why nobody can wait any more, if so.
    fn sale_over(&self, view: &RoomView) -> Option<Standing> {
        match self.facts().status {
            SaleStatus::SoldOut => Some(Standing::SoldOut),
            SaleStatus::Closed => Some(Standing::Closed),
            SaleStatus::Scheduled | SaleStatus::OnSale => {
                (view.counts.mode == Mode::Closed).then_some(Standing::Closed)
            }
        }
    }

    async fn look_up(&self, user: UserId, position: u32, epoch: u32) -> Result<Standing, QueueError> {
        self.ask(|answer| Request::Poll { user, position, epoch, answer }).await
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<Standing, QueueError>>) -> Request,
    ) -> Result<Standing, QueueError> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|_| QueueError::Overloaded)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(QueueError::StoreAway("the room's task is gone".to_owned())),
            Err(_) => Err(QueueError::StoreAway(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }
}
