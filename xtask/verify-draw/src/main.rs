//! `cargo xtask verify-draw`: works a published draw out again. `docs/DRAW.md` says how, and what that proves.
//!
//! A package of its own, run by xtask: the other commands then need not wait until what this one takes from `common` is
//! compiled, and ten million entries want an optimised build.

mod frontier;
mod verdict;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::ids::ConcertId;
use http::Uri;

use frontier::Frontier;
use verdict::{Refusal, Verdict};

/// Check that the draw of a sale was the one announced before it opened.
///
/// Before the opening, the field `draw.seedHash` of GET /queue/{concertId}/frontier says which seed will be used. After it,
/// `draw.seed` and `draw.entries` say everything that the draw was worked out from. This command compares the two and works
/// the draw out again.
///
/// A site that is reached by https: save the answer with curl and give it by --file.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask verify-draw", bin_name = "cargo xtask verify-draw")]
#[command(after_help = "Exit code: 0 verified; 1 something does not match; 2 it can't be checked (not drawn yet, not \
                        reachable, not a frontier, usage)")]
struct Arguments {
    /// The site that sells
    #[arg(long, value_name = "URL", default_value = "http://localhost:8080")]
    url: Uri,
    /// A saved answer of GET /queue/{concertId}/frontier instead
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    file: Option<PathBuf>,
    /// The concert; with --file, that of the answer unless given
    #[arg(long, value_name = "ID", required_unless_present = "file")]
    concert: Option<ConcertId>,
    /// The `seedHash` that was noted before the opening
    #[arg(long, value_name = "HEX", value_parser = sha256_hex)]
    published_hash: String,
    /// Say which position this entry was dealt (may be given several times)
    #[arg(long = "entry", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    entries: Vec<u32>,
    /// Check that the one --entry was dealt this position
    #[arg(long, value_name = "P", requires = "entries", value_parser = clap::value_parser!(u32).range(1..))]
    position: Option<u32>,
    /// Print every entry with its position, as CSV
    #[arg(long)]
    all: bool,
}

fn sha256_hex(text: &str) -> Result<String, &'static str> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hexadecimal digits") }
}

fn main() -> ExitCode {
    let Err(refusal) = run(&Arguments::parse()) else { return ExitCode::SUCCESS };
    // Where nobody reads, nobody is told; the exit code says it.
    let _ = writeln!(io::stderr(), "{refusal}");
    refusal.exit_code()
}

fn run(arguments: &Arguments) -> Result<(), Refusal> {
    if arguments.position.is_some() && arguments.entries.len() != 1 {
        return Err(Refusal::uncheckable("--position is one entry's: give one --entry with it"));
    }
    let verdict = Verdict::of(&frontier(arguments)?, &arguments.published_hash)?;
    if arguments.all {
        // The sentences keep out of the CSV's way.
        tell(&mut io::stderr(), &verdict, arguments)?;
        write_csv(verdict.positions())
    } else {
        tell(&mut io::stdout(), &verdict, arguments)
    }
}

fn frontier(arguments: &Arguments) -> Result<Frontier, Refusal> {
    let frontier = match (&arguments.file, arguments.concert) {
        (Some(file), _) => Frontier::read(file),
        (None, Some(concert)) => Frontier::fetch(&arguments.url, concert),
        (None, None) => return Err(Refusal::uncheckable("no concert is given")),
    };
    let frontier = frontier.map_err(|error| Refusal::Uncheckable(format!("{error:#}")))?;
    match arguments.concert.filter(|concert| *concert != frontier.concert_id) {
        Some(asked) => {
            Err(Refusal::Uncheckable(format!("the answer is of concert {}, not {asked}", frontier.concert_id)))
        }
        None => Ok(frontier),
    }
}

fn tell(to: &mut impl Write, verdict: &Verdict, arguments: &Arguments) -> Result<(), Refusal> {
    heard(writeln!(to, "{verdict}"))?;
    for entry in &arguments.entries {
        let position = verdict.position_of(*entry)?;
        if let Some(claimed) = arguments.position.filter(|claimed| *claimed != position) {
            return Err(Refusal::Mismatch(format!("entry {entry} was dealt position {position}, not {claimed}")));
        }
        heard(writeln!(to, "Entry {entry} was dealt position {position}."))?;
    }
    Ok(())
}

fn write_csv(positions: &[u32]) -> Result<(), Refusal> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut write = || {
        writeln!(out, "entry,position")?;
        (1_u32..).zip(positions).try_for_each(|(entry, position)| writeln!(out, "{entry},{position}"))?;
        out.flush()
    };
    heard(write())
}

/// A reader that has seen enough (`| head`) is no failure.
fn heard(written: io::Result<()>) -> Result<(), Refusal> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Refusal::Uncheckable(format!("the answer can't be written: {error}")))
        }
        _ => Ok(()),
    }
}
