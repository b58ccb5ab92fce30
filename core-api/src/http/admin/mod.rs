//! Concerts, seats and sales, for administrators only. Every change is kept with who made it, when, before and after.

mod bodies;
mod branding;
mod concerts;
mod held_back;
mod record;
mod sales;
mod users;

use axum::routing::{delete, get, patch, post};
use common::http::{Endpoint, Query, endpoint, page_limit};
use common::problem::Problem;
use http::Method;
use serde::Deserialize;

use super::concerts::page;
use crate::state::AppState;

/// What administrators can ask for.
pub(super) fn endpoints() -> Vec<Endpoint<AppState>> {
    vec![
        endpoint(Method::POST, "/admin/users/find", post(users::find)),
        endpoint(Method::GET, "/admin/audit", get(record::list)),
        endpoint(Method::GET, "/admin/concerts", get(concerts::list)),
        endpoint(Method::POST, "/admin/concerts", post(concerts::create)),
        endpoint(Method::GET, "/admin/concerts/{concertId}", get(concerts::one)),
        endpoint(Method::PATCH, "/admin/concerts/{concertId}", patch(concerts::change)),
        endpoint(Method::POST, "/admin/concerts/{concertId}/open", post(concerts::open)),
        endpoint(Method::POST, "/admin/concerts/{concertId}/close", post(concerts::close)),
        endpoint(Method::POST, "/admin/concerts/{concertId}/sections", post(concerts::add_sections)),
        endpoint(Method::GET, "/admin/concerts/{concertId}/branding", get(branding::one)),
        endpoint(Method::PATCH, "/admin/concerts/{concertId}/branding", patch(branding::change)),
        endpoint(Method::GET, "/admin/concerts/{concertId}/held-back", get(held_back::list)),
        endpoint(Method::POST, "/admin/concerts/{concertId}/held-back", post(held_back::hold_back)),
        endpoint(Method::DELETE, "/admin/concerts/{concertId}/held-back", delete(held_back::release)),
        endpoint(Method::GET, "/admin/concerts/{concertId}/sales", get(sales::report)),
        endpoint(Method::GET, "/admin/concerts/{concertId}/sales.csv", get(sales::sections_csv)),
        endpoint(Method::GET, "/admin/concerts/{concertId}/orders.csv", get(sales::orders_csv)),
    ]
}

/// The query of a list that is read by pages.
#[derive(Debug, Deserialize)]
struct PageQuery {
    page: Option<u32>,
    limit: Option<u16>,
}

/// Which page, how many entries it has, and how many come before it.
fn page_of(Query(query): Query<PageQuery>) -> Result<(u32, usize, i64), Problem> {
    let (page, limit) = (page(query.page)?, page_limit(query.limit)?);
    // A million pages of a hundred.
    let skipped = i64::from(page - 1) * i64::try_from(limit).unwrap_or(0);
    Ok((page, limit, skipped))
}

/// A limit or a count, between SQL and lists.
fn usize_of(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}
