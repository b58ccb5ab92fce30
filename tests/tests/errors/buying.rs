//! What can go wrong between wanting a seat and standing at the door.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::{Days, NaiveDate, Utc};
use e2e::site::Visitor;
use http::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;

use stack::wait::PATIENCE;

use crate::request::{NOBODY, World};

/// The demo's concert that is sold out.
const SOLD_OUT: &str = "0c0ce270-0000-4000-8000-000000000005";
/// The most that a balance can be.
const BALANCE_MAX: f64 = 99_999_999.99;
/// More seats than one person may have.
const TOO_MANY_SEATS: usize = 5;

/// A concert on sale, and its seats.
pub(crate) struct Concert {
    pub(crate) id: String,
    pub(crate) seats: Vec<String>,
}

/// Makes a concert that is on sale, `days` from today.
pub(crate) async fn concert_in(world: &World<'_>, days: u64) -> Result<Concert> {
    let day = Utc::now().date_naive().checked_add_days(Days::new(days)).context("no such day")?;
    let id = concert_on(world, day).await?;
    let seats = world.user.available_seats(&id).await?;
    Ok(Concert { id, seats })
}

/// Makes a concert on this day.
pub(crate) async fn concert_on(world: &World<'_>, day: NaiveDate) -> Result<String> {
    let sections = json!([{ "name": "A", "price": 1000, "seats": 20 }]);
    let concert = json!({ "name": "A", "date": day, "venue": "B", "sections": sections });
    world.admin.post("/admin/concerts", concert).await?.ok()?.text("id")
}

/// Signs somebody up and gets them in.
pub(crate) async fn admitted(world: &World<'_>, name: &str, concert: &Concert) -> Result<Visitor> {
    let mut visitor = Visitor::new(&world.url)?;
    visitor.sign_up(name).await?;
    ensure!(visitor.be_admitted(&concert.id, PATIENCE).await?, "sold out");
    Ok(visitor)
}

/// Holds a seat; the reservation.
pub(crate) async fn hold(who: &Visitor, concert: &Concert, seat: usize) -> Result<String> {
    let body = json!({ "concertId": concert.id, "seatId": concert.seats[seat] });
    who.post("/reservation", body).await?.ok()?.text("reservationId")
}

async fn pay(who: &Visitor, reservation: &str) -> Result<()> {
    who.post("/payment", json!({ "reservationId": reservation })).await?.ok()?;
    Ok(())
}

fn by_card(reservation: &str, token: &str) -> Value {
    json!({ "reservationId": reservation, "paymentMethod": "card", "paymentToken": token })
}

/// Waits until `path` is told to have this status at `pointer`.
async fn becomes(who: &Visitor, path: &str, pointer: &str, status: &str) -> Result<()> {
    let begun = Instant::now();
    while who.get(path).await?.body.pointer(pointer) != Some(&json!(status)) {
        ensure!(begun.elapsed() < PATIENCE, "{path} is not {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Provokes all of it; the code of a ticket that is good.
pub(crate) async fn provoke(world: &World<'_>, database: &mut PgConnection) -> Result<String> {
    let concert = concert_in(world, 60).await?;
    let buyer = admitted(world, "buyer", &concert).await?;
    buyer.post("/balance", json!({ "amount": 100_000 })).await?.ok()?;
    let rival = admitted(world, "rival", &concert).await?;
    let first = hold(&buyer, &concert, 0).await?;
    seats(world, &concert, &rival).await?;
    not_paid(world, &rival, &hold(&rival, &concert, 1).await?).await?;
    not_settled(world, &rival, &hold(&rival, &concert, 5).await?).await?;
    let code = tickets(world, &concert, &buyer, &first).await?;
    ends(world, &concert, (&buyer, &rival), database).await?;
    sales(world, buyer).await?;
    waitlist(world, &rival, database).await?;
    Ok(code)
}

async fn seats(world: &World<'_>, concert: &Concert, rival: &Visitor) -> Result<()> {
    let wanted = |wish: Value| {
        let mut body = json!({ "concertId": concert.id });
        body.as_object_mut().into_iter().for_each(|body| body.extend(wish.as_object().cloned().unwrap_or_default()));
        Some(body)
    };
    let taken = wanted(json!({ "seatId": concert.seats[0] }));
    world.refuses(rival, "reserve", &[], taken, "seat_taken").await?;
    let many = wanted(json!({ "seatIds": concert.seats[2..2 + TOO_MANY_SEATS] }));
    world.refuses(rival, "reserve", &[], many, "seat_limit").await?;
    let cheap = wanted(json!({ "quantity": 2, "maxPrice": 1 }));
    world.refuses(rival, "reserve", &[], cheap, "no_seats_together").await
}

/// Somebody without a balance, by every way to pay.
async fn not_paid(world: &World<'_>, rival: &Visitor, reservation: &str) -> Result<()> {
    for ticket in ["getTicket", "getTicketPicture"] {
        world.refuses(rival, ticket, &[reservation], None, "not_paid").await?;
    }
    let from_balance = json!({ "reservationId": reservation });
    world.refuses(rival, "pay", &[], Some(from_balance.clone()), "insufficient_balance").await?;
    let in_cash = json!({ "reservationId": reservation, "paymentMethod": "cash" });
    world.refuses(rival, "pay", &[], Some(in_cash), "payment_method_unavailable").await?;
    world.refuses(rival, "pay", &[], Some(by_card(reservation, "tok_declined")), "payment_declined").await?;
    // The provider takes its time.
    let asking = rival.post("/payment", by_card(reservation, "tok_delay_1500"));
    let meanwhile = async {
        becomes(rival, "/payment", "/data/0/status", "pending").await?;
        world.refuses(rival, "pay", &[], Some(from_balance), "payment_in_progress").await
    };
    let ((), _) = tokio::try_join!(meanwhile, asking)?;
    Ok(())
}

/// The provider has taken the money, and its answer does not come for a while.
async fn not_settled(world: &World<'_>, rival: &Visitor, reservation: &str) -> Result<()> {
    let asking = rival.post("/payment", by_card(reservation, "tok_drop_capture_response"));
    let meanwhile = async {
        becomes(rival, &format!("/reservation/{reservation}"), "/status", "completed").await?;
        world.refuses(rival, "cancelReservation", &[reservation], None, "payment_in_progress").await
    };
    let ((), _) = tokio::try_join!(meanwhile, asking)?;
    Ok(())
}

/// What is paid for, and what its ticket is good for; its code.
async fn tickets(world: &World<'_>, concert: &Concert, buyer: &Visitor, first: &str) -> Result<String> {
    pay(buyer, first).await?;
    let again = json!({ "reservationId": first });
    world.refuses(buyer, "pay", &[], Some(again), "already_paid").await?;
    world.refuses(buyer, "extendReservation", &[first], None, "already_paid").await?;
    let held_back = json!({ "seatIds": [concert.seats[0]] });
    world.refuses(&world.admin, "holdBackSeats", &[&concert.id], Some(held_back), "seat_taken").await?;

    let code = buyer.get(&format!("/reservation/{first}/ticket")).await?.ok()?.text("code")?;
    let scanned = |code: &str| Some(json!({ "code": code }));
    world.refuses(&world.admin, "checkIn", &[], scanned("a.b.c"), "ticket_invalid").await?;
    let elsewhere = json!({ "code": code, "concertId": NOBODY });
    world.refuses(&world.admin, "checkIn", &[], Some(elsewhere), "wrong_concert").await?;
    world.ask(&world.admin, "checkIn", &[], scanned(&code)).await?.ok()?;
    world.refuses(&world.admin, "checkIn", &[], scanned(&code), "already_checked_in").await?;
    world.refuses(buyer, "cancelReservation", &[first], None, "already_checked_in").await?;

    let returned = hold(buyer, concert, 2).await?;
    world.ask(buyer, "extendReservation", &[&returned], None).await?.ok()?;
    world.refuses(buyer, "extendReservation", &[&returned], None, "already_extended").await?;
    pay(buyer, &returned).await?;
    let revoked = buyer.get(&format!("/reservation/{returned}/ticket")).await?.ok()?.text("code")?;
    world.ask(buyer, "cancelReservation", &[&returned], None).await?.ok()?;
    for ticket in ["getTicket", "getTicketPicture"] {
        world.refuses(buyer, ticket, &[&returned], None, "ticket_revoked").await?;
    }
    world.refuses(&world.admin, "checkIn", &[], scanned(&revoked), "ticket_revoked").await?;
    Ok(code)
}

/// A hold whose time has passed, and a refund to somebody who has as much as anybody can.
async fn ends(
    world: &World<'_>,
    concert: &Concert,
    (buyer, rival): (&Visitor, &Visitor),
    database: &mut PgConnection,
) -> Result<()> {
    let late = hold(rival, concert, 3).await?;
    let id: sqlx::types::Uuid = late.parse()?;
    sqlx::query("UPDATE reservations SET payment_deadline = now_utc() - interval '1 millisecond' WHERE id = $1")
        .bind(id)
        .execute(database)
        .await?;
    becomes(rival, &format!("/reservation/{late}"), "/status", "canceled").await?;
    for ticket in ["getTicket", "getTicketPicture"] {
        world.refuses(rival, ticket, &[&late], None, "reservation_expired").await?;
    }
    world.refuses(rival, "extendReservation", &[&late], None, "reservation_expired").await?;
    let body = json!({ "reservationId": late });
    world.refuses(rival, "pay", &[], Some(body), "reservation_expired").await?;

    let rich = hold(buyer, concert, 4).await?;
    pay(buyer, &rich).await?;
    let balance = buyer.get("/balance").await?.ok()?.body["balance"].as_f64().context("no balance")?;
    buyer.post("/balance", json!({ "amount": BALANCE_MAX - balance })).await?.ok()?;
    world.refuses(buyer, "cancelReservation", &[&rich], None, "balance_limit").await
}

/// A concert of tomorrow, whose sale opens later and then is over.
async fn sales(world: &World<'_>, mut buyer: Visitor) -> Result<()> {
    let concert = concert_in(world, 1).await?;
    buyer.queue_token = None;
    ensure!(buyer.be_admitted(&concert.id, PATIENCE).await?, "sold out");
    let reservation = hold(&buyer, &concert, 0).await?;
    pay(&buyer, &reservation).await?;
    world.refuses(&buyer, "cancelReservation", &[&reservation], None, "refund_closed").await?;

    let path = format!("/admin/concerts/{}", concert.id);
    let wanted = json!({ "concertId": concert.id, "seatId": concert.seats[1] });
    for (opens_at, closes, code) in
        [(json!("2999-01-01T00:00:00Z"), false, "not_on_sale"), (Value::Null, true, "sales_closed")]
    {
        let change = json!({ "saleOpensAt": opens_at });
        world.admin.ask(Method::PATCH, &path, Some(change), &[]).await?.ok()?;
        if closes {
            world.ask(&world.admin, "closeSale", &[&concert.id], None).await?.ok()?;
        }
        world.refuses(&buyer, "reserve", &[], Some(wanted.clone()), code).await?;
        world.refuses(&buyer, "joinWaitlist", &[&concert.id], Some(json!({})), code).await?;
    }
    // Gateways learn of it a moment later.
    for (concert, code) in [(concert.id.as_str(), "sales_closed"), (SOLD_OUT, "sold_out")] {
        let (begun, body) = (Instant::now(), json!({ "concertId": concert }));
        let mut answer = world.ask(&buyer, "joinQueue", &[], Some(body.clone())).await?;
        while answer.body["error"] != code && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = world.ask(&buyer, "joinQueue", &[], Some(body.clone())).await?;
        }
        world.ledger.note("joinQueue", code, &answer);
    }
    Ok(())
}

/// As many wait as may.
async fn waitlist(world: &World<'_>, rival: &Visitor, database: &mut PgConnection) -> Result<()> {
    let id: sqlx::types::Uuid = SOLD_OUT.parse()?;
    sqlx::query(
        "WITH crowd AS (
             INSERT INTO users (id, username, email)
             SELECT gen_random_uuid(), 'waiting', 'waiting' || n || '@example.test' FROM generate_series(1, 10000) n
             RETURNING id
         )
         INSERT INTO waitlist (user_id, concert_id) SELECT id, $1 FROM crowd",
    )
    .bind(id)
    .execute(database)
    .await?;
    world.refuses(rival, "joinWaitlist", &[SOLD_OUT], Some(json!({})), "waitlist_full").await
}
