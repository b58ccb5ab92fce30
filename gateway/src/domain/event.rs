//! What happens in a room, as its scripts note it.

use common::ids::UserId;

/// What happened to somebody, or to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// Got a place in line.
    Joined {
        /// With so many people before them.
        ahead: u32,
    },
    /// Takes part in a draw; the position is the entry.
    Entered,
    /// Was dealt a position by the draw.
    Dealt,
    /// Was put back at their own position after a loss.
    Restored,
    /// Got another number, since an older ticket held the one they had.
    Moved,
    /// May claim their turn.
    Offered,
    /// Was not there when their turn came.
    Absent,
    /// Did not claim their turn in time.
    Unclaimed,
    /// Came back, and is in line again at their own position.
    Returned,
    /// Is inside.
    Admitted {
        /// Tells this admission from others of the same position.
        nonce: u16,
        /// When it ends, in ms.
        lease_end_ms: i64,
        /// Until when use may renew it, in ms.
        cap_ms: i64,
    },
    /// Was inside until the time was over.
    Expired,
    /// Went.
    Left,
    /// Was removed by an operator.
    Removed,
    /// Paid for everything, which ended the admission.
    Paid,
    /// The room lost its memory.
    Lost,
    /// The draw was made, among as many entries as `position` says.
    Drawn,
}

impl Happened {
    /// Its name in the record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "joined",
            Self::Entered => "entered",
            Self::Dealt => "dealt",
            Self::Restored => "restored",
            Self::Moved => "moved",
            Self::Offered => "offered",
            Self::Absent => "absent",
            Self::Unclaimed => "unclaimed",
            Self::Returned => "returned",
            Self::Admitted { .. } => "admitted",
            Self::Expired => "expired",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Paid => "paid",
            Self::Lost => "lost",
            Self::Drawn => "drawn",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub happened: Happened,
    /// To whom; `None` for what happened to the room.
    pub user: Option<UserId>,
    /// At which position; 0 where it is not known.
    pub position: u32,
    /// What else the script noted, as it stands.
    pub detail: Option<String>,
}

impl Event {
    /// Reads a line `what who position [detail…]`; `None` for what no script of this version writes.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (what, who, position) = (words.next()?, words.next()?, words.next()?);
        let detail = words.next();
        let user = if who == "-" { None } else { Some(UserId::from_compact(who).ok()?) };
        Some(Self {
            happened: happened(what, detail)?,
            user,
            position: position.parse().ok()?,
            detail: detail.map(str::to_owned),
        })
    }
}

fn happened(what: &str, detail: Option<&str>) -> Option<Happened> {
    Some(match what {
        "joined" => Happened::Joined { ahead: detail?.parse().ok()? },
        "entered" => Happened::Entered,
        "dealt" => Happened::Dealt,
        "restored" => Happened::Restored,
        "moved" => Happened::Moved,
        "offered" => Happened::Offered,
        "absent" => Happened::Absent,
        "unclaimed" => Happened::Unclaimed,
        "returned" => Happened::Returned,
        "admitted" => {
            let mut numbers = detail?.split(' ');
            Happened::Admitted {
                nonce: numbers.next()?.parse().ok()?,
                lease_end_ms: numbers.next()?.parse().ok()?,
                cap_ms: numbers.next()?.parse().ok()?,
            }
        }
        "expired" => Happened::Expired,
        "left" => Happened::Left,
        "removed" => Happened::Removed,
        "paid" => Happened::Paid,
        "lost" => Happened::Lost,
        "drawn" => Happened::Drawn,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_and_nonsense_does_not() {
        let user = UserId::generate();
        let event = Event::from_line(&format!("admitted {} 17 5 1800000000000 1800000600000", user.compact())).unwrap();
        assert_eq!((event.user, event.position), (Some(user), 17));
        let Happened::Admitted { nonce: 5, lease_end_ms: 1_800_000_000_000, cap_ms: 1_800_000_600_000 } =
            event.happened
        else {
            panic!("{event:?}")
        };
        assert_eq!(Event::from_line("lost - 40").unwrap().user, None);
        for nonsense in ["", "joined", "joined x 1 0", "flew - 1", "admitted - 1 5", "joined - -1 0"] {
            assert_eq!(Event::from_line(nonsense), None, "{nonsense}");
        }
    }
}
