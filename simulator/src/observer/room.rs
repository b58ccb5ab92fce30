//! A room as it stands in Redis, read by the observer after every call that writes.

use std::collections::BTreeMap;

use common::ids::UserId;
use redis::Value;

/// Reads a room. Its keys are those of every script of the waiting room.
pub(crate) const OBSERVE: &str = "#!lua flags=no-writes
local function set(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
local room = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'frontier', 'rebuilding')
return { tostring(room[1] or 0), tostring(room[2] or 0), tostring(room[3] or 0), tostring(room[4] or 0),
  set(KEYS[2]), set(KEYS[3]), set(KEYS[5]), set(KEYS[6]), redis.call('HGETALL', KEYS[7]), set(KEYS[8]), set(KEYS[9]) }
";

/// A room's state.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RoomState {
    /// Its epoch; 0 where there is no room.
    pub(crate) epoch: u64,
    /// The highest position given.
    pub(crate) seq: u64,
    /// The highest position offered.
    pub(crate) frontier: u64,
    /// Whether it is being rebuilt.
    pub(crate) rebuilding: bool,
    /// Positions of those in line.
    pub(crate) waiting: BTreeMap<UserId, u32>,
    /// Positions of those set aside.
    pub(crate) away: BTreeMap<UserId, u32>,
    /// When offers end, in ms of the server's clock.
    pub(crate) offers: BTreeMap<UserId, i64>,
    /// When leases end.
    pub(crate) leases: BTreeMap<UserId, i64>,
    /// Position and number of each offer and lease.
    pub(crate) passes: BTreeMap<UserId, (u32, u16)>,
    /// When leases had ended.
    pub(crate) expired: BTreeMap<UserId, i64>,
    /// When people had left.
    pub(crate) left: BTreeMap<UserId, i64>,
}

impl RoomState {
    /// Reads the reply of [`OBSERVE`].
    pub(crate) fn read(reply: &Value) -> Option<Self> {
        let Value::Array(parts) = reply else { return None };
        let [epoch, seq, frontier, rebuilding, waiting, away, offers, leases, passes, expired, left] = parts.as_slice()
        else {
            return None;
        };
        Some(Self {
            epoch: number(epoch)?,
            seq: number(seq)?,
            frontier: number(frontier)?,
            rebuilding: text(rebuilding)? == "1",
            waiting: pairs(waiting, |score| whole(score)?.try_into().ok())?,
            away: pairs(away, |score| whole(score)?.try_into().ok())?,
            offers: pairs(offers, whole)?,
            leases: pairs(leases, whole)?,
            passes: pairs(passes, |pass| {
                let (position, nonce) = pass.split_once(':')?;
                Some((position.parse().ok()?, nonce.parse().ok()?))
            })?,
            expired: pairs(expired, whole)?,
            left: pairs(left, whole)?,
        })
    }

    /// Everyone with a position, and it.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (UserId, u32)> {
        let passes = self.passes.iter().map(|(user, (position, _))| (*user, *position));
        self.waiting.iter().chain(&self.away).map(|(user, position)| (*user, *position)).chain(passes)
    }

    /// How many have a place inside.
    pub(crate) fn inside(&self) -> usize {
        self.offers.len() + self.leases.len()
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number that Redis may write as `4.29e9`.
fn number(value: &Value) -> Option<u64> {
    u64::try_from(whole(&text(value)?)?).ok()
}

fn whole(text: &str) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "positions and times are far below 2^53")]
    text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64))
}

fn pairs<T>(value: &Value, read: impl Fn(&str) -> Option<T>) -> Option<BTreeMap<UserId, T>> {
    let Value::Array(flat) = value else { return None };
    flat.chunks_exact(2)
        .map(|pair| Some((UserId::from_compact(&text(&pair[0])?).ok()?, read(&text(&pair[1])?)?)))
        .collect()
}
