//! What the scripts answer, read. The RETURNS of each script's header says the shape.

use chrono::DateTime;
use common::ids::UserId;
use common::tokens::PassId;
use lua::StoreError;
use redis::{FromRedisValue, Value};

use super::queue::{Arrival, Arrivals, Lost, RoomError, Snapshot};
use crate::domain::recovery::{Epoch, Evidence, Moment};
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
    pub(super) const UNKNOWN: i64 = 8;
}

/// What the first number of an answer is where the room was found lost.
const LOST: i64 = -1;

/// Reads an answer, unless it says that the room was found lost.
pub(super) fn unless_lost<T: FromRedisValue>(reply: Value) -> Result<T, RoomError> {
    if let Value::Array(parts) = &reply
        && let [Value::Int(LOST), rest @ ..] = parts.as_slice()
    {
        let number = |at: usize| match rest.get(at) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        return Err(RoomError::Lost(Lost {
            now_ms: number(0),
            epoch: narrow(number(1))?,
            proof: Evidence { epoch: narrow(number(3))?, position: narrow(number(4))?, ..Evidence::default() },
        }));
    }
    T::from_redis_value(reply).map_err(|_| unexpected())
}

/// What every answer begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    epoch: Epoch,
    now_ms: i64,
    version: u64,
}

impl Head {
    /// When the answer was true.
    pub(super) fn moment(self) -> Moment {
        Moment { epoch: self.epoch, version: self.version }
    }
}

/// Reads `epoch, now, version` and what follows.
fn head(reply: &[i64]) -> Result<(Head, &[i64]), RoomError> {
    let [epoch, now_ms, version, rest @ ..] = reply else { return Err(unexpected()) };
    Ok((Head { epoch: narrow(*epoch)?, now_ms: *now_ms, version: narrow(*version)? }, rest))
}

/// Reads a head and the numbers behind it.
pub(super) fn headed<const N: usize>(reply: &[i64]) -> Result<(Head, [i64; N]), RoomError> {
    let (head, rest) = head(reply)?;
    Ok((head, rest.try_into().map_err(|_| unexpected())?))
}

/// Reads a head, then `state, position, detail, lease end` for each person.
pub(super) fn arrivals(reply: &[i64], wanted: usize) -> Result<Arrivals, RoomError> {
    let (head, rest) = head(reply)?;
    let (people, []) = rest.as_chunks::<4>() else { return Err(unexpected()) };
    if people.len() != wanted {
        return Err(unexpected());
    }
    let people = people.iter().map(|person| arrival(*person, head)).collect::<Result<Vec<Arrival>, RoomError>>()?;
    let mut seen = Evidence { epoch: head.epoch, version: head.version, ..Evidence::default() };
    for person in &people {
        let Arrival::Standing(standing) = person else { continue };
        seen.position = seen.position.max(standing.number().unwrap_or(0));
        if let Standing::Admitted(lease) = standing {
            seen.frontier = seen.frontier.max(lease.pass.position);
        }
    }
    Ok(Arrivals { people, seen })
}

fn arrival(
    [code, position, detail, lease_end_ms]: [i64; 4],
    Head { epoch, now_ms, .. }: Head,
) -> Result<Arrival, RoomError> {
    let position = narrow(position)?;
    let at_seconds = narrow(now_ms / 1_000)?;
    Ok(Arrival::Standing(match code {
        state::WAITING => {
            let claim_in_ms = if lease_end_ms > 0 { Some(narrow(lease_end_ms)?) } else { None };
            Standing::Waiting { position, epoch, ahead: u32::try_from(detail).ok(), claim_in_ms, at_seconds }
        }
        state::GATHERING => Standing::Gathering { entry: position, epoch, at_seconds },
        state::ADMITTED => Standing::Admitted(Lease {
            pass: PassId { position, nonce: narrow(detail)? },
            ends_at: DateTime::from_timestamp_millis(lease_end_ms).ok_or_else(unexpected)?,
            remaining_seconds: u64::try_from((lease_end_ms - now_ms) / 1_000).unwrap_or(0),
        }),
        state::LEFT => Standing::Left,
        state::EXPIRED => Standing::Expired,
        state::CLOSED => Standing::Closed,
        state::REBUILDING => return Ok(Arrival::Rebuilding),
        state::UNKNOWN => return Ok(Arrival::Unknown),
        _ => return Err(unexpected()),
    }))
}

/// A snapshot as it comes: numbers, draw, settings, the people who left, until when, the rank table.
pub(super) type SnapshotReply = (Vec<i64>, String, String, Vec<String>, i64, Vec<u32>);

/// Reads a snapshot.
pub(super) fn snapshot(reply: SnapshotReply) -> Result<Snapshot, RoomError> {
    let (counts, draw, settings, left, left_until_ms, ranks) = reply;
    Ok(Snapshot {
        counts: read_counts(&counts)?,
        draw: DrawState::from_word(&draw).ok_or_else(unexpected)?,
        settings: SettingsInForce::from_text(&settings).ok_or_else(unexpected)?,
        ranks: RankTable::new(ranks.as_chunks::<2>().0.iter().map(|[position, rank]| (*position, *rank)).collect()),
        left: left.iter().filter_map(|user| UserId::from_compact(user).ok()).collect(),
        left_until_ms,
    })
}

fn read_counts(reply: &[i64]) -> Result<RoomCounts, RoomError> {
    let &[
        epoch,
        now_ms,
        version,
        seq,
        joins,
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
        base_epoch,
        base_version,
        base_frontier,
        rebuilt_up_to,
    ] = reply
    else {
        return Err(unexpected());
    };
    Ok(RoomCounts {
        epoch: narrow(epoch)?,
        now_ms,
        version: narrow(version)?,
        seq: narrow(seq)?,
        joins: narrow(joins)?,
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
        base: Moment { epoch: narrow(base_epoch)?, version: narrow(base_version)? },
        base_frontier: narrow(base_frontier)?,
        rebuilt_up_to: narrow(rebuilt_up_to)?,
    })
}

pub(super) fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T, RoomError> {
    T::try_from(number).map_err(|_| unexpected())
}

/// A reply that the script cannot have given: another version's, or a key that something else wrote to.
pub(super) fn unexpected() -> RoomError {
    RoomError::Store(StoreError::Redis(redis::RedisError::from((
        redis::ErrorKind::UnexpectedReturnType,
        "a script answered in another shape",
    ))))
}
