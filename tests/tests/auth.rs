//! Who may do what, of every operation that `api-spec.yaml` says needs credentials: one that is not in the table here fails.
//!
//! Asked of the running site: without credentials, with forged ones, as somebody who is no administrator, and for what is
//! somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::site::{Answer, Visitor};
use e2e::spec::{Operation, Spec};
use http::Method;
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

/// An id of nothing.
const NOBODY: &str = "7d0f6a1e-3c52-4b8e-9a41-2f6f0c8d5b10";

/// To whom what an operation is about belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Whoever asks: nothing in the path is anybody's.
    Oneself,
    /// The bearer of the queue token.
    Place,
    /// The bearer of the refresh token.
    Refresh,
    /// Somebody's reservation, payment or session, by its id in the path: another's is 404.
    Reservation,
    Payment,
    Session,
    /// A payment provider, by the signature of what it sends.
    Provider,
    /// What administrators run, and the door, where staff stand as well.
    Site,
}

/// Every operation that needs credentials.
const OPERATIONS: [(&str, About); 66] = [
    ("logOut", About::Oneself),
    ("refreshSession", About::Refresh),
    ("changePassword", About::Oneself),
    ("listSessions", About::Oneself),
    ("endSession", About::Session),
    ("joinQueue", About::Oneself),
    ("leaveQueue", About::Place),
    ("getQueueStatus", About::Place),
    ("streamQueueStatus", About::Place),
    ("joinWaitlist", About::Oneself),
    ("getWait", About::Oneself),
    ("leaveWaitlist", About::Oneself),
    ("reserve", About::Oneself),
    ("listReservations", About::Oneself),
    ("getReservation", About::Reservation),
    ("cancelReservation", About::Reservation),
    ("extendReservation", About::Reservation),
    ("getTicket", About::Reservation),
    ("getTicketPicture", About::Reservation),
    ("getBalance", About::Oneself),
    ("chargeBalance", About::Oneself),
    ("listBalanceEntries", About::Oneself),
    ("listPayments", About::Oneself),
    ("pay", About::Oneself),
    ("getPayment", About::Payment),
    ("receivePaymentWebhook", About::Provider),
    ("listQueues", About::Site),
    ("getQueue", About::Site),
    ("watchQueue", About::Site),
    ("changeQueue", About::Site),
    ("pauseQueue", About::Site),
    ("resumeQueue", About::Site),
    ("closeQueue", About::Site),
    ("admitFromQueue", About::Site),
    ("listQueueChanges", About::Site),
    ("findUser", About::Site),
    ("findVisitor", About::Site),
    ("getVisitor", About::Site),
    ("removeVisitor", About::Site),
    ("listAdminChanges", About::Site),
    ("listManagedConcerts", About::Site),
    ("createConcert", About::Site),
    ("getManagedConcert", About::Site),
    ("changeConcert", About::Site),
    ("openSale", About::Site),
    ("closeSale", About::Site),
    ("addSections", About::Site),
    ("getBranding", About::Site),
    ("changeBranding", About::Site),
    ("listHeldBackSeats", About::Site),
    ("holdBackSeats", About::Site),
    ("releaseSeats", About::Site),
    ("getSales", About::Site),
    ("getSalesCsv", About::Site),
    ("getOrdersCsv", About::Site),
    ("checkIn", About::Site),
    ("undoCheckIn", About::Site),
    ("listTickets", About::Site),
    ("createWebhook", About::Site),
    ("listWebhooks", About::Site),
    ("deleteWebhook", About::Site),
    ("rotateWebhookSecret", About::Site),
    ("resumeWebhook", About::Site),
    ("listWebhookChanges", About::Site),
    ("listDeadLetters", About::Site),
    ("retryDeadLetter", About::Site),
];

/// What an operation's path is with these ids; others are of nothing.
fn path(operation: &Operation<'_>, ids: &BTreeMap<&str, String>) -> String {
    let fill = |part: &str| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("provider") => "sandbox".to_owned(),
        Some(name) => ids.get(name).map_or(NOBODY, String::as_str).to_owned(),
        None => part.to_owned(),
    };
    operation.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

fn is_secured(operation: &Operation<'_>) -> bool {
    operation.object["security"].as_array().is_some_and(|ways| !ways.is_empty())
}

fn name<'a>(operation: &Operation<'a>) -> &'a str {
    operation.object["operationId"].as_str().unwrap_or_default()
}

/// Asks an operation with these headers; with a body where it takes one, which says nothing.
async fn ask(visitor: &Visitor, operation: &Operation<'_>, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let body = (!operation.object["requestBody"].is_null()).then(|| json!({}));
    visitor.ask(operation.method.clone(), path, body, headers).await
}

fn refuses(operation: &Operation<'_>, with: &str, answer: &Answer, status: u16, error: &str) -> Result<()> {
    let told = (answer.status.as_u16(), answer.body["error"].as_str());
    ensure!(told == (status, Some(error)), "{} {with}: {told:?}, not {status} {error}", name(operation));
    Ok(())
}

/// Without credentials and with forged ones, by every way to show some.
async fn check_strangers(site: &str, operation: &Operation<'_>, about: About) -> Result<()> {
    let stranger = Visitor::new(site)?;
    let path = path(operation, &BTreeMap::new());
    let (missing, forged) = match about {
        About::Place => ("missing_queue_token", "invalid_queue_token"),
        About::Refresh => ("invalid_refresh_token", "invalid_refresh_token"),
        About::Provider => ("invalid_signature", "invalid_signature"),
        _ => ("unauthenticated", "invalid_session"),
    };
    refuses(operation, "without credentials", &ask(&stranger, operation, &path, &[]).await?, 401, missing)?;
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3ZDBmNmExZS0zYzUyLTRiOGUtOWE0MS0yZjZmMGM4ZDViMTAiLCJpYXQiOjE3OTYxMjI4MDAsImV4cCI6OTc5NjIwOTIwMCwicm9sZSI6ImFkbWluIn0.";
    for token in ["a.b.c", unsigned] {
        let (bearer, cookie) = (format!("Bearer {token}"), format!("Authorization=Bearer {token}"));
        let (place, refresh) = (format!("QueueToken={token}"), format!("RefreshToken={token}"));
        let ways: &[(&str, &str)] = match about {
            About::Place => &[("x-queue-token", token), ("cookie", &place)],
            About::Refresh => &[("cookie", &refresh)],
            About::Provider => &[("webhook-signature", token), ("authorization", &bearer)],
            _ => &[("authorization", &bearer), ("cookie", &cookie)],
        };
        for way in ways {
            let answer = ask(&stranger, operation, &path, &[*way]).await?;
            refuses(operation, &format!("with {} {token}", way.0), &answer, 401, forged)?;
        }
    }
    Ok(())
}

/// Somebody who has a reservation, a payment and a session, and the ids of all of them.
async fn owner(site: &str) -> Result<(Visitor, BTreeMap<&'static str, String>)> {
    let mut owner = Visitor::new(site)?;
    owner.sign_up("owner").await?;
    owner.post("/balance", json!({ "amount": 5_000_000 })).await?.ok()?;
    let concerts = owner.get("/concerts?available=true").await?.ok()?;
    let concert = concerts.body["data"][0]["id"].as_str().context("no concert is on sale")?.to_owned();
    ensure!(owner.be_admitted(&concert, PATIENCE).await?, "sold out");
    let seats = owner.available_seats(&concert).await?;
    let mut reservations = Vec::new();
    for seat in &seats[..2] {
        let body = json!({ "concertId": concert, "seatId": seat });
        reservations.push(owner.post("/reservation", body).await?.ok()?.text("reservationId")?);
    }
    let paid = owner.post("/payment", json!({ "reservationId": reservations[0] })).await?.ok()?;
    let sessions = owner.get("/auth/sessions").await?.ok()?;
    let session = sessions.body["data"][0]["id"].as_str().context("no session")?.to_owned();
    let ids = BTreeMap::from([
        ("paymentId", paid.text("paymentId")?),
        ("reservationId", reservations.swap_remove(1)),
        ("sessionId", session),
        ("concertId", concert),
    ]);
    Ok((owner, ids))
}

#[test]
fn every_operation_that_needs_credentials_is_asked_without() -> Result<()> {
    let spec = Spec::load()?;
    let secured: BTreeSet<String> =
        spec.operations()?.iter().filter(|operation| is_secured(operation)).map(|one| name(one).to_owned()).collect();
    let known: BTreeSet<String> = OPERATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known, secured, "left the table of this test, right the description");
    for operation in spec.operations()?.iter().filter(|operation| is_secured(operation)) {
        let about = about(operation)?;
        assert_eq!(about == About::Site, operation.path.starts_with("/admin/"), "{}", name(operation));
        // What has an id of its own in its path is somebody's, but for what is everybody's.
        let in_path = operation.path.split('/').any(|part| part.starts_with('{') && part != "{concertId}");
        let is_somebodys = !matches!(about, About::Oneself | About::Place | About::Refresh);
        assert!(!in_path || is_somebodys, "{}: whose is it?", name(operation));
    }
    Ok(())
}

fn about(operation: &Operation<'_>) -> Result<About> {
    let found = OPERATIONS.iter().find(|(known, _)| *known == name(operation));
    found.map(|(_, about)| *about).with_context(|| format!("{} is in no table", name(operation)))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_what_they_may_not() -> Result<()> {
    let spec = Spec::load()?;
    let onsale = Onsale::start(&OnsaleOptions { sandbox_provider: true, ..OnsaleOptions::default() })?;
    let site = onsale.url();
    let (owner, ids) = owner(&site).await?;
    let mut stranger = Visitor::new(&site)?;
    stranger.sign_up("stranger").await?;
    for operation in spec.operations()?.iter().filter(|operation| is_secured(operation)) {
        let about = about(operation)?;
        check_strangers(&site, operation, about).await?;
        let path = path(operation, &ids);
        match about {
            About::Site => {
                refuses(operation, "as a user", &ask(&stranger, operation, &path, &[]).await?, 403, "forbidden")?;
            }
            About::Reservation | About::Payment | About::Session => {
                let answer = ask(&stranger, operation, &path, &[]).await?;
                refuses(operation, "of somebody else's", &answer, 404, "not_found")?;
            }
            About::Oneself | About::Place | About::Refresh | About::Provider => {}
        }
    }
    // It was theirs, and nothing of it was changed.
    for (path, field, value) in [
        (format!("/reservation/{}", ids["reservationId"]), "status", json!("pending")),
        (format!("/payment/{}", ids["paymentId"]), "status", json!("success")),
        ("/auth/sessions".to_owned(), "/data/0/id", json!(ids["sessionId"])),
    ] {
        let body = owner.ask(Method::GET, &path, None, &[]).await?.ok()?.body;
        let found = if field.starts_with('/') { body.pointer(field).unwrap_or(&Value::Null) } else { &body[field] };
        assert_eq!(found, &value, "{path}: {body}");
    }
    Ok(())
}

/// Asks every gateway by itself, until all refuse a session.
async fn refused_everywhere(onsale: &Onsale, session: &Visitor, path: &str) -> Result<()> {
    let begun = Instant::now();
    for gateway in onsale.gateways() {
        let mut asked = Visitor::new(&gateway.url())?;
        asked.session.clone_from(&session.session);
        while asked.post(path, json!({ "concertId": NOBODY })).await?.body["error"] != "invalid_session" {
            ensure!(begun.elapsed() < PATIENCE, "{} still lets it in", gateway.url());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_at_every_gateway() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let options = OnsaleOptions { gateways: 2, redis_url: Some(redis.url()), ..OnsaleOptions::default() };
    let onsale = Onsale::start(&options)?;
    let (mut here, mut elsewhere) = (Visitor::new(&onsale.url())?, Visitor::new(&onsale.url())?);
    here.sign_up("traveller").await?;
    let login = json!({ "userId": "traveller@example.test", "password": "a long password" });
    elsewhere.session = Some(elsewhere.post("/auth/login", login).await?.ok()?.text("token")?);
    let change = json!({ "currentPassword": "a long password", "newPassword": "a longer password" });
    here.session = Some(here.post("/auth/password", change).await?.ok()?.text("token")?);
    refused_everywhere(&onsale, &elsewhere, "/queue/token").await?;
    here.post("/auth/logout", json!({})).await?.ok()?;
    refused_everywhere(&onsale, &here, "/queue/token").await
}
