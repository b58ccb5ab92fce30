//! What the scripts answer, read. Each shape is told in the RETURNS of its script's header.

use chrono::DateTime;
use common::ids::UserId;
use common::tokens::PassId;
use lua::StoreError;

use super::queue::{Arrival, Arrivals, Seen, Snapshot};
use crate::domain::{DrawState, Lease, RankTable, RoomCounts, SettingsInForce, Standing};

/// The scripts' word for where a person stands.
mod state {
    pub(super) const WAITING: i64 = 1;
    pub(super) const ADMITTED: i64 = 2;
    pub(super) const LEFT: i64 = 3;
    pub(super) const EXPIRED: i64 = 4;
    pub(super) const CLOSED: i64 = 5;
    pub(super) const GATHERING: i64 = 6;
    pub(super) const REBUILDING: i64 = 7;
}

/// What every answer begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    epoch: u32,
    now_ms: i64,
    changes: u64,
}

/// Reads `epoch, now, changes` and what follows.
fn head(reply: &[i64]) -> Result<(Head, &[i64]), StoreError> {
    let [epoch, now_ms, changes, rest @ ..] = reply else { return Err(unexpected()) };
    Ok((Head { epoch: narrow(*epoch)?, now_ms: *now_ms, changes: narrow(*changes)? }, rest))
}

/// Reads a head and the one number behind it.
pub(super) fn headed<T: TryFrom<i64>>(reply: &[i64]) -> Result<(Head, T), StoreError> {
    match head(reply)? {
        (head, [number]) => Ok((head, narrow(*number)?)),
        _ => Err(unexpected()),
    }
}

/// Reads a head, then `state, position, detail, lease end` for each person.
pub(super) fn arrivals(reply: &[i64], wanted: usize) -> Result<Arrivals, StoreError> {
    let (head, rest) = head(reply)?;
    let (people, []) = rest.as_chunks::<4>() else { return Err(unexpected()) };
    if people.len() != wanted {
        return Err(unexpected());
    }
    let people = people
        .iter()
        .map(|person| Ok(Arrival { standing: standing(*person, head)?, epoch: head.epoch }))
        .collect::<Result<Vec<Arrival>, StoreError>>()?;
    let numbers = people.iter().filter_map(|person| person.standing.and_then(|standing| standing.number()));
    let position = numbers.max().unwrap_or(0);
    Ok(Arrivals { people, seen: Seen { position, epoch: head.epoch, changes: head.changes } })
}

fn standing(
    [code, position, detail, lease_end_ms]: [i64; 4],
    Head { epoch, now_ms, .. }: Head,
) -> Result<Option<Standing>, StoreError> {
    let position = narrow(position)?;
    let at_seconds = narrow(now_ms / 1_000)?;
    Ok(Some(match code {
        state::WAITING => Standing::Waiting { position, epoch, ahead: u32::try_from(detail).ok(), at_seconds },
        state::GATHERING => Standing::Gathering { entry: position, epoch, at_seconds },
        state::ADMITTED => Standing::Admitted(Lease {
            pass: PassId { position, nonce: narrow(detail)? },
            ends_at: DateTime::from_timestamp_millis(lease_end_ms).ok_or_else(unexpected)?,
            remaining_seconds: u64::try_from((lease_end_ms - now_ms) / 1_000).unwrap_or(0),
        }),
        state::LEFT => Standing::Left,
        state::EXPIRED => Standing::Expired,
        state::CLOSED => Standing::Closed,
        state::REBUILDING => return Ok(None),
        _ => return Err(unexpected()),
    }))
}

/// A snapshot as it comes: numbers, draw, settings, who left, until when, the rank table.
pub(super) type SnapshotReply = (Vec<i64>, String, String, Vec<String>, i64, Vec<u32>);

/// Reads a snapshot; `None` where there is no such room.
pub(super) fn snapshot(reply: SnapshotReply) -> Result<Option<Snapshot>, StoreError> {
    let (counts, draw, settings, left, left_until_ms, ranks) = reply;
    let Some(counts) = read_counts(&counts)? else { return Ok(None) };
    Ok(Some(Snapshot {
        counts,
        draw: DrawState::from_word(&draw).ok_or_else(unexpected)?,
        settings: SettingsInForce::from_text(&settings).ok_or_else(unexpected)?,
        ranks: RankTable::new(ranks.as_chunks::<2>().0.iter().map(|[position, rank]| (*position, *rank)).collect()),
        left: left.iter().filter_map(|user| UserId::from_compact(user).ok()).collect(),
        left_until_ms,
    }))
}

fn read_counts(reply: &[i64]) -> Result<Option<RoomCounts>, StoreError> {
    let &[
        epoch,
        now_ms,
        changes,
        seq,
        frontier,
        waiting,
        away,
        present,
        offers,
        leased,
        gathered,
        admitted,
        passed_over,
        opens_at_ms,
        rebuilding,
        entries,
        unrecorded,
    ] = reply
    else {
        return Err(unexpected());
    };
    if epoch == 0 {
        return Ok(None);
    }
    Ok(Some(RoomCounts {
        epoch: narrow(epoch)?,
        now_ms,
        changes: narrow(changes)?,
        seq: narrow(seq)?,
        frontier: narrow(frontier)?,
        waiting: narrow(waiting)?,
        away: narrow(away)?,
        present: narrow(present)?,
        offers: narrow(offers)?,
        leased: narrow(leased)?,
        gathered: narrow(gathered)?,
        admitted: narrow(admitted)?,
        passed_over: narrow(passed_over)?,
        opens_at_ms,
        rebuilding: rebuilding == 1,
        entries: narrow(entries)?,
        unrecorded: narrow(unrecorded)?,
    }))
}

pub(super) fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| unexpected())
}

/// A reply that the script can't have given: another version's, or a key that something else wrote to.
pub(super) fn unexpected() -> StoreError {
    StoreError::Redis(redis::RedisError::from((
        redis::ErrorKind::UnexpectedReturnType,
        "a script answered in another shape",
    )))
}
