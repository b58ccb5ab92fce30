//! What the pages of a concert show of its organiser.

use common::ids::{ConcertId, UserId};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::record::note;
use super::{Refused, lock_concert};
use crate::domain::Fault;
use crate::domain::branding::{Branding, BrandingEdit};
use crate::domain::logo::Logo;
use crate::store::postgres::catalogue::BrandingRow;
use crate::store::postgres::{Db, within};

impl Db {
    /// A concert's branding and the file of its logo; `None` where there is no such concert.
    pub async fn branding(&self, concert: ConcertId) -> Result<Option<(Branding, Option<Logo>)>, Fault> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            let there = sqlx::query_scalar!("SELECT id FROM concerts WHERE id = $1", concert.as_uuid())
                .fetch_optional(&mut *connection)
                .await?;
            if there.is_none() {
                return Ok(None);
            }
            read(&mut connection, concert).await.map(Some)
        })
        .await
    }

    /// Changes a concert's branding, all of what is given or nothing. What changes nothing leaves no record.
    pub async fn change_branding(
        &self,
        by: UserId,
        concert: ConcertId,
        edit: &BrandingEdit,
    ) -> Result<(Branding, Option<Logo>), Refused> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            lock_concert(&mut transaction, concert).await?;
            let (before, logo) = read(&mut transaction, concert).await?;
            let after = before.edited(edit);
            if before == after {
                return Ok((before, logo));
            }
            let logo = edit.logo.clone().unwrap_or(logo);
            write(&mut transaction, concert, &after, logo.as_ref()).await?;
            note(&mut transaction, by, concert, "brand", Some(&noted(&before)), &noted(&after)).await?;
            transaction.commit().await?;
            Ok((after, logo))
        })
        .await
    }
}

/// What is kept of a change: of a logo what it is, and not the file.
fn noted(branding: &Branding) -> Value {
    let logo = branding.logo.as_ref().map(|logo| {
        json!({ "type": logo.kind.media_type(), "width": logo.width, "height": logo.height, "version": logo.version })
    });
    json!({ "colour": branding.colour, "message": branding.message, "logo": logo })
}

async fn read(connection: &mut PgConnection, concert: ConcertId) -> Result<(Branding, Option<Logo>), Fault> {
    let row = sqlx::query!(
        "SELECT colour, message_ko, message_en, logo_kind, logo_width, logo_height, logo_version, logo
         FROM concert_branding WHERE concert_id = $1",
        concert.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok((Branding::default(), None)) };
    let file = row.logo;
    let branding = Branding::try_from(BrandingRow {
        colour: row.colour,
        message_ko: row.message_ko,
        message_en: row.message_en,
        logo_kind: row.logo_kind,
        logo_width: row.logo_width,
        logo_height: row.logo_height,
        logo_version: row.logo_version,
    })?;
    let logo = branding.logo.clone().zip(file).map(|(facts, bytes)| Logo { facts, bytes });
    Ok((branding, logo))
}

async fn write(
    connection: &mut PgConnection,
    concert: ConcertId,
    branding: &Branding,
    logo: Option<&Logo>,
) -> Result<(), Refused> {
    let side = |side: u32| i32::try_from(side).map_err(|error| Fault::Internal(error.to_string()));
    let facts = logo.map(|logo| &logo.facts);
    sqlx::query!(
        "INSERT INTO concert_branding (concert_id, colour, message_ko, message_en,
                                       logo_kind, logo_width, logo_height, logo_version, logo)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (concert_id) DO UPDATE SET
             colour = excluded.colour, message_ko = excluded.message_ko, message_en = excluded.message_en,
             logo_kind = excluded.logo_kind, logo_width = excluded.logo_width, logo_height = excluded.logo_height,
             logo_version = excluded.logo_version, logo = excluded.logo",
        concert.as_uuid(),
        branding.colour.map(|colour| colour.to_string()),
        branding.message.as_ref().map(|message| message.ko.clone()),
        branding.message.as_ref().map(|message| message.en.clone()),
        facts.map(|logo| logo.kind.name()),
        facts.map(|logo| side(logo.width)).transpose()?,
        facts.map(|logo| side(logo.height)).transpose()?,
        facts.map(|logo| logo.version.clone()),
        logo.map(|logo| logo.bytes.as_slice())
    )
    .execute(connection)
    .await?;
    Ok(())
}
