//! Lists in an environment file, changed in place: whatever else the file holds stays as it is, to the byte.

use std::borrow::Cow;

/// Why a list of a file can't be read, or not without guessing; to be said of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No line sets it.
    #[error("is not set in what came on standard input")]
    Missing,
    /// Two lines set it, and which one counts depends on who reads the file.
    #[error("is set twice")]
    Twice,
    /// There is no key in it.
    #[error("is empty (`gateway generate-secrets` makes first keys)")]
    Empty,
    /// Some programs take the end of the line for a comment, and others for a part of the value.
    #[error("shares its line with a comment or has quotes within: a line is to hold the keys and nothing else")]
    Unclear,
}

/// An environment file: a line each for `NAME=value`, perhaps after `export`, perhaps in quotes; comments; whatever else.
#[derive(Debug)]
pub(super) struct EnvFile<'a> {
    lines: Vec<Cow<'a, str>>,
}

/// Where a line has its value.
struct Value {
    line: usize,
    start: usize,
    end: usize,
}

impl<'a> EnvFile<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { lines: text.split_inclusive('\n').map(Cow::Borrowed).collect() }
    }

    /// The entries of a comma-separated list.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, ListError> {
        let Value { line, start, end } = self.find(name)?;
        let entries = self.lines[line][start..end].split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries: Vec<String> = entries.map(str::to_owned).collect();
        if entries.is_empty() { Err(ListError::Empty) } else { Ok(entries) }
    }

    /// Replaces a list, and nothing else of its line.
    pub(super) fn set_list(&mut self, name: &str, entries: &[String]) -> Result<(), ListError> {
        let Value { line, start, end } = self.find(name)?;
        self.lines[line].to_mut().replace_range(start..end, &entries.join(","));
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        self.lines.concat()
    }

    fn find(&self, name: &str) -> Result<Value, ListError> {
        let mut found =
            self.lines.iter().enumerate().filter_map(|(line, text)| Some((line, text, assigned(text, name)?)));
        let (line, text, rest) = found.next().ok_or(ListError::Missing)?;
        if found.next().is_some() {
            return Err(ListError::Twice);
        }
        let mut start = text.len() - rest.trim_start().len();
        let mut value = rest.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        if let Some(inner) = quoted {
            (start, value) = (start + 1, inner);
        }
        let comment = quoted.is_none() && value.contains('#');
        if comment || value.contains(['"', '\'']) {
            return Err(ListError::Unclear);
        }
        Ok(Value { line, start, end: start + value.len() })
    }
}

/// What follows `NAME=` in a line that sets that variable.
fn assigned<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    line.strip_prefix(name)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, ListError> {
        let mut file = EnvFile::new(text);
        assert_eq!(file.list("KEYS")?, ["a", "b"]);
        file.set_list("KEYS", &["x".to_owned(), "y".to_owned()])?;
        Ok(file.text())
    }

    #[test]
    fn everything_else_stays_to_the_byte() {
        for (before, after) in [
            ("KEYS=a,b", "KEYS=x,y"),
            (
                "# KEYS=c\nMY_KEYS=d\nKEYS_TOO=e\n\nKEYS=a,b\nKEY=f\n",
                "# KEYS=c\nMY_KEYS=d\nKEYS_TOO=e\n\nKEYS=x,y\nKEY=f\n",
            ),
            ("\r\nKEYS=a,b\r\nOTHER=1\r\n", "\r\nKEYS=x,y\r\nOTHER=1\r\n"),
            ("  export  KEYS= a , b,, \t\nOTHER='KEYS=1'\n", "  export  KEYS= x,y \t\nOTHER='KEYS=1'\n"),
            ("KEYS=\"a,b\"\n", "KEYS=\"x,y\"\n"),
            ("KEYS='a, b' \n한글=1", "KEYS='x,y' \n한글=1"),
        ] {
            assert_eq!(replaced(before).as_deref(), Ok(after));
        }
    }

    #[test]
    fn what_can_not_be_read_for_sure_is_refused() {
        for (text, error) in [
            ("", ListError::Missing),
            ("#KEYS=a,b", ListError::Missing),
            ("KEYS=a,b\nexport KEYS=a,b", ListError::Twice),
            ("KEYS=", ListError::Empty),
            ("KEYS=''\n", ListError::Empty),
            ("KEYS= , \n", ListError::Empty),
            ("KEYS=a,b # both", ListError::Unclear),
            ("KEYS=\"a,b\" # both", ListError::Unclear),
            ("KEYS=\"a\",\"b\"", ListError::Unclear),
            ("KEYS=\"a,b", ListError::Unclear),
            ("KEYS=\"", ListError::Unclear),
        ] {
            assert_eq!(replaced(text), Err(error), "{text}");
        }
    }
}
