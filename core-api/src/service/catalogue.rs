//! What everybody reads, read once for all: concerts, halls, and lists of seats ready to be sent.
//!
//! Each is kept for a moment; whoever asks while it is being read waits for that one reading. The cost to `PostgreSQL`
//! is thus a few queries a second per process, however many people ask.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::ids::ConcertId;
use flate2::Compression;
use flate2::write::GzEncoder;
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::domain::Fault;
use crate::domain::catalogue::Snapshot;
use crate::domain::hall::Hall;
use crate::domain::seat::Seat;
use crate::store::postgres::Db;

/// How old the counts of a list of concerts may be.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(1);
/// How long a hall is used, which may come from a list: how late it is noticed that a seat was sold, or can be had again.
const HALL_LIFE: Duration = Duration::from_millis(500);
/// How old a list of seats may be.
const SEAT_LIST_LIFE: Duration = Duration::from_millis(300);
/// How many snapshots are kept: the latest, and those of the last second's changes.
const MAX_SNAPSHOTS: u64 = 16;
/// How many halls and lists are kept at once.
const MAX_HALLS: u64 = 100;
/// How many logos are kept, of a few KB each. One is kept for as long as it is asked for: its version says what is in it.
const MAX_LOGOS: u64 = 200;
const LOGO_IDLE: Duration = Duration::from_mins(10);
/// In a hall of up to so many seats a change of our own is seen at once. Reading a larger one again for each of
/// hundreds of changes a second would cost more than it gives; there it is seen within [`SEAT_LIST_LIFE`].
const READ_AGAIN_MAX_SEATS: usize = 500;

/// The caches.
#[derive(Debug, Clone)]
pub struct Catalogue {
    db: Db,
    snapshot: Cache<u64, Arc<Snapshot>>,
    halls: Cache<(ConcertId, u64), Arc<Hall>>,
    lists: Cache<(ConcertId, u64), Arc<SeatList>>,
    logos: Cache<(ConcertId, String), Bytes>,
    /// How often this process has changed concerts: a snapshot that was being read during a change is not taken for one
    /// read after it.
    concert_changes: Arc<AtomicU64>,
    /// How often the seats of a concert were changed by this process. A list is kept under the number it was read at,
    /// so that one that was being read during a change is not taken for one read after it.
    changes: Counts,
    /// The same for seats that came back. Only they make a hall wrong about what is sold for good, and they are rare:
    /// reading a hall again for every hold would cost more than the hold.
    returns: Counts,
}

/// How often something happened, per concert. Both are of concerts that are known, so there are not many.
type Counts = Arc<Mutex<HashMap<ConcertId, u64>>>;

/// What a cache has under a key, or what is read then, once for all who ask at the same time. Reading is put on the heap:
/// most find what they look for, and would carry the room for it along.
async fn known_or_read<K, V>(
    cache: &Cache<K, V>,
    key: K,
    read: impl Future<Output = Result<V, Fault>>,
) -> Result<V, Fault>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if let Some(known) = cache.get(&key).await {
        return Ok(known);
    }
    Box::pin(cache.try_get_with(key, read)).await.map_err(|fault: Arc<Fault>| Fault::clone(&fault))
}

impl Catalogue {
    /// Over this database.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            snapshot: Cache::builder().max_capacity(MAX_SNAPSHOTS).time_to_live(SNAPSHOT_LIFE).build(),
            halls: Cache::builder().max_capacity(MAX_HALLS).time_to_live(HALL_LIFE).build(),
            lists: Cache::builder().max_capacity(MAX_HALLS).time_to_live(SEAT_LIST_LIFE).build(),
            logos: Cache::builder().max_capacity(MAX_LOGOS).time_to_idle(LOGO_IDLE).build(),
            concert_changes: Arc::default(),
            changes: Arc::default(),
            returns: Arc::default(),
        }
    }

    /// All concerts.
    pub async fn concerts(&self) -> Result<Arc<Snapshot>, Fault> {
        let change = self.concert_changes.load(Ordering::Acquire);
        known_or_read(&self.snapshot, change, async { self.db.concerts().await.map(Arc::new) }).await
    }

    /// Notes that this process has changed a concert, or made one: what it answers next is what it was told. Others
    /// learn of it within a second.
    pub fn concerts_changed(&self) {
        self.concert_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The file of a concert's logo. The version must be known as the concert's, lest strangers fill the cache; `None`
    /// where it has become another since.
    pub async fn logo(&self, concert: ConcertId, version: &str) -> Result<Option<Bytes>, Fault> {
        let key = (concert, version.to_owned());
        if let Some(known) = self.logos.get(&key).await {
            return Ok(Some(known));
        }
        // That it is gone is not kept: an organiser may take the former one again.
        let read = async { self.db.logo(concert, version).await.map_err(Some)?.map(Bytes::from).ok_or(None) };
        match Box::pin(self.logos.try_get_with(key, read)).await {
            Ok(file) => Ok(Some(file)),
            Err(gone_or_fault) => Option::clone(&gone_or_fault).map_or(Ok(None), Err),
        }
    }

    /// The seats of a concert, to look them up. The concert must be known, lest strangers fill the cache.
    pub async fn hall(&self, concert: ConcertId) -> Result<Arc<Hall>, Fault> {
        let read = async {
            let change = count_of(&self.changes, concert);
            match self.lists.get(&(concert, change)).await {
                Some(list) => Ok(Arc::clone(list.hall())),
                None => Ok(Arc::new(Hall::new(self.db.seats(concert).await?))),
            }
        };
        let key = (concert, count_of(&self.returns, concert));
        known_or_read(&self.halls, key, read).await
    }

    /// The seats of a concert, to send them. The concert must be known.
    pub async fn seat_list(&self, concert: ConcertId) -> Result<Arc<SeatList>, Fault> {
        let change = count_of(&self.changes, concert);
        let read = async { self.db.seats(concert).await.map(|seats| Arc::new(SeatList::new(seats))) };
        known_or_read(&self.lists, (concert, change), read).await
    }

    /// The seats of a concert as they were `SEAT_LIST_LIFE` ago at most, to choose among them. The concert must be
    /// known.
    pub async fn latest_hall(&self, concert: ConcertId) -> Result<Arc<Hall>, Fault> {
        Ok(Arc::clone(self.seat_list(concert).await?.hall()))
    }

    /// Notes that this process has changed seats of a concert.
    pub async fn seats_changed(&self, concert: ConcertId) {
        if self.is_read_again(concert).await {
            count(&self.changes, concert);
        }
    }

    /// Notes that seats of a concert can be had again by what this process did: whoever is told so may try them at once.
    pub async fn seats_returned(&self, concert: ConcertId) {
        if self.is_read_again(concert).await {
            count(&self.changes, concert);
            count(&self.returns, concert);
        }
    }

    async fn is_read_again(&self, concert: ConcertId) -> bool {
        let hall = match self.lists.get(&(concert, count_of(&self.changes, concert))).await {
            Some(list) => Some(Arc::clone(list.hall())),
            None => self.halls.get(&(concert, count_of(&self.returns, concert))).await,
        };
        hall.is_none_or(|hall| hall.len() <= READ_AGAIN_MAX_SEATS)
    }
}

fn count(counts: &Counts, concert: ConcertId) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(concert).or_insert(0) += 1;
}

fn count_of(counts: &Counts, concert: ConcertId) -> u64 {
    counts.lock().unwrap_or_else(PoisonError::into_inner).get(&concert).copied().unwrap_or(0)
}

/// A list of seats as it is looked up and as it is sent, plain and compressed, and the names of both forms.
#[derive(Debug)]
pub struct SeatList {
    hall: Arc<Hall>,
    json: Bytes,
    gzip: OnceCell<Bytes>,
    hash: String,
}

impl SeatList {
    fn new(seats: Vec<Seat>) -> Self {
        // Plain structs with string keys always serialise.
        let json = serde_json::to_vec(&seats).unwrap_or_default();
        let digest = Sha256::digest(&json);
        let hash = digest.iter().take(8).fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        Self { hall: Arc::new(Hall::new(seats)), json: json.into(), gzip: OnceCell::new(), hash }
    }

    /// What the list is of.
    pub fn hall(&self) -> &Arc<Hall> {
        &self.hall
    }

    /// A name for what the list says, the same in every process: its entity tag without the quotes.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The list as JSON.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The same, compressed with gzip, once for everybody who wants it so.
    pub async fn gzip(&self) -> Bytes {
        let compress = async {
            let json = self.json.clone();
            // Some ten milliseconds for a large hall: too long for a thread that serves others.
            tokio::task::spawn_blocking(move || gzip(&json)).await.unwrap_or_default()
        };
        self.gzip.get_or_init(|| compress).await.clone()
    }

    /// The strong entity tag of one of the forms: each form has its own (RFC 9110, 8.8.3.3).
    pub fn etag(&self, gzip: bool) -> String {
        if gzip { format!("\"{}-gzip\"", self.hash) } else { format!("\"{}\"", self.hash) }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}
