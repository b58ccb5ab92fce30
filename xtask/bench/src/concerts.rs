//! The concerts of the bench. Each has a room of its own; what fills one leaves the others alone.

use anyhow::Result;
use common::ids::{ConcertId, SeatId};
use sqlx::PgPool;
use uuid::Uuid;

/// How many seats a concert has that is sold in the bench.
pub(crate) const SEATS: u32 = 1_000;
/// How many concerts there are.
const CONCERTS: u32 = 160;

/// A concert by its number.
pub(crate) fn concert(number: u32) -> ConcertId {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)).into()
}

/// A seat of a concert by its number.
pub(crate) fn seat(concert: u32, number: u32) -> SeatId {
    let (concert, number) = (u128::from(concert), u128::from(number));
    Uuid::from_u128(0x0190_0000_0000_7000_8001_0000_0000_0000 | concert << 24 | number).into()
}

/// Makes all of them, with their seats.
pub(crate) async fn create(pool: &PgPool) -> Result<()> {
    let concerts: Vec<Uuid> = (0..CONCERTS).map(|number| concert(number).as_uuid()).collect();
    sqlx::query(
        "INSERT INTO concerts (id, name, venue, concert_date)
         SELECT id, 'bench', 'bench', now_utc()::date + 30 FROM unnest($1::uuid[]) AS id",
    )
    .bind(&concerts)
    .execute(pool)
    .await?;
    for number in 0..CONCERTS {
        let seats: Vec<Uuid> = (0..SEATS).map(|seat_number| seat(number, seat_number).as_uuid()).collect();
        sqlx::query(
            "INSERT INTO seats (id, concert_id, section, seat_number, price)
             SELECT id, $1, (n / 50)::text, n % 50 + 1, 10 FROM unnest($2::uuid[]) WITH ORDINALITY AS seat (id, n)",
        )
        .bind(concert(number).as_uuid())
        .bind(&seats)
        .execute(pool)
        .await?;
    }
    Ok(())
}
