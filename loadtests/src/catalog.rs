//! Concerts and seats as the API shows them, and which concert a run is about.

use anyhow::{Context, Result, bail, ensure};
use rust_decimal::Decimal;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Client;

/// At most this many concerts are looked at: `PAGES_MAX` pages of a hundred.
const PAGES_MAX: u32 = 50;

/// A concert of `GET /concerts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Concert {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) total_seats: u64,
    pub(crate) available_seats: u64,
    pub(crate) status: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Concert>,
    pagination: Pagination,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    total_pages: u32,
}

/// A seat of `GET /concerts/{id}/seats`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Seat {
    #[serde(rename = "seatId")]
    pub(crate) id: Uuid,
    pub(crate) price: Decimal,
    pub(crate) status: String,
}

impl Seat {
    pub(crate) fn is_available(&self) -> bool {
        self.status == "available"
    }
}

/// The wanted concert, or the one that `users` visitors can sell out.
pub(crate) async fn choose(client: &Client, wanted: Option<Uuid>, users: u32) -> Result<Concert> {
    if let Some(id) = wanted {
        let concert: Concert = client.get(&format!("/concerts/{id}")).await?;
        ensure!(concert.status == "on_sale", "the concert {id} is not on sale: it is {}", concert.status);
        return Ok(concert);
    }
    let mut concerts = Vec::new();
    for page in 1..=PAGES_MAX {
        let found: Page = client.get(&format!("/concerts?page={page}&limit=100")).await?;
        concerts.extend(found.data);
        if page >= found.pagination.total_pages {
            break;
        }
    }
    pick(concerts, users).context("no concert is on sale with a seat left (`cargo xtask up --reset` starts afresh)")
}

/// Of the concerts on sale, the one with the most seats that all can be sold to `users`; if each
/// has more, the smallest.
fn pick(concerts: Vec<Concert>, users: u32) -> Option<Concert> {
    let users = u64::from(users);
    let (mut fitting, mut larger): (Vec<_>, Vec<_>) = concerts
        .into_iter()
        .filter(|concert| concert.status == "on_sale" && concert.available_seats > 0)
        .partition(|concert| concert.available_seats <= users);
    fitting.sort_by_key(|concert| concert.available_seats);
    larger.sort_by_key(|concert| concert.available_seats);
    fitting.pop().or_else(|| larger.into_iter().next())
}

/// The highest price of a seat: what a visitor needs on their balance.
pub(crate) async fn highest_price(client: &Client, concert: Uuid) -> Result<Decimal> {
    let seats: Vec<Seat> = client.get(&format!("/concerts/{concert}/seats")).await?;
    let Some(price) = seats.iter().map(|seat| seat.price).max() else {
        bail!("the concert {concert} has no seats");
    };
    Ok(price)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concert(available_seats: u64, status: &str) -> Concert {
        Concert {
            id: Uuid::from_u128(available_seats.into()),
            name: "x".to_owned(),
            total_seats: 1_000,
            available_seats,
            status: status.to_owned(),
        }
    }

    #[test]
    fn the_largest_concert_that_can_be_sold_out_is_chosen() {
        let list = || {
            vec![
                concert(50, "on_sale"),
                concert(400, "on_sale"),
                concert(20_000, "on_sale"),
                concert(450, "scheduled"),
                concert(0, "sold_out"),
            ]
        };
        let seats = |users| pick(list(), users).unwrap().available_seats;
        assert_eq!(seats(500), 400);
        assert_eq!(seats(100), 50);
        assert_eq!(seats(10), 50, "each has more: the smallest");
        assert_eq!(seats(100_000), 20_000);
        assert!(pick(vec![concert(0, "on_sale")], 10).is_none());
    }

    #[test]
    fn a_price_is_read_to_the_cent() {
        let seat: Seat = serde_json::from_str(
            r#"{"seatId":"018f3f64-0000-7000-8000-000000000000","seatNumber":1,"section":"A","price":129000.10,"status":"available"}"#,
        )
        .unwrap();
        assert_eq!(seat.price, Decimal::new(12_900_010, 2));
        assert!(seat.is_available());
    }
}
