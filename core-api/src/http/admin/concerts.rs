//! Concerts as administrators see and change them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use common::http::{Administrator, Json as JsonBody, JsonBytes, PathId, Query};
use common::ids::{ConcertId, UserId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use serde::Serialize;

use super::super::concerts::Pagination;
use super::super::idempotency::Once;
use super::bodies::{ConcertEdit, NewConcert, NewSections};
use super::{PageQuery, page_of, usize_of};
use crate::domain::catalogue::SaleStatus;
use crate::domain::effect::{Answer, Record};
use crate::domain::managed::{Change, ConcertFacts, ManagedConcert, SeatCounts};
use crate::domain::sales::{SalesReport, SectionSales, Step, Takings};
use crate::state::AppState;

/// A concert.
#[derive(Debug, Serialize)]
pub(super) struct ConcertView {
    id: ConcertId,
    #[serde(flatten)]
    facts: ConcertFacts,
    status: SaleStatus,
    seats: SeatCounts,
}

impl From<ManagedConcert> for ConcertView {
    fn from(concert: ManagedConcert) -> Self {
        let status = concert.status();
        Self { id: concert.id, facts: concert.facts, status, seats: concert.seats }
    }
}

/// One page of concerts.
#[derive(Debug, Serialize)]
pub(super) struct ConcertPage {
    data: Vec<ConcertView>,
    pagination: Pagination,
}

/// A concert, its sections and its money.
#[derive(Debug, Serialize)]
pub(super) struct ConcertDetail {
    #[serde(flatten)]
    concert: ConcertView,
    sales: Takings,
    sections: Vec<SectionView>,
}

/// A section and its money.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SectionView {
    section: String,
    lowest_price: Money,
    highest_price: Money,
    seats: SeatCounts,
    #[serde(flatten)]
    takings: Takings,
}

impl From<SectionSales> for SectionView {
    fn from(section: SectionSales) -> Self {
        let SectionSales { name, lowest_price, highest_price, seats, takings } = section;
        Self { section: name, lowest_price, highest_price, seats, takings }
    }
}

/// `GET /admin/concerts`: all, by date, also those that are not announced yet.
pub(super) async fn list(
    State(state): State<AppState>,
    _: Administrator,
    query: Query<PageQuery>,
) -> Result<Json<ConcertPage>, Problem> {
    let (page, limit, skipped) = page_of(query)?;
    let (concerts, total) = state.db.managed_concerts(skipped, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let data = concerts.into_iter().map(ConcertView::from).collect();
    Ok(Json(ConcertPage { data, pagination: Pagination::new(page, limit, usize_of(total)) }))
}

/// `GET /admin/concerts/{concertId}`.
pub(super) async fn one(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Json<ConcertDetail>, Problem> {
    let found = state.db.managed_concert(concert).await?.ok_or(ErrorCode::NotFound)?;
    let report: SalesReport = state.reports.sales(concert, Step::Day).await?.ok_or(ErrorCode::NotFound)?;
    let (seats, sales) = report.totals();
    // The counts are those of the sections, which were read a moment later.
    let concert = ConcertView::from(ManagedConcert { seats, ..found });
    let sections = report.sections.into_iter().map(SectionView::from).collect();
    Ok(Json(ConcertDetail { concert, sales, sections }))
}

/// `POST /admin/concerts`: makes a concert with its seats.
pub(super) async fn create(
    State(state): State<AppState>,
    admin: Administrator,
    once: Once,
    body: JsonBytes,
) -> Response {
    once.run(&state, admin.user, body, move |state, claim, body| async move {
        let (facts, sections) = body.read::<NewConcert>()?.read()?;
        let created = state.db.create_concert(admin.user, &facts, &sections, &record(claim)).await?;
        state.catalogue.concerts_changed();
        Ok(created.answer)
    })
    .await
}

/// `POST /admin/concerts/{concertId}/sections`: adds sections, all or none.
pub(super) async fn add_sections(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    once: Once,
    body: JsonBytes,
) -> Response {
    once.run(&state, admin.user, body, move |state, claim, body| async move {
        let sections = body.read::<NewSections>()?.read()?;
        let extended = state.db.add_sections(admin.user, concert, &sections, &record(claim)).await?;
        state.catalogue.concerts_changed();
        state.catalogue.seats_returned(concert).await;
        Ok(extended.answer)
    })
    .await
}

fn record(claim: Option<crate::domain::effect::Claim>) -> Record<ManagedConcert> {
    Record::new(claim, |concert: &ManagedConcert| Answer::ok(&ConcertView::from(concert.clone())))
}

/// `PATCH /admin/concerts/{concertId}`: changes what is given.
pub(super) async fn change(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    JsonBody { value: edit, .. }: JsonBody<ConcertEdit>,
) -> Result<Json<ConcertView>, Problem> {
    make(&state, admin.user, concert, &Change::Edit(Box::new(edit.read()?))).await
}

/// `POST /admin/concerts/{concertId}/open`: its sale is on from now on.
pub(super) async fn open(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Json<ConcertView>, Problem> {
    make(&state, admin.user, concert, &Change::Open).await
}

/// `POST /admin/concerts/{concertId}/close`: its sale has ended. What is held can still be paid for.
pub(super) async fn close(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Json<ConcertView>, Problem> {
    make(&state, admin.user, concert, &Change::Close).await
}

async fn make(state: &AppState, by: UserId, concert: ConcertId, change: &Change) -> Result<Json<ConcertView>, Problem> {
    let changed = state.db.change_concert(by, concert, change).await?;
    state.catalogue.concerts_changed();
    if !change.prices().is_empty() {
        state.catalogue.seats_returned(concert).await;
    }
    Ok(Json(changed.into()))
}
