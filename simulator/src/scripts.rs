//! The scripts as the simulated Redis runs them: their own text, with the clock of the world in place of the server's, and
//! where a mutant is simulated, with its fault.

use std::collections::HashMap;

use lua::Script;
use lua::chart::ChartScripts;
use lua::queue::QueueScripts;

use crate::mutants::Edit;

/// The key that holds the time of the call under way, in microseconds of Unix time.
pub(crate) const NOW_KEY: &str = "simulator:now";

/// The key that holds the id of the simulated server process.
pub(crate) const SERVER_KEY: &str = "simulator:server";

/// What reads the server's id in a script, and what stands in its place.
const SERVER: &str = "redis.call('INFO', 'server')";
const VIRTUAL_SERVER: &str = "('run_id:' .. redis.call('GET', 'simulator:server'))";
/// The same for its clock.
const TIME: &str = "redis.call('TIME')";
const VIRTUAL_TIME: &str = "(function() local us = tonumber(redis.call('GET', 'simulator:now')) \
                            return { math.floor(us / 1000000), us % 1000000 } end)()";

/// A script of the product, as it is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    /// Its file's name (`queue/join`).
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) source: String,
    /// The digest of that text.
    pub(crate) sha: String,
    /// Whether it only reads.
    pub(crate) only_reads: bool,
}

/// All scripts, by the digest that the product calls them by.
#[derive(Debug, Default)]
pub(crate) struct Scripts(HashMap<String, Simulated>);

impl Scripts {
    /// All scripts, with these edits.
    ///
    /// # Errors
    ///
    /// An edit that changes nothing: the text that it replaces is not there any more.
    pub(crate) fn with(edits: &[Edit]) -> anyhow::Result<Self> {
        let (queue, charts) = (QueueScripts::default(), ChartScripts::default());
        let mut scripts = Self::default();
        let mut used = vec![false; edits.len()];
        for script in queue.all().into_iter().chain(charts.all()) {
            scripts.add(script, edits, &mut used);
        }
        if let Some(unused) = used.iter().position(|used| !used) {
            anyhow::bail!("{}: the text to replace is not there: {}", edits[unused].script, edits[unused].from);
        }
        Ok(scripts)
    }

    fn add(&mut self, script: &Script, edits: &[Edit], used: &mut [bool]) {
        let mut source = script.source().to_owned();
        for (edit, used) in edits.iter().zip(used) {
            if script.name().starts_with(edit.script) && source.contains(edit.from) {
                source = source.replacen(edit.from, edit.to, 1);
                *used = true;
            }
        }
        let only_reads = source.lines().next().is_some_and(|line| line.contains("no-writes"));
        let source = source.replace(TIME, VIRTUAL_TIME).replace(SERVER, VIRTUAL_SERVER);
        let sha = digest(&source);
        self.0.insert(digest(script.source()), Simulated { name: script.name(), source, sha, only_reads });
    }

    /// The script that the product calls by this digest.
    pub(crate) fn get(&self, sha: &str) -> Option<&Simulated> {
        self.0.get(sha)
    }

    /// The texts of all.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|script| script.source.as_str())
    }
}

/// The digest that Redis knows a script by.
pub(crate) fn digest(source: &str) -> String {
    redis::Script::new(source).get_hash().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_reads_the_clock_or_the_id_of_the_real_server() {
        let scripts = Scripts::with(&[]).unwrap();
        assert!(scripts.sources().all(|source| !source.contains(TIME) && !source.contains(SERVER)));
        assert!(scripts.sources().any(|source| source.contains(NOW_KEY)));
    }

    #[test]
    fn an_edit_that_changes_nothing_is_an_error() {
        let edit = Edit { script: "queue/", from: "no script has this", to: "" };
        assert!(Scripts::with(&[edit]).is_err());
    }
}
