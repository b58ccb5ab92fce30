//! What is said to the person at the terminal. Progress goes to stderr, results to stdout.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stack::install::{self, Tool};

const TICK: Duration = Duration::from_millis(100);

/// One line of progress.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// One line of a result.
pub(crate) fn answer(line: &str) {
    println!("{line}");
}

/// The colours used here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Green,
    Red,
    Yellow,
}

/// `text` in a colour, where stderr is a terminal that wants any (<https://no-color.org>).
pub(crate) fn paint(colour: Colour, text: &str) -> String {
    let unwanted = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    if dumb || unwanted("NO_COLOR") || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A time for people: `0.3 s`, `2 min 5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 60 { format!("{:.1} s", time.as_secs_f64()) } else { format!("{} min {} s", whole / 60, whole % 60) }
}

/// Installs those of `tools` that are missing, with a spinner on a terminal.
pub(crate) fn install(tools: &[Tool]) -> Result<()> {
    if install::missing(tools).is_empty() {
        return Ok(());
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(TICK);
    let outcome = install::ensure(tools, &mut |line| spinner.suspend(|| say(line)));
    spinner.finish_and_clear();
    outcome
}

/// Something that takes a while, on a terminal; clear it when it is done.
pub(crate) fn spinner(doing: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.set_message(doing.to_owned());
    spinner.enable_steady_tick(TICK);
    spinner
}

/// Steps that are shown as they are taken: a bar on a terminal, otherwise one line per step.
#[derive(Debug)]
pub(crate) struct Steps {
    bar: ProgressBar,
}

impl Steps {
    /// So many steps will be taken.
    pub(crate) fn new(count: usize) -> Self {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        // Hidden by itself where stderr is no terminal.
        let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len}  {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Takes a step: `doing` while it is under way, `done` once it is taken. After
    /// [`stack::wait::cancel`] no further step is begun.
    pub(crate) fn take<T>(&self, doing: &str, done: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.bar.set_message(doing.to_owned());
        self.bar.enable_steady_tick(TICK);
        self.finish(done, step)
    }

    /// Like [`Steps::take`], for a step that shows progress of its own: the bar makes room.
    pub(crate) fn take_loudly<T>(&self, doing: &str, done: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.line(&format!("  {doing} …"));
        self.bar.set_message(doing.to_owned());
        self.bar.disable_steady_tick();
        self.finish(done, || self.bar.suspend(step))
    }

    fn finish<T>(&self, done: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        anyhow::ensure!(!stack::wait::is_cancelled(), "stopped");
        let begun = Instant::now();
        let value = step()?;
        self.line(&format!("{} {done} ({})", paint(Colour::Green, "✓"), seconds(begun.elapsed())));
        self.bar.inc(1);
        Ok(value)
    }

    /// A line above the bar.
    pub(crate) fn line(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
