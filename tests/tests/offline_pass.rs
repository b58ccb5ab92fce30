//! A pass is verified by somebody else's library in another language, by the very lines that docs/PASSES.md shows.

use anyhow::{Context as _, Result};
use axum::routing::get;
use common::clock::{Clock as _, SystemClock};
use common::ids::{ConcertId, UserId};
use common::tokens::{Pass, PassId, PassSigner, generate_pass_key};
use e2e::documents::code_block;
use e2e::jose::{Verifier, with_a_bit_changed};
use serde_json::json;

/// Publishes a gateway's keys, as `GET /.well-known/jwks.json` does.
async fn publish(signer: &PassSigner) -> Result<String> {
    let keys = json!({ "keys": signer.public_keys().jwks() });
    let router = axum::Router::new().route("/.well-known/jwks.json", get(async move || axum::Json(keys)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let site = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(site)
}

async fn accepts(verifier: &Verifier, site: &str, token: &str, pass: &Pass) -> Result<()> {
    let claims = verifier.verify(&[site, token, &pass.concert.to_string()]).await?;
    let expected =
        json!({ "sub": pass.user.compact(), "aud": pass.concert.compact(), "exp": pass.expires_at.timestamp() });
    let claims = claims.map_err(anyhow::Error::msg)?;
    for (name, value) in expected.as_object().context("an object")? {
        assert_eq!(&claims[name], value, "{name}");
    }
    Ok(())
}

fn pass_for(lasts: chrono::TimeDelta) -> Pass {
    let expires_at = SystemClock.now() + lasts;
    let id = PassId { position: 70_000, nonce: 512 };
    Pass { user: UserId::generate(), concert: ConcertId::generate(), id, expires_at }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_document_accept_our_passes_and_no_others() -> Result<()> {
    let lines = code_block("docs/PASSES.md", "js")?;
    let Some(verifier) = Verifier::new(lines, "site, pass, concertId")? else { return Ok(()) };
    let (old, new) = (generate_pass_key()?.0, generate_pass_key()?.0);
    let published = PassSigner::new(&[&new, &old])?;
    let site = publish(&published).await?;

    let pass = pass_for(chrono::TimeDelta::minutes(10));
    let token = published.sign(&pass);
    accepts(&verifier, &site, &token, &pass).await?;
    let by_the_old = PassSigner::new(&[&old])?.sign(&pass);
    accepts(&verifier, &site, &by_the_old, &pass).await.context("by the key before the newest")?;

    let refuses = async |token: &str, concert: ConcertId, code: &str| {
        verifier.refuses(&[&site, token, &concert.to_string()], code).await
    };
    for part in [1, 2] {
        let changed = with_a_bit_changed(&token, part)?;
        refuses(&changed, pass.concert, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED").await?;
    }
    let stranger = PassSigner::new(&[generate_pass_key()?.0])?.sign(&pass);
    refuses(&stranger, pass.concert, "ERR_JWKS_NO_MATCHING_KEY").await?;
    let over = pass_for(chrono::TimeDelta::seconds(-1));
    refuses(&published.sign(&over), over.concert, "ERR_JWT_EXPIRED").await?;
    refuses(&token, ConcertId::generate(), "ERR_JWT_CLAIM_VALIDATION_FAILED").await?;
    Ok(())
}
