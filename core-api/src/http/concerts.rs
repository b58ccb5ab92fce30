//! Concerts.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use common::clock::serialize_rfc3339_opt;
use common::colour::Colour;
use common::http::{PathId, Query, page_limit};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};

use super::errors::invalid;
use crate::domain::branding::{Branding, Message};
use crate::domain::catalogue::{Concert, ConcertFilter, SaleStatus};
use crate::state::AppState;

const MAX_PAGE: u32 = 1_000_000;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    page: Option<u32>,
    limit: Option<u16>,
    available: Option<bool>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConcertView {
    id: ConcertId,
    name: String,
    date: NaiveDate,
    venue: String,
    total_seats: i64,
    available_seats: i64,
    held_seats: i64,
    sold_seats: i64,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    sale_opens_at: Option<DateTime<Utc>>,
    seats_per_user: u32,
    status: SaleStatus,
}

impl ConcertView {
    /// As it is at `now`, where a user may have `seats_per_user` unless the concert says otherwise.
    fn at(concert: &Concert, now: DateTime<Utc>, seats_per_user: u32) -> Self {
        Self {
            id: concert.id,
            name: concert.name.clone(),
            date: concert.date,
            venue: concert.venue.clone(),
            total_seats: concert.total_seats,
            available_seats: concert.available_seats,
            held_seats: concert.unsold_seats - concert.available_seats,
            sold_seats: concert.sold_seats,
            sale_opens_at: concert.sale_opens_at,
            seats_per_user: concert.seats_per_user.unwrap_or(seats_per_user),
            status: concert.status(now),
        }
    }
}

/// A concert with what its pages show of the organiser, which lists have no use for.
#[derive(Debug, Serialize)]
pub(super) struct BrandedConcertView {
    #[serde(flatten)]
    concert: ConcertView,
    #[serde(skip_serializing_if = "Option::is_none")]
    branding: Option<BrandingView>,
}

#[derive(Debug, Serialize)]
struct BrandingView {
    colour: Option<Colour>,
    message: Option<Message>,
    logo: Option<LogoView>,
}

#[derive(Debug, Serialize)]
struct LogoView {
    url: String,
    width: u32,
    height: u32,
}

impl BrandingView {
    /// `None` where there is nothing to show.
    fn of(concert: ConcertId, branding: &Branding) -> Option<Self> {
        let logo = branding.logo.as_ref().map(|logo| LogoView {
            url: format!("/concerts/{concert}/logo/{}", logo.version),
            width: logo.width,
            height: logo.height,
        });
        let view = Self { colour: branding.colour, message: branding.message.clone(), logo };
        (!branding.is_none()).then_some(view)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ConcertPage {
    data: Vec<ConcertView>,
    pagination: Pagination,
}

/// Which page of how many.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pagination {
    current_page: u32,
    total_pages: usize,
    total_items: usize,
}

impl Pagination {
    /// Page `current_page` of as many as `total_items` fill.
    pub(super) fn new(current_page: u32, limit: usize, total_items: usize) -> Self {
        Self { current_page, total_pages: total_items.div_ceil(limit), total_items }
    }
}

/// `GET /concerts`: one page, by date.
pub(super) async fn list(
    State(state): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ConcertPage>, Problem> {
    let (page, limit) = (page(query.page)?, page_limit(query.limit)?);
    let filter = ConcertFilter {
        available: query.available.unwrap_or(false),
        from: query.from.as_deref().map(day).transpose()?,
        to: query.to.as_deref().map(day).transpose()?,
    };
    let snapshot = state.catalogue.concerts().await?;
    let now = snapshot.now();
    let total_items = snapshot.matching(filter).count();
    let skipped = usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(limit);
    let limit_per_user = state.reserving.rules().seats_per_user;
    let view = |concert| ConcertView::at(concert, now, limit_per_user);
    let data = snapshot.matching(filter).skip(skipped).take(limit).map(view);
    Ok(Json(ConcertPage { data: data.collect(), pagination: Pagination::new(page, limit, total_items) }))
}

/// `GET /concerts/{concertId}`.
pub(super) async fn one(
    State(state): State<AppState>,
    PathId(id): PathId<ConcertId>,
) -> Result<Json<BrandedConcertView>, Problem> {
    let snapshot = state.catalogue.concerts().await?;
    let concert = snapshot.concert(id).ok_or(ErrorCode::NotFound)?;
    let branding = BrandingView::of(id, &concert.branding);
    let concert = ConcertView::at(concert, snapshot.now(), state.reserving.rules().seats_per_user);
    Ok(Json(BrandedConcertView { concert, branding }))
}

/// A page's number, from 1.
pub(super) fn page(asked: Option<u32>) -> Result<u32, Problem> {
    Some(asked.unwrap_or(1))
        .filter(|page| (1..=MAX_PAGE).contains(page))
        .ok_or_else(|| invalid("page는 1 이상이어야 합니다.", "page must lie between 1 and 1000000."))
}

/// A day as `2026-12-31` and in no other form.
pub(super) fn day(text: &str) -> Result<NaiveDate, Problem> {
    let parsed = if text.len() == 10 { text.parse().ok() } else { None };
    parsed.ok_or_else(|| invalid("날짜는 YYYY-MM-DD 형식이어야 합니다.", "A day has the form YYYY-MM-DD."))
}
