//! What the seats of a section cost.

use common::ids::ConcertId;
use common::money::Money;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgConnection;

use super::Refused;
use crate::domain::effect::EffectError;
use crate::domain::managed::{AdminRefusal, SectionPrice};
use crate::store::postgres::money;

/// How long a change of prices waits for whoever is buying just then. Shorter than the server looks for deadlocks
/// (`deadlock_timeout`, 1 s): it is never a buyer who is sent away.
pub(super) const GIVE_WAY: &str = "SET LOCAL lock_timeout = '500ms'";

/// A price that seats of a section have; where they were changed one by one there are several.
#[derive(Serialize, PartialEq, Eq)]
pub(super) struct PriceOf {
    section: String,
    price: Money,
}

/// What the seats of these sections cost that are not sold.
pub(super) async fn prices(
    connection: &mut PgConnection,
    concert: ConcertId,
    sections: &[SectionPrice],
) -> Result<Vec<PriceOf>, Refused> {
    if sections.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = sections.iter().map(|priced| priced.section.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT DISTINCT section, price FROM seats
           WHERE concert_id = $1 AND section = ANY($2::text[]) AND status <> 'reserved_final' ORDER BY section, price"#,
        concert.as_uuid(),
        &names
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok(PriceOf { section: row.section, price: money(row.price)? })).collect()
}

/// Sets what the seats of sections cost that are not sold. Whoever holds one pays what they were told; a seat that is
/// sold keeps its price, also should it come back.
pub(super) async fn set_prices(
    connection: &mut PgConnection,
    concert: ConcertId,
    sections: &[SectionPrice],
) -> Result<(), Refused> {
    if sections.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = sections.iter().map(|priced| priced.section.as_str().to_owned()).collect();
    let prices: Vec<Decimal> = sections.iter().map(|priced| priced.price.as_decimal()).collect();
    let there = sqlx::query_scalar!(
        r#"WITH priced AS (SELECT * FROM unnest($2::text[], $3::numeric[]) AS priced (section, price)),
           locked AS (
               SELECT s.id, priced.price FROM seats s JOIN priced ON priced.section = s.section
               WHERE s.concert_id = $1 AND s.status <> 'reserved_final' AND s.price <> priced.price
               ORDER BY s.id FOR NO KEY UPDATE OF s),
           changed AS (
               UPDATE seats s SET price = locked.price FROM locked WHERE s.id = locked.id AND s.status <> 'reserved_final')
           SELECT section AS "section!" FROM priced p
           WHERE EXISTS (SELECT FROM seats s WHERE s.concert_id = $1 AND s.section = p.section)"#,
        concert.as_uuid(),
        &names,
        &prices
    )
    .fetch_all(connection)
    .await?;
    match names.into_iter().find(|name| !there.contains(name)) {
        Some(unknown) => Err(EffectError::Refused(AdminRefusal::UnknownSection(unknown))),
        None => Ok(()),
    }
}
