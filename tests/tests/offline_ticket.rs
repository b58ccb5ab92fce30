//! A door without a network: a ticket is verified by somebody else's library in another language, by the very lines that
//! docs/TICKETS.md shows.

use anyhow::{Context as _, Result};
use common::clock::{Clock as _, SystemClock};
use common::ids::{ConcertId, ReservationId, UserId};
use common::tokens::{EntryTicket, EntryTicketSigner, Pass, PassId, PassSigner, generate_pass_key};
use e2e::documents::code_block;
use e2e::jose::{Verifier, with_a_bit_changed};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_document_accept_our_tickets_and_no_others() -> Result<()> {
    let lines = code_block("docs/TICKETS.md", "js")?;
    let Some(verifier) = Verifier::new(lines, "saved, code, concertId")? else { return Ok(()) };
    let (old, new) = (generate_pass_key()?.0, generate_pass_key()?.0);
    let published = EntryTicketSigner::new(&[&new, &old])?;
    let saved = json!({ "keys": published.jwks() }).to_string();

    let (reservation, concert) = (ReservationId::generate(), ConcertId::generate());
    let ticket = EntryTicket { reservation, concert, seat: "나동 \"<b>&-50".to_owned() };
    let code = published.sign(&ticket);
    let printed_before = EntryTicketSigner::new(&[&old])?.sign(&ticket);
    for code in [&code, &printed_before] {
        let claims = verifier.verify(&[&saved, code, &concert.to_string()]).await?.map_err(anyhow::Error::msg)?;
        assert_eq!(claims, json!({ "jti": reservation.compact(), "aud": concert.compact(), "seat": ticket.seat }));
    }

    let refuses = async |code: &str, concert: ConcertId, why: &str| {
        verifier.refuses(&[&saved, code, &concert.to_string()], why).await
    };
    for part in [1, 2] {
        let changed = with_a_bit_changed(&code, part)?;
        refuses(&changed, concert, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED").await?;
    }
    let stranger = EntryTicketSigner::new(&[generate_pass_key()?.0])?.sign(&ticket);
    refuses(&stranger, concert, "ERR_JWKS_NO_MATCHING_KEY").await?;
    refuses(&code, ConcertId::generate(), "ERR_JWT_CLAIM_VALIDATION_FAILED").await?;
    let passes = PassSigner::new(&[generate_pass_key()?.0])?;
    let id = PassId { position: 1, nonce: 1 };
    let expires_at = SystemClock.now() + chrono::TimeDelta::minutes(10);
    let pass = passes.sign(&Pass { user: UserId::generate(), concert, id, expires_at });
    refuses(&pass, concert, "ERR_JWKS_NO_MATCHING_KEY").await.context("a pass")?;
    Ok(())
}
