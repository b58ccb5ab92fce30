//! CSV (RFC 4180), as spreadsheets read it without running it.

/// A cell.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// Text that may be anybody's. What a spreadsheet would take for a formula gets an apostrophe in front.
    Text(&'a str),
    /// What we have written ourselves: numbers, times, ids.
    Ours(&'a str),
}

/// By what spreadsheets know a formula; the full-width forms are read as the others by some.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Adds a row to `csv`.
pub fn add_row(csv: &mut String, cells: &[Cell<'_>]) {
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            csv.push(',');
        }
        match cell {
            Cell::Text(text) if text.starts_with(FORMULA) => add_cell(csv, &format!("'{text}")),
            Cell::Text(text) | Cell::Ours(text) => add_cell(csv, text),
        }
    }
    csv.push_str("\r\n");
}

fn add_cell(csv: &mut String, text: &str) {
    if text.contains([',', '"', '\r', '\n']) {
        csv.push('"');
        csv.push_str(&text.replace('"', "\"\""));
        csv.push('"');
    } else {
        csv.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be_and_formulas_are_text() {
        for (text, written) in [
            ("A-1", "A-1"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=HYPERLINK(\"http://x\",1)", "\"'=HYPERLINK(\"\"http://x\"\",1)\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("＝1", "'＝1"),
            ("", ""),
        ] {
            let mut csv = String::new();
            add_row(&mut csv, &[Cell::Text(text), Cell::Ours("-1.50")]);
            assert_eq!(csv, format!("{written},-1.50\r\n"), "{text:?}");
        }
    }
}
