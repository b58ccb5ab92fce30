//! The draw, worked out by the other program that docs/DRAW.md shows.

use anyhow::{Context as _, Result};
use common::draw::Seed;
use common::ids::ConcertId;
use e2e::documents::code_block;
use stack::programs;

/// What the document's program prints.
fn by_python(program: &str, seed: &Seed, concert: ConcertId, entries: u32) -> Result<Option<String>> {
    let Some(python) = programs::find("python3") else {
        eprintln!("python3 is not installed: docs/DRAW.md's program is not run");
        return Ok(None);
    };
    let arguments = [seed.to_hex(), concert.to_string(), entries.to_string()];
    programs::output(programs::command(python).args(["-c", program]).args(arguments)).map(Some)
}

#[test]
fn the_document_s_program_deals_what_we_deal() -> Result<()> {
    let program = code_block("docs/DRAW.md", "python")?;
    // Of the words for 400,000 entries, nine are passed over on average.
    for entries in [0, 1, 2, 9, 1_000, 400_000] {
        let (seed, concert) = (Seed::generate(), ConcertId::generate());
        let Some(printed) = by_python(&program, &seed, concert, entries)? else { return Ok(()) };
        let expected = format!("{} {:?}\n", seed.hash(), seed.positions(concert, entries));
        // Not assert_eq: so many numbers tell nobody anything.
        assert!(printed == expected, "seed {}, concert {concert}, {entries} entries", seed.to_hex());
    }
    Ok(())
}

#[test]
fn the_vector_that_the_document_shows_is_what_we_deal() -> Result<()> {
    let document = std::fs::read_to_string(stack::project_root().join("docs/DRAW.md"))?;
    let shown = |name: &str| {
        let line = document.lines().find_map(|line| line.strip_prefix(&format!("{name:<10}")));
        line.map(str::to_owned).with_context(|| format!("no `{name}` is shown"))
    };
    let seed = Seed::from_hex(&shown("seed")?)?;
    assert_eq!(shown("seedHash")?, seed.hash());
    let dealt = seed.positions(shown("concert")?.parse()?, shown("n")?.parse()?);
    assert_eq!(shown("positions")?, format!("{dealt:?}"));
    Ok(())
}
