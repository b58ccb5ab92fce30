//! All rooms of this process, made when first asked for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use common::ids::ConcertId;
use common::lifecycle::Lifecycle;
use serde_json::Value;

use super::chart::Failures;
use super::room::Room;
use super::upkeep::{self, Tools};
use super::{batch, tick};
use crate::domain::{ConcertFacts, QueueError, SettingsInForce};
use crate::store::QueueStore;
use crate::store::record::Record;
use crate::upstream::{ConcertList, Concerts};

/// More concerts than any seller runs at once; a bound all the same.
const MAX_ROOMS: usize = 10_000;

/// The rooms of this process. Cloning it shares them.
#[derive(Debug, Clone)]
pub struct Rooms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rooms: RwLock<HashMap<ConcertId, Arc<Room>>>,
    store: QueueStore,
    defaults: SettingsInForce,
    tools: Tools,
    concerts: Concerts,
    failures: Failures,
    lifecycle: Lifecycle,
}

impl Rooms {
    /// No rooms yet; they live in `store`, are of these `concerts`, and their tasks belong to `lifecycle`.
    pub(crate) fn new(
        store: QueueStore,
        defaults: SettingsInForce,
        tools: Tools,
        concerts: Concerts,
        lifecycle: Lifecycle,
    ) -> Self {
        let (rooms, failures) = (RwLock::default(), Failures::default());
        Self(Arc::new(Inner { rooms, store, defaults, tools, concerts, failures, lifecycle }))
    }

    /// The rooms that somebody has asked this process for.
    pub fn open_rooms(&self) -> Vec<Arc<Room>> {
        self.0.rooms.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Where things are recorded, if anywhere.
    pub fn record(&self) -> Option<&Record> {
        self.0.tools.record.as_ref()
    }

    /// What failed of all that this process was asked for.
    pub fn failures(&self) -> Failures {
        self.0.failures.clone()
    }

    /// What holds in rooms that have no settings of their own.
    pub fn defaults(&self) -> &SettingsInForce {
        &self.0.defaults
    }

    /// The room of a concert that exists.
    pub async fn room(&self, concert: ConcertId) -> Result<Arc<Room>, QueueError> {
        if let Some(room) = self.opened(concert) {
            return Ok(room);
        }
        // On the heap: it happens once for a room, and is larger than all that a poll needs.
        let facts = Box::pin(self.0.concerts.look_up(concert)).await?.ok_or(QueueError::NoSuchConcert)?;
        self.open(concert, facts)
    }

    /// The same for an operator, who may have made the concert just now: that there was none a moment ago is asked again.
    pub async fn room_of_operator(&self, concert: ConcertId) -> Result<Arc<Room>, QueueError> {
        if let Some(room) = self.opened(concert) {
            return Ok(room);
        }
        let asked = Box::pin(self.0.concerts.ask(concert)).await;
        let facts = asked.map_err(|away| QueueError::CoreAway(away.0))?.ok_or(QueueError::NoSuchConcert)?;
        self.open(concert, facts)
    }

    /// A page of all concerts, as core-api lists them.
    pub async fn list_concerts(&self, page: u32, limit: usize) -> Result<ConcertList, QueueError> {
        self.0.concerts.list(page, limit).await.map_err(|away| QueueError::CoreAway(away.0))
    }

    /// A concert as core-api tells it, a few seconds old at most; `None` where there is none.
    pub async fn describe(&self, concert: ConcertId) -> Result<Option<Arc<Value>>, QueueError> {
        self.0.concerts.describe(concert).await
    }

    /// The room of a concert, if it was asked for before.
    pub fn opened(&self, concert: ConcertId) -> Option<Arc<Room>> {
        self.0.rooms.read().unwrap_or_else(PoisonError::into_inner).get(&concert).map(Arc::clone)
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), QueueError> {
        self.0.store.ping().await.map_err(|error| QueueError::StoreAway(error.to_string()))
    }

    fn open(&self, concert: ConcertId, facts: ConcertFacts) -> Result<Arc<Room>, QueueError> {
        let mut rooms = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&concert) {
            return Ok(Arc::clone(room));
        }
        if rooms.len() >= MAX_ROOMS {
            return Err(QueueError::Overloaded);
        }
        let Inner { store, defaults, tools, failures, .. } = &*self.0;
        let (recorded, failures) = (tools.record.is_some(), failures.clone());
        let (room, requests) = Room::new(concert, facts, store.clone(), defaults.clone(), recorded, failures);
        let room = Arc::new(room);
        rooms.insert(concert, Arc::clone(&room));
        drop(rooms);
        let lifecycle = &self.0.lifecycle;
        lifecycle.spawn("room batches", batch::run(Arc::clone(&room), requests, lifecycle.stopping()));
        lifecycle.spawn("room ticks", tick::run(Arc::clone(&room), tools.record.clone(), lifecycle.stopping()));
        lifecycle.spawn("room upkeep", upkeep::run(Arc::clone(&room), tools.clone(), lifecycle.stopping()));
        lifecycle
            .spawn("room facts", tick::follow_facts(Arc::clone(&room), self.0.concerts.clone(), lifecycle.stopping()));
        Ok(room)
    }
}
