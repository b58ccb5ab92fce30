//! The project's documents, for tests that run what they show.

use anyhow::{Context, Result};

/// The first block of `language` that a document shows, without its fences.
pub fn code_block(document: &str, language: &str) -> Result<String> {
    let path = stack::project_root().join(document);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, rest) = text
        .split_once(&format!("\n```{language}\n"))
        .with_context(|| format!("{document} shows no block of {language}"))?;
    let (block, _) = rest.split_once("\n```").with_context(|| format!("{document}: the block does not end"))?;
    Ok(format!("{block}\n"))
}
