//! Whether waiting is likely to lead to a seat.

use super::RoomView;

/// How many seats of a concert there are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Seats that nobody holds or has bought.
    pub available: u32,
    /// Seats that somebody holds and has not paid for: they may come back.
    pub held: u32,
    /// Seats that are paid for; `None` where that is not told.
    pub sold: Option<u32>,
}

/// What someone in line can expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// There are seats enough if everyone in front takes one.
    Likely,
    /// Only if some in front take none, or seats come back.
    Unlikely,
    /// Nothing is left, and nothing is held that could come back.
    None,
}

impl Outlook {
    /// As answers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Likely => "likely",
            Self::Unlikely => "unlikely",
            Self::None => "none",
        }
    }

    /// For someone with `ahead` people in line before them. It reckons with one seat for each person in front: for
    /// those in line, and for those inside who hold none yet. `None` where nobody knows the stock.
    pub fn of(view: &RoomView, stock: Option<Stock>, ahead: u32) -> Option<Self> {
        let stock = stock?;
        let inside = view.counts.offers + view.counts.leased;
        let in_front = u64::from(ahead) + u64::from(inside.saturating_sub(stock.held));
        Some(match stock {
            Stock { available: 0, held: 0, .. } => Self::None,
            _ if in_front < u64::from(stock.available) => Self::Likely,
            _ => Self::Unlikely,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::RoomCounts;
    use super::super::view::tests::{counts, settings, view};
    use super::*;

    #[test]
    fn each_in_front_is_reckoned_to_take_one_seat() {
        let inside = view(RoomCounts { offers: 2, leased: 8, ..counts() }, settings(), None);
        let outlook =
            |available, held, ahead| Outlook::of(&inside, Some(Stock { available, held, sold: None }), ahead).unwrap();
        // Ten inside, of whom four hold a seat already: six to come.
        assert_eq!(outlook(20, 4, 13), Outlook::Likely);
        assert_eq!(outlook(20, 4, 14), Outlook::Unlikely);
        assert_eq!(outlook(0, 4, 0), Outlook::Unlikely);
        assert_eq!(outlook(0, 0, 0), Outlook::None);
        assert_eq!(Outlook::of(&inside, None, 0), None);
    }
}
