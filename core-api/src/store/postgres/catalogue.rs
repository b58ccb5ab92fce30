//! Concerts and seats, as they are read for everybody.

use common::ids::ConcertId;

use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::branding::{Branding, Message};
use crate::domain::catalogue::{Concert, Snapshot};
use crate::domain::logo::{LogoFacts, LogoKind};
use crate::domain::seat::{Seat, SeatStatus};

impl Db {
    /// All concerts that are announced, by date, with counts of their seats. One pass over an index of the seats: made for being read once
    /// a second, not once a request.
    pub async fn concerts(&self) -> Result<Snapshot, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"SELECT c.id, c.name, c.venue, c.concert_date, c.sale_opens_at, c.sale_closed_at,
                          c.seats_per_user,
                          coalesce(s.total, 0) AS "total!", coalesce(s.available, 0) AS "available!",
                          coalesce(s.unsold, 0) AS "unsold!", coalesce(s.sold, 0) AS "sold!",
                          b.colour AS "colour?", b.message_ko AS "message_ko?", b.message_en AS "message_en?",
                          b.logo_kind AS "logo_kind?", b.logo_width AS "logo_width?", b.logo_height AS "logo_height?",
                          b.logo_version AS "logo_version?"
                   FROM concerts c
                   LEFT JOIN concert_branding b ON b.concert_id = c.id
                   LEFT JOIN (SELECT concert_id, count(*) AS total,
                                     count(*) FILTER (WHERE status = 'available') AS available,
                                     count(*) FILTER (WHERE status IN ('available', 'reserved_temp')) AS unsold,
                                     count(*) FILTER (WHERE status = 'reserved_final') AS sold
                              FROM seats GROUP BY concert_id) s ON s.concert_id = c.id
                   WHERE c.announced_at IS NULL OR c.announced_at <= (SELECT now_utc())
                   ORDER BY c.concert_date, c.id"#
            )
            .fetch_all(&self.pool)
            .await?;
            let now = sqlx::query_scalar!(r#"SELECT now_utc() AS "now!""#).fetch_one(&self.pool).await?;
            let concerts = rows
                .into_iter()
                .map(|row| {
                    Ok(Concert {
                        id: row.id.into(),
                        name: row.name,
                        venue: row.venue,
                        date: row.concert_date,
                        sale_opens_at: row.sale_opens_at.map(utc),
                        sale_closed_at: row.sale_closed_at.map(utc),
                        // A CHECK keeps it between 1 and 20.
                        seats_per_user: row.seats_per_user.and_then(|limit| u32::try_from(limit).ok()),
                        total_seats: row.total,
                        available_seats: row.available,
                        unsold_seats: row.unsold,
                        sold_seats: row.sold,
                        branding: BrandingRow {
                            colour: row.colour,
                            message_ko: row.message_ko,
                            message_en: row.message_en,
                            logo_kind: row.logo_kind,
                            logo_width: row.logo_width,
                            logo_height: row.logo_height,
                            logo_version: row.logo_version,
                        }
                        .try_into()?,
                    })
                })
                .collect::<Result<_, Fault>>()?;
            Ok(Snapshot::new(concerts, utc(now)))
        })
        .await
    }

    /// The file of a concert's logo, if it is still that version.
    pub async fn logo(&self, concert: ConcertId, version: &str) -> Result<Option<Vec<u8>>, Fault> {
        within(async {
            let logo = sqlx::query_scalar!(
                r#"SELECT logo AS "logo!" FROM concert_branding WHERE concert_id = $1 AND logo_version = $2"#,
                concert.as_uuid(),
                version
            );
            Ok::<_, Fault>(logo.fetch_optional(&self.pool).await?)
        })
        .await
    }

    /// All seats of a concert, by section and number.
    pub async fn seats(&self, concert: ConcertId) -> Result<Vec<Seat>, Fault> {
        let rows = within(async {
            let rows = sqlx::query!(
                "SELECT id, section, seat_number, price, status, handing_on FROM seats WHERE concert_id = $1",
                concert.as_uuid()
            );
            Ok::<_, Fault>(rows.fetch_all(&self.pool).await?)
        })
        .await?;
        let mut seats = rows
            .into_iter()
            .map(|row| {
                Ok(Seat {
                    id: row.id.into(),
                    number: i64::from(row.seat_number)
                        .try_into()
                        .map_err(|_| unreadable("seat number", &row.seat_number))?,
                    section: row.section,
                    price: money(row.price)?,
                    // Free, but not for everybody.
                    status: if row.handing_on { SeatStatus::Reserved } else { seat_status(&row.status)? },
                })
            })
            .collect::<Result<Vec<Seat>, Fault>>()?;
        // Here, not in SQL: by bytes whatever the database's collation.
        seats.sort_unstable_by(|a, b| (&a.section, a.number).cmp(&(&b.section, b.number)));
        Ok(seats)
    }
}

/// A branding as it stands in the database, but for the file of its logo.
pub(super) struct BrandingRow {
    pub(super) colour: Option<String>,
    pub(super) message_ko: Option<String>,
    pub(super) message_en: Option<String>,
    pub(super) logo_kind: Option<String>,
    pub(super) logo_width: Option<i32>,
    pub(super) logo_height: Option<i32>,
    pub(super) logo_version: Option<String>,
}

impl TryFrom<BrandingRow> for Branding {
    type Error = Fault;

    fn try_from(row: BrandingRow) -> Result<Self, Fault> {
        let colour = row.colour.map(|text| text.parse().map_err(|_| unreadable("colour", &text))).transpose()?;
        let message = row.message_ko.zip(row.message_en).map(|(ko, en)| Message { ko, en });
        // A CHECK keeps them together.
        let logo = row.logo_kind.zip(row.logo_version).zip(row.logo_width.zip(row.logo_height));
        let logo = logo.map(|((kind, version), (width, height))| {
            let side = |side: i32| u32::try_from(side).map_err(|_| unreadable("side of a logo", &side));
            Ok::<_, Fault>(LogoFacts {
                kind: LogoKind::named(&kind).ok_or_else(|| unreadable("kind of logo", &kind))?,
                width: side(width)?,
                height: side(height)?,
                version,
            })
        });
        Ok(Self { colour, message, logo: logo.transpose()? })
    }
}

fn seat_status(text: &str) -> Result<SeatStatus, Fault> {
    match text {
        "available" => Ok(SeatStatus::Available),
        "reserved_temp" => Ok(SeatStatus::Reserved),
        "reserved_final" => Ok(SeatStatus::Sold),
        "held_back" => Ok(SeatStatus::HeldBack),
        other => Err(unreadable("seat status", &other)),
    }
}
