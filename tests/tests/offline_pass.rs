//! A pass is verified by somebody else's library in another language, by the very lines that docs/PASSES.md shows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use axum::routing::get;
use common::clock::{Clock as _, SystemClock};
use common::ids::{ConcertId, UserId};
use common::tokens::{Pass, PassId, PassSigner, generate_pass_key};
use e2e::documents::code_block;
use serde_json::{Value, json};
use stack::install::{self, Tool};
use stack::{npm, programs};

/// The last that runs on the Node.js of Debian 12.
const JOSE: &str = "jose@5.10.0";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The folder with jose; `None` where there is no Node.js to run it.
fn jose() -> Result<Option<PathBuf>> {
    if let Err(error) = install::ensure(&[Tool::Node], &mut |line| eprintln!("{line}")) {
        eprintln!("skipped, passes are not verified by another language: {error:#}");
        return Ok(None);
    }
    npm::install("jose", JOSE, &mut |line| eprintln!("{line}")).map(Some)
}

/// Publishes a gateway's keys, as `GET /.well-known/jwks.json` does.
async fn publish(signer: &PassSigner) -> Result<String> {
    let keys = json!({ "keys": signer.public_keys().jwks() });
    let router = axum::Router::new().route("/.well-known/jwks.json", get(async move || axum::Json(keys)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let site = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(site)
}

/// What the document's lines make of a pass: its claims, or what they say against it.
struct Verifier {
    lines: String,
    folder: PathBuf,
    site: String,
}

impl Verifier {
    async fn verify(&self, pass: &str, concert: ConcertId) -> Result<Result<Value, String>> {
        let program = format!(
            "const [site, pass, concertId] = process.argv.slice(1);\n{}console.log(JSON.stringify(payload));\n",
            self.lines
        );
        let arguments = [self.site.clone(), pass.to_owned(), concert.to_string()];
        let folder = self.folder.clone();
        let output = tokio::task::spawn_blocking(move || node(&folder, &program, &arguments)).await?;
        Ok(match output {
            Ok(claims) => Ok(serde_json::from_str(&claims).context(claims)?),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    async fn accepts(&self, token: &str, pass: &Pass) -> Result<()> {
        let claims = self.verify(token, pass.concert).await?;
        let expected =
            json!({ "sub": pass.user.compact(), "aud": pass.concert.compact(), "exp": pass.expires_at.timestamp() });
        let claims = claims.map_err(anyhow::Error::msg)?;
        for (name, value) in expected.as_object().context("an object")? {
            assert_eq!(&claims[name], value, "{name}");
        }
        Ok(())
    }

    /// `code` is jose's name for what is wrong: refused for another reason, nothing would be shown.
    async fn refuses(&self, token: &str, concert: ConcertId, code: &str) -> Result<()> {
        let said = self.verify(token, concert).await?;
        let said = said.err().with_context(|| format!("{token} is accepted"))?;
        ensure!(said.contains(code), "not {code}, but {said}");
        Ok(())
    }
}

fn node(folder: &Path, program: &str, arguments: &[String]) -> Result<String> {
    let node = programs::find("node").context("node is not installed")?;
    // Modules are looked for from the working folder on.
    let mut command = programs::command(node);
    command.args(["--input-type=module", "--eval", program, "--"]).args(arguments).current_dir(folder);
    programs::output(&mut command)
}

fn pass_for(lasts: chrono::TimeDelta) -> Pass {
    let expires_at = SystemClock.now() + lasts;
    let id = PassId { position: 70_000, nonce: 512 };
    Pass { user: UserId::generate(), concert: ConcertId::generate(), id, expires_at }
}

/// The token with one bit of its part `part` changed.
fn with_a_bit_changed(token: &str, part: usize) -> Result<String> {
    let mut parts: Vec<Vec<u8>> = token.split('.').map(|part| part.as_bytes().to_vec()).collect();
    // A character from the middle, all six bits of which count.
    let at = parts[part].len() / 2;
    let value = ALPHABET.iter().position(|known| *known == parts[part][at]).context("not base64url")?;
    parts[part][at] = ALPHABET[value ^ 1];
    Ok(String::from_utf8(parts.join(&b'.'))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_document_accept_our_passes_and_no_others() -> Result<()> {
    let Some(folder) = jose()? else { return Ok(()) };
    let (old, new) = (generate_pass_key()?.0, generate_pass_key()?.0);
    let published = PassSigner::new(&[&new, &old])?;
    let site = publish(&published).await?;
    let verifier = Verifier { lines: code_block("docs/PASSES.md", "js")?, folder, site };

    let pass = pass_for(chrono::TimeDelta::minutes(10));
    let token = published.sign(&pass);
    verifier.accepts(&token, &pass).await?;
    verifier.accepts(&PassSigner::new(&[&old])?.sign(&pass), &pass).await.context("by the key before the newest")?;

    for part in [1, 2] {
        let changed = with_a_bit_changed(&token, part)?;
        verifier.refuses(&changed, pass.concert, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED").await?;
    }
    let stranger = PassSigner::new(&[generate_pass_key()?.0])?.sign(&pass);
    verifier.refuses(&stranger, pass.concert, "ERR_JWKS_NO_MATCHING_KEY").await?;
    let over = pass_for(chrono::TimeDelta::seconds(-1));
    verifier.refuses(&published.sign(&over), over.concert, "ERR_JWT_EXPIRED").await?;
    let elsewhere = ConcertId::generate();
    verifier.refuses(&token, elsewhere, "ERR_JWT_CLAIM_VALIDATION_FAILED").await?;
    Ok(())
}
