//! What core-api says of concerts, asked once however many want to know; and what stands for concerts where there is no
//! core-api.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use common::ids::ConcertId;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use moka::future::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::core_api::{Away, CoreApi};
use crate::domain::{ConcertFacts, QueueError, SaleStatus, Stock};

/// How long an answer is good for: long enough to take the flood at an opening, short enough that a concert made a
/// moment ago is found.
const KEPT_FOR: Duration = Duration::from_secs(2);
const KEPT_AT_MOST: u64 = 10_000;
/// Names and venues hardly ever change.
const TOLD_FOR: Duration = Duration::from_secs(10);
const TOLD_AT_MOST: u64 = 1_000;
const MAX_BODY: usize = 256 * 1024;

/// The concerts that there are rooms for: core-api's, or before a site of another kind the rooms that its rules name.
#[derive(Debug, Clone)]
pub enum Concerts {
    /// Asked of core-api.
    OfCoreApi {
        /// It.
        core: CoreApi,
        /// What it said of late.
        known: Cache<ConcertId, Option<ConcertFacts>>,
        /// The same in its own words, for people to read.
        told: Cache<ConcertId, Option<Arc<Value>>>,
    },
    /// Always the same, and always open: when their rooms open and close is a matter of their settings.
    Fixed(Arc<BTreeSet<ConcertId>>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Concert {
    status: SaleStatus,
    sale_opens_at: Option<DateTime<Utc>>,
    available_seats: Option<u32>,
    held_seats: Option<u32>,
    sold_seats: Option<u32>,
}

impl From<Concert> for ConcertFacts {
    fn from(concert: Concert) -> Self {
        let stock = concert.available_seats.zip(concert.held_seats);
        Self {
            status: concert.status,
            sale_opens_at: concert.sale_opens_at,
            stock: stock.map(|(available, held)| Stock { available, held, sold: concert.sold_seats }),
        }
    }
}

impl Concerts {
    /// Asks this core-api.
    pub fn of(core: CoreApi) -> Self {
        let known = Cache::builder().max_capacity(KEPT_AT_MOST).time_to_live(KEPT_FOR).build();
        let told = Cache::builder().max_capacity(TOLD_AT_MOST).time_to_live(TOLD_FOR).build();
        Self::OfCoreApi { core, known, told }
    }

    /// These and no others.
    pub fn fixed(rooms: BTreeSet<ConcertId>) -> Self {
        Self::Fixed(Arc::new(rooms))
    }

    /// What is known of a concert, asking at most once in two seconds; `None` where there is none.
    pub async fn look_up(&self, concert: ConcertId) -> Result<Option<ConcertFacts>, QueueError> {
        let asked = match self {
            Self::OfCoreApi { known, .. } => known.try_get_with(concert, self.ask(concert)).await,
            Self::Fixed(_) => self.ask(concert).await.map_err(Arc::new),
        };
        asked.map_err(|away| QueueError::CoreAway(away.0.clone()))
    }

    /// Asks for a concert.
    pub async fn ask(&self, concert: ConcertId) -> Result<Option<ConcertFacts>, Away> {
        match self {
            Self::OfCoreApi { core, .. } => {
                let concert: Option<Concert> = get(core, &format!("/concerts/{concert}")).await?;
                Ok(concert.map(ConcertFacts::from))
            }
            Self::Fixed(rooms) => {
                let always_open = ConcertFacts { status: SaleStatus::OnSale, sale_opens_at: None, stock: None };
                Ok(rooms.contains(&concert).then_some(always_open))
            }
        }
    }

    /// A concert in core-api's own words, asking at most once in ten seconds; `None` where there is none.
    pub async fn describe(&self, concert: ConcertId) -> Result<Option<Arc<Value>>, QueueError> {
        let Self::OfCoreApi { core, told, .. } = self else { return Ok(None) };
        let path = format!("/concerts/{concert}");
        let asked = told.try_get_with(concert, async { Ok(get::<Value>(core, &path).await?.map(Arc::new)) });
        asked.await.map_err(|away: Arc<Away>| QueueError::CoreAway(away.0.clone()))
    }

    /// A page of the list of all concerts.
    pub async fn list(&self, page: u32, limit: usize) -> Result<ConcertList, Away> {
        match self {
            Self::OfCoreApi { core, .. } => {
                let list: Option<Value> = get(core, &format!("/concerts?page={page}&limit={limit}")).await?;
                Ok(ConcertList(list.unwrap_or_default()))
            }
            Self::Fixed(rooms) => Ok(ConcertList::page_of(rooms, page, limit)),
        }
    }
}

/// What core-api answers to a GET; `None` for 404.
async fn get<T: DeserializeOwned>(core: &CoreApi, path: &str) -> Result<Option<T>, Away> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = path.parse().map_err(|error| Away(format!("{error}")))?;
    let response = core.send(request).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), MAX_BODY)
                .collect()
                .await
                .map_err(|error| Away(error.to_string()))?;
            let read = serde_json::from_slice(&body.to_bytes());
            read.map(Some).map_err(|error| Away(format!("{path} in another shape: {error}")))
        }
        status => Err(Away(format!("asked for {path}, core-api answered {status}"))),
    }
}

/// A page of concerts as core-api tells it: `{data: [{id, …}], pagination}`.
#[derive(Debug)]
pub struct ConcertList(Value);

impl ConcertList {
    fn page_of(rooms: &BTreeSet<ConcertId>, page: u32, limit: usize) -> Self {
        let behind = usize::try_from(page.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(limit);
        let data: Vec<Value> = rooms.iter().skip(behind).take(limit).map(|id| json!({ "id": id })).collect();
        let (items, pages) = (rooms.len(), rooms.len().div_ceil(limit.max(1)));
        let pagination = json!({ "currentPage": page, "totalPages": pages, "totalItems": items });
        Self(json!({ "data": data, "pagination": pagination }))
    }

    /// Which concerts are on the page; an entry without a readable id ends the list.
    pub fn ids(&self) -> Vec<ConcertId> {
        let entries = self.0["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().map_while(|entry| entry["id"].as_str()?.parse().ok()).collect()
    }

    /// Its entries.
    pub fn entries(&mut self) -> &mut [Value] {
        self.0["data"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default()
    }

    /// The page.
    pub fn into_json(self) -> Value {
        self.0
    }
}
