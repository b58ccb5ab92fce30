//! What the pages of a concert show of its organiser: a colour, a message, a logo.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::colour::Colour;
use common::http::{Administrator, Json as JsonBody, PathId};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};

use super::bodies::present;
use crate::domain::branding::{Branding, BrandingEdit, Message, Words};
use crate::domain::logo::{Logo, LogoFault, MAX_LOGO_BYTES, MAX_LOGO_SIDE};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "`null` is not the same as a field that is missing")]
pub(super) struct BrandingChange {
    #[serde(default, deserialize_with = "present")]
    colour: Option<Option<Colour>>,
    #[serde(default, deserialize_with = "present")]
    message: Option<Option<InBoth>>,
    /// The file in base64.
    #[serde(default, deserialize_with = "present")]
    logo: Option<Option<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InBoth {
    ko: Words,
    en: Words,
}

/// A branding, with the file of its logo: that of a concert which is not announced is at no address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BrandingView {
    concert_id: ConcertId,
    colour: Option<Colour>,
    message: Option<Message>,
    logo: Option<LogoView>,
}

#[derive(Debug, Serialize)]
struct LogoView {
    #[serde(rename = "type")]
    media_type: &'static str,
    width: u32,
    height: u32,
    data: String,
}

impl BrandingView {
    fn new(concert_id: ConcertId, (branding, logo): (Branding, Option<Logo>)) -> Self {
        let Branding { colour, message, .. } = branding;
        Self { concert_id, colour, message, logo: logo.map(LogoView::from) }
    }
}

impl From<Logo> for LogoView {
    fn from(Logo { facts, bytes }: Logo) -> Self {
        let media_type = facts.kind.media_type();
        Self { media_type, width: facts.width, height: facts.height, data: STANDARD.encode(bytes) }
    }
}

impl BrandingChange {
    fn read(self) -> Result<BrandingEdit, Problem> {
        let text = |words: Words| words.as_str().to_owned();
        let message = |InBoth { ko, en }: InBoth| Message { ko: text(ko), en: text(en) };
        let logo = self.logo.map(|logo| logo.as_deref().map(logo_of).transpose());
        Ok(BrandingEdit {
            colour: self.colour,
            message: self.message.map(|given| given.map(message)),
            logo: logo.transpose()?,
        })
    }
}

fn logo_of(base64: &str) -> Result<Logo, Problem> {
    let file = STANDARD
        .decode(base64)
        .map_err(|_| Problem::invalid("logo는 base64로 적은 파일이어야 합니다.", "logo must be a file in base64."))?;
    Ok(Logo::read(file)?)
}

/// `GET /admin/concerts/{concertId}/branding`.
pub(super) async fn one(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Json<BrandingView>, Problem> {
    let found = state.db.branding(concert).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(BrandingView::new(concert, found)))
}

/// `PATCH /admin/concerts/{concertId}/branding`: changes what is given.
pub(super) async fn change(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    JsonBody { value: change, .. }: JsonBody<BrandingChange>,
) -> Result<Json<BrandingView>, Problem> {
    let changed = state.db.change_branding(admin.user, concert, &change.read()?).await?;
    state.catalogue.concerts_changed();
    Ok(Json(BrandingView::new(concert, changed)))
}

impl From<LogoFault> for Problem {
    fn from(fault: LogoFault) -> Self {
        match fault {
            LogoFault::TooLarge => Self::invalid(
                format!("로고 파일은 {MAX_LOGO_BYTES}바이트까지입니다."),
                format!("logo has at most {MAX_LOGO_BYTES} bytes."),
            ),
            LogoFault::NoPicture => Self::invalid(
                "로고는 온전한 PNG, JPEG 또는 WebP 파일이어야 합니다.",
                "logo must be a whole PNG, JPEG or WebP file.",
            ),
            LogoFault::Sides => Self::invalid(
                format!("로고의 가로와 세로는 1에서 {MAX_LOGO_SIDE}픽셀 사이여야 합니다."),
                format!("logo must be 1 to {MAX_LOGO_SIDE} pixels wide and high."),
            ),
            LogoFault::Animated => Self::invalid("움직이는 그림은 로고로 쓸 수 없습니다.", "logo must not move."),
        }
    }
}
