//! Tokens as another language's library reads them: jose, in Node.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stack::install::{self, Tool};
use stack::{npm, programs};

/// The last that runs on the Node.js of Debian 12.
const JOSE: &str = "jose@5.10.0";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Lines of JavaScript that verify a token and leave what it says in `payload`.
#[derive(Debug)]
pub struct Verifier {
    folder: PathBuf,
    lines: String,
    names: &'static str,
}

impl Verifier {
    /// With these lines, to which words are given under these names: `site, pass, concertId`. `None` where there is no
    /// Node.js to run them.
    pub fn new(lines: String, names: &'static str) -> Result<Option<Self>> {
        if let Err(error) = install::ensure(&[Tool::Node], &mut |line| eprintln!("{line}")) {
            eprintln!("skipped, tokens are not verified by another language: {error:#}");
            return Ok(None);
        }
        let folder = npm::install("jose", JOSE, &mut |line| eprintln!("{line}"))?;
        Ok(Some(Self { folder, lines, names }))
    }

    /// What the token says; or, within, what the lines say against it.
    pub async fn verify(&self, words: &[&str]) -> Result<Result<Value, String>> {
        let program = format!(
            "const [{}] = process.argv.slice(1);\n{}console.log(JSON.stringify(payload));\n",
            self.names, self.lines
        );
        let node = programs::find("node").context("node is not installed")?;
        let mut command = programs::command(node);
        // Modules are looked for from the working folder on.
        command.args(["--input-type=module", "--eval", &program, "--"]).args(words).current_dir(&self.folder);
        let output = tokio::task::spawn_blocking(move || programs::output(&mut command)).await?;
        Ok(match output {
            Ok(claims) => Ok(serde_json::from_str(&claims).context(claims)?),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    /// That the token is refused. `code` is jose's name for what is wrong: refused for another reason, nothing would be
    /// shown.
    pub async fn refuses(&self, words: &[&str], code: &str) -> Result<()> {
        let said = self.verify(words).await?.err().with_context(|| format!("{words:?} are accepted"))?;
        ensure!(said.contains(code), "not {code}, but {said}");
        Ok(())
    }
}

/// The token with one bit of its part `part` changed.
pub fn with_a_bit_changed(token: &str, part: usize) -> Result<String> {
    let mut parts: Vec<Vec<u8>> = token.split('.').map(|part| part.as_bytes().to_vec()).collect();
    // A character from the middle, all six bits of which count.
    let at = parts[part].len() / 2;
    let value = ALPHABET.iter().position(|known| *known == parts[part][at]).context("not base64url")?;
    parts[part][at] = ALPHABET[value ^ 1];
    Ok(String::from_utf8(parts.join(&b'.'))?)
}
