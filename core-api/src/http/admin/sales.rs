//! What was sold, as JSON and as CSV.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use common::clock::{rfc3339, serialize_rfc3339};
use common::http::{Administrator, PathId, Query};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use futures_util::stream::try_unfold;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};

use super::super::errors::invalid;
use super::concerts::SectionView;
use crate::domain::Fault;
use crate::domain::csv::{Cell, add_row};
use crate::domain::managed::SeatCounts;
use crate::domain::sales::{OrderCursor, OrderRow, SalesReport, SectionSales, SeriesPoint, Step, Takings};
use crate::service::{ORDERS_PER_PAGE, Reports};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
pub(super) struct ReportQuery {
    by: Option<String>,
}

/// A report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportView {
    concert_id: ConcertId,
    #[serde(serialize_with = "serialize_rfc3339")]
    as_of: DateTime<Utc>,
    totals: TotalsView,
    sections: Vec<SectionView>,
    series: SeriesView,
}

#[derive(Debug, Serialize)]
struct TotalsView {
    seats: SeatCounts,
    #[serde(flatten)]
    takings: Takings,
}

#[derive(Debug, Serialize)]
struct SeriesView {
    by: &'static str,
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
struct StepView {
    #[serde(serialize_with = "serialize_rfc3339")]
    from: DateTime<Utc>,
    payments: i64,
    refunded: i64,
    #[serde(flatten)]
    takings: Takings,
}

impl From<SeriesPoint> for StepView {
    fn from(point: SeriesPoint) -> Self {
        let SeriesPoint { from, payments, refunded, takings } = point;
        Self { from, payments, refunded, takings }
    }
}

impl ReportView {
    fn new(concert_id: ConcertId, report: SalesReport, step: Step) -> Self {
        let (seats, takings) = report.totals();
        Self {
            concert_id,
            as_of: report.read_at,
            totals: TotalsView { seats, takings },
            sections: report.sections.into_iter().map(SectionView::from).collect(),
            series: SeriesView { by: step.as_str(), steps: report.series.into_iter().map(StepView::from).collect() },
        }
    }
}

/// `GET /admin/concerts/{concertId}/sales`: by section, and by day or hour.
pub(super) async fn report(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<ReportView>, Problem> {
    let step = match query.by.as_deref() {
        None | Some("day") => Step::Day,
        Some("hour") => Step::Hour,
        Some(_) => return Err(invalid("by는 day 또는 hour여야 합니다.", "by must be day or hour.")),
    };
    let report = state.reports.sales(concert, step).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(ReportView::new(concert, report, step)))
}

/// `GET /admin/concerts/{concertId}/sales.csv`: a row for each section.
pub(super) async fn sections_csv(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Response, Problem> {
    let report = state.reports.sales(concert, Step::Day).await?.ok_or(ErrorCode::NotFound)?;
    let mut csv = "section,seats,available,held,sold,held_back,gross,refunds,net\r\n".to_owned();
    for section in &report.sections {
        add_section(&mut csv, section);
    }
    Ok(download("sales", concert, csv.into()))
}

fn add_section(csv: &mut String, section: &SectionSales) {
    let SectionSales { name, seats, takings, .. } = section;
    let counts = [seats.total, seats.available, seats.held, seats.sold, seats.held_back].map(|count| count.to_string());
    let sums = [takings.gross, takings.refunds, takings.net].map(|sum| sum.to_string());
    let cells: Vec<Cell<'_>> =
        std::iter::once(Cell::Text(name)).chain(counts.iter().chain(&sums).map(|number| Cell::Ours(number))).collect();
    add_row(csv, &cells);
}

/// `GET /admin/concerts/{concertId}/orders.csv`: a row for each payment and each refund, as they are read.
pub(super) async fn orders_csv(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Response, Problem> {
    state.db.managed_concert(concert).await?.ok_or(ErrorCode::NotFound)?;
    // The first page before the answer begins: what fails until then can still be told.
    let first = state.reports.orders(concert, OrderCursor::START).await?;
    Ok(download("orders", concert, orders(state.reports.clone(), concert, first)))
}

/// All orders, page by page, with the head. What fails on the way breaks the connection off: half a file must not look
/// like a whole one.
fn orders(reports: Reports, concert: ConcertId, first: Vec<OrderRow>) -> Body {
    let head = "time,kind,amount,reservation_id,payment_id,payment_method,user_id,section,seat_number\r\n".to_owned();
    Body::from_stream(try_unfold(Some((head, first)), move |next| {
        let reports = reports.clone();
        async move {
            let Some((mut csv, page)) = next else { return Ok::<_, Fault>(None) };
            for order in &page {
                add_order(&mut csv, order);
            }
            let then = match page.last() {
                Some(last) if page.len() >= ORDERS_PER_PAGE => {
                    Some((String::new(), reports.orders(concert, last.cursor).await?))
                }
                _ => None,
            };
            Ok(Some((csv, then)))
        }
    }))
}

fn add_order(csv: &mut String, order: &OrderRow) {
    let payment = order.payment.map(|payment| payment.to_string()).unwrap_or_default();
    add_row(
        csv,
        &[
            Cell::Ours(&rfc3339(order.at)),
            Cell::Text(&order.kind),
            Cell::Ours(&order.amount.to_string()),
            Cell::Ours(&order.cursor.reservation.to_string()),
            Cell::Ours(&payment),
            Cell::Text(order.method.as_deref().unwrap_or_default()),
            Cell::Ours(&order.user.to_string()),
            Cell::Text(&order.section),
            Cell::Ours(&order.seat_number.to_string()),
        ],
    );
}

fn download(name: &str, concert: ConcertId, csv: Body) -> Response {
    let file = format!("attachment; filename=\"{name}-{concert}.csv\"");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        // Letters, digits and hyphens: always a valid header.
        (CONTENT_DISPOSITION, HeaderValue::try_from(file).unwrap_or(HeaderValue::from_static("attachment"))),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, csv).into_response()
}
