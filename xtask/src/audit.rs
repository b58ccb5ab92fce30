//! `cargo xtask audit`: whether everything holds in the running stack's database that must always hold.

use std::process::ExitCode;

use anyhow::{Context, Result};

/// Written by `up` while the stack runs.
const STACK_FILE: &str = ".onsale/stack.env";
const DATABASE_URL: &str = "DATABASE_URL";

/// Check that everything about seats and money holds that must always hold.
///
/// Asks the database of `DATABASE_URL`, else that of the stack that runs in this checkout (`cargo xtask up`). Prints each
/// rule with how often it is broken, and some examples. Only reads. Exit status 0 if all hold, 1 if one is broken, 2 if
/// that could not be found out.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<ExitCode> {
    let given = std::env::var(DATABASE_URL).ok().filter(|url| !url.trim().is_empty());
    let Some(url) = given.map_or_else(running_stack, |url| Ok(Some(url)))? else {
        crate::ui::say(&format!("no stack runs here (`cargo xtask up` starts one), and {DATABASE_URL} is not set"));
        return Ok(ExitCode::from(2));
    };
    let mut command = crate::cargo();
    command.args(["run", "--release", "--quiet", "--package", "core-api", "--bin", "core-api", "--", "audit"]);
    crate::become_command(command.env(DATABASE_URL, url))
}

/// The database of the stack that runs in this checkout, if one does.
fn running_stack() -> Result<Option<String>> {
    let path = stack::project_root().join(STACK_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(database_url(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn database_url(stack_file: &str) -> Option<String> {
    stack_file.lines().find_map(|line| line.trim().strip_prefix(DATABASE_URL)?.strip_prefix('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_s_database_is_found() {
        let file = "# DATABASE_URL=no\nURL=http://127.0.0.1:8080\nDATABASE_URL=postgres://a@h/d?x=y\n";
        assert_eq!(database_url(file).as_deref(), Some("postgres://a@h/d?x=y"));
        assert_eq!(database_url("URL=x\nDATABASE_URLS=z\n"), None);
    }
}
