//! Changing how a room is run.

use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use common::draw::Seed;
use common::http::{Administrator, Json as JsonBody, PathId, Query, given};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use common::whole::Whole;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::queues::{QueueView, SettingsView};
use super::record;
use crate::domain::{DrawState, Mode, Order, RoomSettings, RoomView};
use crate::http::state::AppState;
use crate::store::record::Changed;

/// The settings to change; what is left out stays. What an answer has besides is read over, so that an answer, edited,
/// can be sent back; a name that is none of ours is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "`null` is not the same as a field that is missing")]
pub(super) struct ChangeRequest {
    #[serde(default, deserialize_with = "given")]
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "given")]
    paused: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    admit_per_second: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    burst: Option<Whole<u32>>,
    #[serde(default, deserialize_with = "given")]
    max_active: Option<Whole<u32>>,
    #[serde(default, deserialize_with = "given")]
    session_seconds: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    claim_seconds: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    idle_seconds: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    opens_at: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "given")]
    order: Option<Order>,
    #[serde(default, deserialize_with = "given")]
    stop_when_sold_out: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    leave_on_payment: Option<bool>,
    /// Where it is given, the change is made only if this is still the version in force.
    #[serde(default, deserialize_with = "given")]
    version: Option<Whole<u32>>,
    #[serde(rename = "concertId")]
    _concert_id: Option<IgnoredAny>,
    #[serde(rename = "figures")]
    _figures: Option<IgnoredAny>,
}

/// Where it is given, what is asked for is done only if this is still the version in force.
#[derive(Debug, Deserialize)]
pub(super) struct InForce {
    version: Option<u32>,
}

#[expect(clippy::option_option, reason = "see there")]
/// Tells `null` from a field that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<DateTime<Utc>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PUT /admin/queues/{concertId}`.
pub(super) async fn change(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    JsonBody { value: request, .. }: JsonBody<ChangeRequest>,
) -> Result<Json<QueueView>, Problem> {
    make(&state, admin, concert, "change", &request).await
}

/// `POST /admin/queues/{concertId}/pause`: no turns are given until it is resumed; who is inside stays.
pub(super) async fn pause(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(InForce { version }): Query<InForce>,
) -> Result<Json<QueueView>, Problem> {
    let request = ChangeRequest { paused: Some(true), version: version.map(Whole), ..ChangeRequest::default() };
    make(&state, admin, concert, "pause", &request).await
}

/// `POST /admin/queues/{concertId}/resume`: turns are given again.
pub(super) async fn resume(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(InForce { version }): Query<InForce>,
) -> Result<Json<QueueView>, Problem> {
    let request = ChangeRequest { paused: Some(false), version: version.map(Whole), ..ChangeRequest::default() };
    make(&state, admin, concert, "resume", &request).await
}

/// `POST /admin/queues/{concertId}/close`: nobody is let in any more, and everyone's wait ends; who is inside may finish.
pub(super) async fn close(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(InForce { version }): Query<InForce>,
) -> Result<Json<QueueView>, Problem> {
    let request = ChangeRequest { mode: Some(Mode::Closed), version: version.map(Whole), ..ChangeRequest::default() };
    make(&state, admin, concert, "close", &request).await
}

/// Makes a change: in the record first, where it is kept whatever happens to Redis; then in the room.
async fn make(
    state: &AppState,
    admin: Administrator,
    concert: ConcertId,
    action: &str,
    request: &ChangeRequest,
) -> Result<Json<QueueView>, Problem> {
    let record = record(state)?;
    let room = state.rooms.room_of_operator(concert).await?;
    let view = room.view().await?;
    let stored = record.settings(concert).await?.map(|stored| stored.settings);
    let in_force = RoomSettings::clone(&room.settings());
    // The record can be behind only where it was put back from a backup: what is in force goes on from there.
    let before = stored.filter(|stored| stored.version >= in_force.version).unwrap_or(in_force);
    if request.version.is_some_and(|Whole(version)| version != before.version) {
        return Err(ErrorCode::SettingsChanged.into());
    }
    let after = request.apply(&before, &view, room.facts().opens_at_ms(), state.clock.now())?;
    let shown = (json!(SettingsView::from(&before)), json!(SettingsView::from(&after)));
    match record.change_settings(concert, &after, admin.user, action, shown).await? {
        Changed::Yes(settings) => {
            room.bring_settings(&settings.clone().into()).await;
            let view = room.view().await?;
            Ok(Json(QueueView::new(concert, &settings, &view)))
        }
        Changed::Stale => Err(ErrorCode::SettingsChanged.into()),
    }
}

impl ChangeRequest {
    /// The settings that come of the change to `before`; refuses what makes no sense.
    fn apply(
        &self,
        before: &RoomSettings,
        view: &RoomView,
        sale_opens_at_ms: i64,
        now: DateTime<Utc>,
    ) -> Result<RoomSettings, Problem> {
        let mut after = before.clone();
        after.version = before.version + 1;
        set(&mut after.mode, self.mode);
        set(&mut after.paused, self.paused);
        set(&mut after.admit_per_second, within("admitPerSecond", self.admit_per_second, 0.001..=1_000_000.0)?);
        set(&mut after.burst, within("burst", self.burst.map(|whole| whole.0), 1..=1_000_000)?);
        set(&mut after.max_active, within("maxActive", self.max_active.map(|whole| whole.0), 1..=10_000_000)?);
        set(&mut after.session_ms, millis(within("sessionSeconds", self.session_seconds, 1.0..=86_400.0)?));
        set(&mut after.claim_ms, millis(within("claimSeconds", self.claim_seconds, 1.0..=3_600.0)?));
        set(&mut after.idle_ms, millis(within("idleSeconds", self.idle_seconds, 0.0..=86_400.0)?));
        set(&mut after.opens_at_ms, self.opens_at.map(|time| time.map_or(0, |time| time.timestamp_millis().max(0))));
        set(&mut after.order, self.order);
        set(&mut after.stop_when_sold_out, self.stop_when_sold_out);
        set(&mut after.leave_on_payment, self.leave_on_payment);
        if after.order == Order::RandomAtOpen && before.order != Order::RandomAtOpen {
            let opens_at_ms = if after.opens_at_ms > 0 { after.opens_at_ms } else { sale_opens_at_ms };
            can_be_drawn(view, opens_at_ms, now)?;
            // Once its hash may have been seen, it stays.
            after.seed.get_or_insert_with(|| Seed::generate().to_hex());
        }
        Ok(after)
    }
}

fn can_be_drawn(view: &RoomView, opens_at_ms: i64, now: DateTime<Utc>) -> Result<(), Problem> {
    if opens_at_ms <= now.timestamp_millis() {
        return Err(Problem::new(ErrorCode::DrawNotPossible).saying(
            "추첨 순서는 오픈 시각(opensAt)이 미래일 때만 설정할 수 있습니다.",
            "order random_at_open needs an opensAt that is still to come.",
        ));
    }
    if view.counts.admitted > 0 || matches!(view.draw, DrawState::Dealing | DrawState::Done) {
        return Err(Problem::new(ErrorCode::DrawNotPossible).saying(
            "이미 입장이 시작되었거나 추첨이 끝난 대기열입니다.",
            "People have had their turn in this room already, or its draw is made.",
        ));
    }
    Ok(())
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

fn within<T: PartialOrd + Display>(
    name: &str,
    given: Option<T>,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Problem> {
    if given.as_ref().is_none_or(|value| range.contains(value)) {
        return Ok(given);
    }
    let (low, high) = (range.start(), range.end());
    Err(Problem::invalid(
        format!("{name}은(는) {low}에서 {high} 사이여야 합니다."),
        format!("{name} must lie between {low} and {high}."),
    ))
}

fn millis(seconds: Option<f64>) -> Option<u64> {
    // A day at most, and not negative: checked before.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    seconds.map(|seconds| (seconds * 1_000.0).round() as u64)
}
