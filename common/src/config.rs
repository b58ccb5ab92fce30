//! Settings from the environment: each declared once with its unit, default and meaning, all faults reported at once.
//!
//! The same declarations make README's table of settings (`gateway settings`, `core-api settings`), which a test keeps
//! equal to the code.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// What a setting is for, as README tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The variable's name, with its unit last: `HOLD_SECONDS`.
    pub name: &'static str,
    /// What is used when it is unset; `None` where it has to be set.
    pub default: Option<&'static str>,
    /// Its unit or shape: `seconds`, `address:port`, `persons`.
    pub unit: &'static str,
    /// What it decides, in a sentence.
    pub meaning: &'static str,
}

/// Everything that is wrong with the environment, a line each.
#[derive(Debug, thiserror::Error)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Reads settings from a set of variables and gathers what is wrong with them.
#[derive(Debug)]
pub struct Reader {
    variables: BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Reader {
    /// Reads from this process's environment.
    pub fn from_env() -> Self {
        Self::new(std::env::vars())
    }

    /// Reads from these variables. An empty one counts as unset, as in a compose file.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        Self { variables, faults: Vec::new() }
    }

    /// The setting's value as written, its default where it is unset; a fault and `""` where it has neither.
    pub fn text(&mut self, setting: &Setting) -> String {
        match (self.variables.get(setting.name), setting.default) {
            (Some(value), _) => value.trim().to_owned(),
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.fault(setting, format_args!("is not set ({})", setting.meaning));
                String::new()
            }
        }
    }

    /// The setting's value, read by `FromStr`. `None` is a fault already noted.
    pub fn parse<T: FromStr>(&mut self, setting: &Setting) -> Option<T> {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        if let Ok(value) = text.parse() {
            Some(value)
        } else {
            // The value is not repeated: a secret pasted into the wrong variable must not reach a log.
            self.fault(setting, format_args!("is not readable as {}", setting.unit));
            None
        }
    }

    /// The same for a number that has to lie within `range`.
    pub fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        setting: &Setting,
        range: std::ops::RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.parse::<T>(setting)?;
        if range.contains(&value) {
            return Some(value);
        }
        self.fault(setting, format_args!("must lie between {} and {}", range.start(), range.end()));
        None
    }

    /// A comma-separated list with at least one entry; each is trimmed.
    pub fn list(&mut self, setting: &Setting) -> Vec<String> {
        self.text(setting).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Notes that a setting is wrong; `what` completes "NAME …".
    pub fn fault(&mut self, setting: &Setting, what: impl fmt::Display) {
        self.faults.push(format!("{} {what}", setting.name));
    }

    /// What was read, or all that was wrong. `None` is what a value that could not be read made of it.
    pub fn finish_with<T>(self, read: Option<T>) -> Result<T, Faults> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(Faults(self.faults)),
        }
    }

    /// All that was wrong, or `Ok` when nothing was.
    pub fn finish(self) -> Result<(), Faults> {
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }
}

/// The settings as a Markdown table, the form in which README shows them.
pub fn markdown_table(settings: &[Setting]) -> String {
    let mut table = String::from("| Variable | Unit | Default | Meaning |\n|---|---|---|---|\n");
    for setting in settings {
        let default = setting.default.map_or_else(
            || "required".to_owned(),
            |default| match default {
                "" => "–".to_owned(),
                default => format!("`{default}`"),
            },
        );
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", setting.name, setting.unit, setting.meaning);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Setting = Setting { name: "HOLD_SECONDS", default: Some("300"), unit: "seconds", meaning: "How long." };
    const SECRET: Setting = Setting { name: "SESSION_SECRET", default: None, unit: "text", meaning: "Signs sessions." };

    fn reader(pairs: &[(&str, &str)]) -> Reader {
        Reader::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn all_faults_come_at_once_each_by_name_and_without_the_value() {
        let mut reader = reader(&[("HOLD_SECONDS", "hunter2"), ("SESSION_SECRET", "  ")]);
        reader.number(&HOLD, 1..=3_600);
        reader.text(&SECRET);
        let message = reader.finish().unwrap_err().to_string();
        assert!(message.contains("HOLD_SECONDS is not readable as seconds"), "{message}");
        assert!(message.contains("SESSION_SECRET is not set (Signs sessions.)"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn defaults_and_ranges() {
        let mut unset = reader(&[]);
        assert_eq!(unset.number(&HOLD, 1..=3_600_u64), Some(300));
        assert!(unset.finish().is_ok());
        let mut high = reader(&[("HOLD_SECONDS", "4000")]);
        assert_eq!(high.number(&HOLD, 1..=3_600_u64), None);
        assert!(high.finish().unwrap_err().to_string().contains("between 1 and 3600"));
    }
}
