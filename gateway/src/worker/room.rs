//! One room as this process knows it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use common::tokens::{PassId, Ticket};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::chart::{Counting, Failures, Watched, WatchedChart};
use super::draw::Deal;
use super::measure::Figures;
use super::recent::Recent;
use crate::domain::{ConcertFacts, DrawState, Mode, QueueError, RoomView, SaleStatus, SettingsInForce, Standing};
use crate::store::record::{Record, RecordError};
use crate::store::{Arrivals, LeaseCheck, QueueStore, RoomContext, RoomKeys, SAFETY_GAP, Seen};

/// How old a view may be to answer from. Older, and whoever asks is told that the queue can't be reached.
const MAX_VIEW_AGE: Duration = Duration::from_secs(2);
/// How old a view may be before a room at rest is looked at again, because somebody asks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(400);
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
pub(super) struct Look {
    pub(super) view: Arc<RoomView>,
    pub(super) at: Instant,
}

/// What concerns everybody who waits at once, and what they are told of the moment that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turning {
    status: SaleStatus,
    mode: Mode,
    paused: bool,
    draw: DrawState,
}

/// For how many seconds of joins, at the fastest that was seen, numbers jump after a loss.
const GAP_SECONDS: u32 = 5;

/// One concert's waiting room.
#[derive(Debug)]
pub struct Room {
    pub(super) concert: ConcertId,
    pub(super) keys: RoomKeys,
    pub(super) store: QueueStore,
    pub(super) seen: watch::Sender<Option<Look>>,
    turning: watch::Sender<Option<Turning>>,
    pub(super) wanted: Notify,
    /// What its people did of late, which a room that lost its memory is told again.
    pub(super) recent: Recent,
    /// The positions that its draw deals, once they have been worked out.
    pub(super) deal: Deal,
    /// What is told of it to Prometheus.
    pub(super) figures: Figures,
    /// What is told of it to operators.
    pub(super) counting: Counting,
    watched: Watched,
    /// Whether events are recorded, and a room can be put together again from the record.
    recorded: bool,
    settings: RwLock<SettingsInForce>,
    /// How far this process has seen the room come.
    furthest: Mutex<Seen>,
    /// The most joins a second that were seen.
    joins_per_second: AtomicU32,
    /// Whether the last tick failed.
    pub(super) away: AtomicBool,
    facts: RwLock<ConcertFacts>,
    requests: mpsc::Sender<Request>,
    present: Mutex<HashMap<UserId, u32>>,
    left: RwLock<HashSet<UserId>>,
    last_use: Mutex<Instant>,
}

impl Room {
    pub(super) fn new(
        concert: ConcertId,
        facts: ConcertFacts,
        store: QueueStore,
        settings: SettingsInForce,
        recorded: bool,
        failures: Failures,
    ) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let room = Self {
            concert,
            keys: RoomKeys::of(concert),
            store,
            seen: watch::Sender::new(None),
            turning: watch::Sender::new(None),
            wanted: Notify::new(),
            recent: Recent::default(),
            deal: Deal::default(),
            figures: Figures::of(concert),
            counting: Counting::new(failures),
            watched: Watched::default(),
            recorded,
            settings: RwLock::new(settings),
            furthest: Mutex::default(),
            joins_per_second: AtomicU32::new(0),
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
        self.note_turning();
    }

    /// Takes on what was just read of the room.
    pub(super) fn set_view(&self, look: Look) {
        self.seen.send_replace(Some(look));
        self.note_turning();
    }

    /// Tells those who wait on it where something has changed for all of them.
    fn note_turning(&self) {
        let Some(view) = self.latest_view() else { return };
        let RoomView { draw, ref settings, .. } = *view;
        let now = Turning { status: self.facts().status, mode: settings.mode, paused: settings.paused, draw };
        self.turning.send_if_modified(|turning| turning.replace(now) != Some(now));
    }

    /// What concerns everybody who waits, as it changes.
    pub fn turning(&self) -> watch::Receiver<Option<Turning>> {
        let mut turning = self.turning.subscribe();
        turning.mark_unchanged();
        turning
    }

    /// What this process last saw of the room, read at most two seconds ago.
    pub async fn view(&self) -> Result<Arc<RoomView>, QueueError> {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let fresh = |seen: &Option<Look>| {
            seen.as_ref().filter(|seen| seen.at.elapsed() <= MAX_VIEW_AGE).map(|seen| Arc::clone(&seen.view))
        };
        let view = fresh(&self.seen.borrow());
        if self.seen.borrow().as_ref().is_none_or(|seen| seen.at.elapsed() > LOOK_AGAIN_AFTER) {
            self.wanted.notify_one();
        }
        if let Some(view) = view {
            return Ok(view);
        }
        // Known to be away: nobody is made to wait for what the next tick will tell.
        if self.away.load(Ordering::Relaxed) {
            return Err(QueueError::StoreAway("the last look at the room failed".to_owned()));
        }
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(VIEW_TIMEOUT, seen.wait_for(|seen| fresh(seen).is_some())).await;
        let view = waited.ok().and_then(Result::ok).and_then(|seen| fresh(&seen));
        view.ok_or_else(|| QueueError::StoreAway("the room could not be read in time".to_owned()))
    }

    /// What this process last saw of the room, however long ago.
    pub fn latest_view(&self) -> Option<Arc<RoomView>> {
        self.seen.borrow().as_ref().map(|seen| Arc::clone(&seen.view))
    }

    /// Takes on the settings in the record, where they are newer.
    pub(super) async fn read_settings(&self, record: &Record) -> Result<(), RecordError> {
        if let Some(stored) = record.settings(self.concert).await? {
            self.take_settings(&stored.settings.into());
        }
        Ok(())
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
            && let standing @ (Standing::Waiting { .. } | Standing::Gathering { .. } | Standing::Admitted(_)) =
                self.look_up_ticket(ticket).await?
        {
            self.note_join();
            return Ok(standing);
        }
        self.left.write().unwrap_or_else(PoisonError::into_inner).remove(&user);
        let standing = self.ask(|answer| Request::Join { user, answer }).await?;
        // A room that was empty is looked at again: somebody is there now.
        self.wanted.notify_one();
        match standing {
            Standing::Closed => Err(QueueError::SalesClosed),
            standing => {
                self.note_join();
                Ok(standing)
            }
        }
    }

    /// Where the bearer of a ticket stands. Answered from memory until their turn comes near: the ticket says the
    /// position, the view says how far the room has come.
    pub async fn stand(&self, ticket: &Ticket) -> Result<Standing, QueueError> {
        let view = self.view().await?;
        self.counting.note_poll();
        let standing = if let Some(standing) = self.stand_in(&view, ticket) {
            self.figures.polls_from_memory.increment(1);
            standing
        } else {
            self.figures.polls_by_redis.increment(1);
            self.look_up_ticket(ticket).await?
        };
        // Who waits for a sale that is over waits for nothing; who is inside already may finish.
        Ok(match (standing, self.sale_over(&view)) {
            (Standing::Waiting { .. } | Standing::Gathering { .. }, Some(over)) => over,
            (standing, _) => standing,
        })
    }

    /// The same where the view alone can tell.
    fn stand_in(&self, view: &RoomView, ticket: &Ticket) -> Option<Standing> {
        let Ticket { position, epoch, .. } = *ticket;
        if epoch != view.counts.epoch || self.has_left(ticket.user) {
            return None;
        }
        let at_seconds = u32::try_from(view.counts.now_ms / 1_000).unwrap_or(0);
        if ticket.ahead.is_none() {
            return view.is_undrawn().then_some(Standing::Gathering { entry: position, epoch, at_seconds });
        }
        (position > view.counts.frontier).then_some(Standing::Waiting { position, epoch, ahead: None, at_seconds })
    }

    /// Asks the room's memory about the bearer of a ticket. An entry for a draw that is made is put back, where need
    /// be, at the position that was dealt to it.
    async fn look_up_ticket(&self, ticket: &Ticket) -> Result<Standing, QueueError> {
        let draw = self.seen.borrow().as_ref().map(|seen| (seen.view.draw, seen.view.counts.entries));
        let position = match (ticket.ahead, draw) {
            (None, Some((DrawState::Dealing | DrawState::Done, entries))) if ticket.position <= entries => {
                self.deal.position(&self.settings(), self.concert, entries, ticket.position).await?
            }
            _ => ticket.position,
        };
        self.look_up(ticket.user, position, ticket.epoch).await
    }

    /// Where the bearer of a pass stands.
    pub async fn stand_admitted(&self, user: UserId, pass: PassId) -> Result<Standing, QueueError> {
        self.view().await?;
        self.counting.note_poll();
        self.figures.polls_by_redis.increment(1);
        self.look_up(user, pass.position, 0).await
    }

    /// Takes a person out, by their own wish or an operator's (`removed`); whether they were in.
    pub async fn leave(&self, user: UserId, removed: bool) -> Result<bool, QueueError> {
        let was_in = self.store.leave(&self.keys, &self.context(), user, removed).await.map_err(QueueError::from)?;
        self.note_left([user]);
        self.recent.note_left(user);
        Ok(was_in)
    }

    /// Whether this very pass is a live admission.
    pub async fn is_admitted(&self, user: UserId, pass: PassId) -> Result<bool, QueueError> {
        match self.store.lease(&self.keys, &self.context(), user, pass).await.map_err(QueueError::from)? {
            LeaseCheck::Live { .. } => Ok(true),
            LeaseCheck::None => Ok(false),
            LeaseCheck::Unknown => {
                // Nobody may have looked at the room since it lost its memory.
                self.wanted.notify_one();
                Err(QueueError::Rebuilding)
            }
        }
    }

    /// Gives so many turns beside the rate; how many were.
    pub async fn admit_now(&self, extra: u32) -> Result<u32, QueueError> {
        let turns = self.store.admit(&self.keys, &self.context(), extra).await.map_err(QueueError::from)?;
        self.wanted.notify_one();
        Ok(turns.offered)
    }

    /// The settings that this process knows to be in force.
    pub fn settings(&self) -> SettingsInForce {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes on settings that are newer than those known, and brings them to the room at once. Where Redis is away now,
    /// the next tick does.
    pub async fn bring_settings(&self, settings: &SettingsInForce) {
        self.take_settings(settings);
        if let Err(error) = self.store.admit(&self.keys, &self.context(), 0).await {
            tracing::warn!(concert = %self.concert, %error, "settings are stored, and will reach the room with Redis");
        }
        self.wanted.notify_one();
    }

    /// Takes on settings that are newer than those known; the room itself learns of them with the next call.
    pub fn take_settings(&self, settings: &SettingsInForce) {
        let mut known = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        if settings.version > known.version {
            *known = settings.clone();
            drop(known);
            self.wanted.notify_one();
        }
    }

    /// Waits until this process knows of other settings than those of this version.
    pub async fn other_settings_than(&self, version: u32) {
        let mut seen = self.seen.subscribe();
        // The room outlives whoever waits, so the only end of this is that there are some.
        let _ = seen.wait_for(|_| self.settings().version != version).await;
    }

    /// The room's last quarter of an hour, shared by all who watch it here.
    pub fn chart(&self) -> Arc<WatchedChart> {
        self.watched.chart(self.concert, &self.store)
    }

    fn note_join(&self) {
        self.figures.joins.increment(1);
        self.counting.note_join();
    }

    /// Notes that someone near the front is there, and will be asked for again in `for_ms`.
    pub fn note_present(&self, user: UserId, for_ms: u32) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.len() < MAX_PRESENT {
            // Of two devices one may have been told to come back later than the other.
            present.entry(user).and_modify(|known| *known = for_ms.max(*known)).or_insert(for_ms);
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

    /// Whether there was nobody and nothing to do when last seen.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.borrow().as_ref().is_some_and(|seen| {
            let counts = &seen.view.counts;
            let people = counts.waiting + counts.gathered + counts.away + counts.offers + counts.leased;
            people + counts.unrecorded == 0 && !counts.rebuilding
        })
    }

    /// What the scripts have to know: of the sale, and how far this process has seen the room come.
    pub(super) fn context(&self) -> RoomContext {
        let facts = self.facts();
        let settings = self.settings();
        let over = match facts.status {
            SaleStatus::SoldOut => settings.stop_when_sold_out,
            SaleStatus::Closed => true,
            SaleStatus::Scheduled | SaleStatus::OnSale => false,
        };
        RoomContext {
            opens_at_ms: facts.opens_at_ms(),
            sale_over: over,
            seen: *self.furthest.lock().unwrap_or_else(PoisonError::into_inner),
            gap: SAFETY_GAP.max(self.joins_per_second.load(Ordering::Relaxed).saturating_mul(GAP_SECONDS)),
            recorded: self.recorded,
            now_ms: 0,
            settings,
        }
    }

    /// Notes how far the room has come.
    pub(super) fn note_seen(&self, seen: Seen) {
        let mut furthest = self.furthest.lock().unwrap_or_else(PoisonError::into_inner);
        *furthest = furthest.or_further(seen);
    }

    /// Whether this process has never seen the room.
    pub(super) fn is_unseen(&self) -> bool {
        self.furthest.lock().unwrap_or_else(PoisonError::into_inner).epoch == 0
    }

    /// Notes how fast people join, so that numbers jump far enough after a loss.
    pub(super) fn note_join_rate(&self, joins_per_second: u32) {
        self.joins_per_second.fetch_max(joins_per_second, Ordering::Relaxed);
    }

    /// Notes what came of joins and polls.
    pub(super) fn note_arrivals(&self, users: &[UserId], arrivals: &Arrivals) {
        self.note_seen(arrivals.seen);
        self.recent.note(users, &arrivals.people);
    }

    /// Why nobody can wait any more, if so.
    fn sale_over(&self, view: &RoomView) -> Option<Standing> {
        match self.facts().status {
            SaleStatus::SoldOut if view.settings.stop_when_sold_out => Some(Standing::SoldOut),
            SaleStatus::Closed => Some(Standing::Closed),
            SaleStatus::SoldOut | SaleStatus::Scheduled | SaleStatus::OnSale => {
                (view.settings.mode == Mode::Closed).then_some(Standing::Closed)
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

#[cfg(test)]
mod tests {
    use lua::{Redis, RedisSettings};

    use super::*;
    use crate::domain::RoomDefaults;

    /// A room whose Redis is never asked.
    fn room() -> Room {
        let (urls, mode) = (vec!["redis://127.0.0.1:1".to_owned()], lua::Mode::Standalone);
        let redis = Redis::new(&RedisSettings { urls, mode, call_timeout: Duration::from_secs(1) }).unwrap();
        let (session, claim) = (Duration::from_mins(1), Duration::from_secs(30));
        let defaults = RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, session, claim };
        let facts = ConcertFacts { status: SaleStatus::OnSale, sale_opens_at: None, stock: None };
        Room::new(ConcertId::generate(), facts, QueueStore::new(redis), defaults.into(), false, Failures::default()).0
    }

    #[tokio::test]
    async fn of_two_devices_the_one_that_is_expected_later_says_how_long_someone_is_there() {
        let (room, user) = (room(), UserId::generate());
        for for_ms in [34_000, 10_500, 12_000] {
            room.note_present(user, for_ms);
        }
        assert_eq!(room.take_present(), [(user, 34_000)]);
        assert!(room.take_present().is_empty());
    }
}
