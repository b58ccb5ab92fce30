//! Watching seats: one reading per process and concert serves everybody who watches it, and the lists of seats too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::InFlight;
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use metrics::{Gauge, gauge};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Catalogue;
use crate::domain::Fault;
use crate::domain::seat_log::{Place, SeatLog};
use crate::metrics::SEAT_STREAMS;

/// How many concerts are watched at once; whoever would watch another one is refused.
const MAX_CONCERTS: usize = 100;
/// How long what has happened is remembered once nobody watches: whoever lost their connection comes back for it.
const REMEMBERED_FOR: Duration = Duration::from_mins(2);

/// Watches seats. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct SeatWatch {
    catalogue: Catalogue,
    streams: InFlight,
    concerts: Arc<Mutex<HashMap<ConcertId, Arc<Watched>>>>,
}

/// A concert that is watched, or was a moment ago.
#[derive(Debug)]
struct Watched {
    log: Mutex<SeatLog>,
    /// Rings at every change; its receivers are those who watch.
    news: watch::Sender<()>,
    seen_at: Mutex<Instant>,
}

/// Somebody who watches a concert's seats.
#[derive(Debug)]
pub struct Watcher {
    watched: Arc<Watched>,
    news: watch::Receiver<()>,
    place: Place,
    _slot: Slot,
}

/// A place among the streams that are open, counted for as long as it is held.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.decrement(1);
    }
}

impl SeatWatch {
    /// Over what is read for everybody, for at most `max_streams` at once.
    pub fn new(catalogue: Catalogue, max_streams: usize) -> Self {
        Self { catalogue, streams: InFlight::at_most(max_streams), concerts: Arc::default() }
    }

    /// Begins to watch a concert, which must be known; `last_seen` names the state that its watcher saw last. Refuses
    /// with 503 where there are too many, or the seats can't be read.
    pub async fn watch(&self, concert: ConcertId, last_seen: Option<&str>) -> Result<Watcher, Problem> {
        let slot = Slot { _permit: self.streams.enter()?, open: gauge!(SEAT_STREAMS.name) };
        slot.open.increment(1);
        let (watched, news) = self.subscribe(concert).ok_or(ErrorCode::Overloaded)?;
        // Perhaps nobody has watched for a while: what is remembered must lead up to now.
        self.refresh(concert, &watched).await?;
        let place = last_seen.map_or(Place::NOWHERE, |name| watched.log().place_of(name));
        Ok(Watcher { watched, news, place, _slot: slot })
    }

    /// Looks after every concert that somebody watches, and forgets those that nobody has for a while.
    pub async fn refresh_all(&self) -> Result<(), Fault> {
        let watched: Vec<(ConcertId, Arc<Watched>)> = {
            let mut concerts = self.concerts();
            concerts.retain(|_, watched| watched.is_remembered());
            concerts.iter().filter(|(_, watched)| watched.is_watched()).map(|(id, w)| (*id, Arc::clone(w))).collect()
        };
        for (concert, watched) in watched {
            self.refresh(concert, &watched).await?;
        }
        Ok(())
    }

    async fn refresh(&self, concert: ConcertId, watched: &Watched) -> Result<(), Fault> {
        let list = self.catalogue.seat_list(concert).await?;
        if watched.log().update(list.hash(), list.hall()) {
            watched.news.send_replace(());
        }
        Ok(())
    }

    /// Under one lock with whoever forgets concerts: one that is watched is never forgotten.
    fn subscribe(&self, concert: ConcertId) -> Option<(Arc<Watched>, watch::Receiver<()>)> {
        let mut concerts = self.concerts();
        if concerts.len() >= MAX_CONCERTS && !concerts.contains_key(&concert) {
            concerts.retain(|_, watched| watched.is_watched());
        }
        if concerts.len() >= MAX_CONCERTS && !concerts.contains_key(&concert) {
            return None;
        }
        let watched = Arc::clone(concerts.entry(concert).or_default());
        let news = watched.news.subscribe();
        Some((watched, news))
    }

    fn concerts(&self) -> MutexGuard<'_, HashMap<ConcertId, Arc<Watched>>> {
        self.concerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self { log: Mutex::default(), news: watch::Sender::new(()), seen_at: Mutex::new(Instant::now()) }
    }
}

impl Watched {
    fn log(&self) -> MutexGuard<'_, SeatLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_watched(&self) -> bool {
        self.news.receiver_count() > 0
    }

    fn is_remembered(&self) -> bool {
        let mut seen_at = self.seen_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_watched() {
            *seen_at = Instant::now();
        }
        seen_at.elapsed() < REMEMBERED_FOR
    }
}

impl Watcher {
    /// The next event, as soon as there is one. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Seen before it is looked at: what comes in between rings again.
            self.news.borrow_and_update();
            let next = self.watched.log().next(self.place);
            if let Some((event, place)) = next {
                self.place = place;
                return Some(event);
            }
            self.news.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
impl Watcher {
    /// Who watches where nothing ever happens.
    pub(crate) fn of_nothing() -> Self {
        let watched: Arc<Watched> = Arc::default();
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        let slot = Slot { _permit: permit, open: Gauge::noop() };
        Self { news: watched.news.subscribe(), watched, place: Place::NOWHERE, _slot: slot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::Db;

    #[tokio::test]
    async fn only_what_somebody_watches_is_read() {
        // A database that can't be reached: whoever reads it fails.
        let catalogue = Catalogue::new(Db::new("postgres://app@127.0.0.1:1/nothing", 1).unwrap());
        let watch = SeatWatch::new(catalogue, 1);
        let concert = ConcertId::generate();
        let (watched, news) = watch.subscribe(concert).unwrap();
        assert!(watch.refresh_all().await.is_err());
        drop(news);
        assert!(watch.refresh_all().await.is_ok());
        assert_eq!(watch.concerts().len(), 1, "remembered for a while");
        *watched.seen_at.lock().unwrap() = Instant::now().checked_sub(REMEMBERED_FOR).unwrap();
        assert!(watch.refresh_all().await.is_ok());
        assert_eq!(watch.concerts().len(), 0);
    }

    #[tokio::test]
    async fn concerts_that_are_watched_are_bounded_and_those_that_were_make_way() {
        let watch = SeatWatch::new(Catalogue::new(Db::new("postgres://app@127.0.0.1:1/nothing", 1).unwrap()), 1);
        let mut held: Vec<_> = (0..MAX_CONCERTS).map(|_| watch.subscribe(ConcertId::generate()).unwrap()).collect();
        assert!(watch.subscribe(ConcertId::generate()).is_none());
        held.pop();
        assert!(watch.subscribe(ConcertId::generate()).is_some());
        assert_eq!(watch.concerts().len(), MAX_CONCERTS);
    }
}
