//! Pages of lists: `limit`, and where to go on.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const DEFAULT_LIMIT: u16 = 20;
const MAX_LIMIT: u16 = 100;

/// The query of a list that is read by cursor.
#[derive(Debug, Deserialize)]
pub struct CursorQuery {
    limit: Option<u16>,
    cursor: Option<String>,
}

impl CursorQuery {
    /// How many entries, and behind which one.
    pub fn read<C: FromStr>(&self) -> Result<(usize, Option<C>), Problem> {
        let cursor = self.cursor.as_deref().map(str::parse).transpose();
        let cursor =
            cursor.map_err(|_| Problem::invalid("cursor가 올바르지 않습니다.", "The cursor is none of ours."))?;
        Ok((limit(self.limit)?, cursor))
    }
}

/// A cursor that is the number of a row: from 1, in plain digits, as we write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCursor(i64);

impl RowCursor {
    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for RowCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.parse().map_err(|_| ())?;
        // A sign and zeros in front parse as well.
        (number > 0 && i64::to_string(&number) == text).then_some(Self(number)).ok_or(())
    }
}

/// One page and where the next begins.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorPage<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

/// How many entries to ask for, to fill a page of `limit` and know whether there are more.
pub fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl<T> CursorPage<T> {
    /// A page of `limit` entries from a list that was asked for one more, to know whether there are more.
    pub fn new(mut data: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| more).map(cursor);
        Self { data, next_cursor }
    }
}

/// How many entries a page has: 1–100, 20 where nothing is asked for.
pub fn limit(asked: Option<u16>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit.into())
    } else {
        Err(Problem::invalid("limit는 1에서 100 사이여야 합니다.", "limit must lie between 1 and 100."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_as_we_name_it() {
        assert_eq!("17".parse(), Ok(RowCursor(17)));
        for bad in ["", "0", "-1", "+1", "01", " 1", "9223372036854775808", "a"] {
            assert_eq!(bad.parse::<RowCursor>(), Err(()), "{bad:?}");
        }
    }

    #[test]
    fn there_is_a_next_page_only_where_there_is_more() {
        let page = CursorPage::new(vec![3, 2, 1], 2, ToString::to_string);
        assert_eq!((page.data, page.next_cursor.as_deref()), (vec![3, 2], Some("2")));
        let page = CursorPage::new(vec![3, 2], 2, ToString::to_string);
        assert_eq!((page.data.len(), page.next_cursor), (2, None));
    }
}
