//! One visitor's journey: from signing up, or from joining with an account that is there, to a paid ticket.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use reqwest::Method;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use uuid::Uuid;

use super::accounts::Accounts;
use super::queue::{
    Outlook, QueueAnswer, QueueInfo, Stop, ahead_rose, decode, join_body, join_request, leave_request, ok,
    poll_request, poll_wait, position_changed, queue_ok,
};
use super::requests::{Reply, Sender};
use crate::catalog::Seat;
use crate::client::Request;
use crate::stats::{Outcome, Sale, Step};

/// How often a visitor whose seat was taken looks for another one.
const SEATS_TRIED_MAX: u32 = 50;

/// How often one whose hold has run out tries to get the seat back, and for how long; then somebody else has it.
const TRY_AGAIN_EVERY: Duration = Duration::from_millis(100);
const TRY_AGAIN_FOR: TimeDelta = TimeDelta::seconds(10);

/// What all visitors of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) concert: Uuid,
    pub(crate) entry: Entry,
    /// How late a visitor may be at a poll and still count as present.
    pub(crate) poll_slack: Duration,
    /// The share of visitors who let their first hold run out, and want the seat back then.
    pub(crate) lapse: f64,
    /// Whether a visitor gives up their slot at the end, as a client that closes does.
    pub(crate) leave: bool,
    /// Who finds a seat taken lets the system choose instead of looking for another one.
    pub(crate) best_when_taken: bool,
}

/// Where visitors get their accounts.
#[derive(Debug)]
pub(crate) enum Entry {
    /// They sign up.
    SignUp {
        /// Part of every email, so that runs don't meet.
        run: String,
        /// What a visitor puts on their balance first: enough for any seat. Zero: nothing.
        charge: Decimal,
    },
    /// They have them, with money.
    Prepared(Arc<Accounts>),
}

/// Who a visitor is, as requests show it.
enum Identity<'a> {
    SignedIn(String),
    /// The session is made each time that it is shown: a hundred thousand of them wait for minutes.
    Prepared(&'a Accounts, u32),
}

impl Identity<'_> {
    fn session(&self) -> Cow<'_, str> {
        match self {
            Self::SignedIn(session) => Cow::Borrowed(session),
            Self::Prepared(accounts, number) => Cow::Owned(accounts.session(*number)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user_id: Uuid,
    token: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    #[serde(rename = "reservationId")]
    id: Uuid,
    amount: Decimal,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    seats: Vec<HeldSeat>,
}

/// The seat that a visitor wants or has.
#[derive(Debug, Clone, Copy, Deserialize)]
struct HeldSeat {
    #[serde(rename = "seatId")]
    id: Uuid,
    price: Decimal,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    reservation_id: Uuid,
    status: String,
    amount: Decimal,
}

/// A visitor on their way.
pub(crate) struct Visitor<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) sender: Sender<'a>,
    pub(crate) number: u32,
}

impl Visitor<'_> {
    /// Does everything, from the moment the visitor was meant to arrive.
    pub(crate) async fn visit(mut self, arrival: Instant) -> Outcome {
        let ended = self.journey(arrival).await;
        match ended {
            Ok(()) => {
                self.sender.recorder.finished(Step::Journey, arrival);
                Outcome::Bought
            }
            Err(Stop::NoSeatLeft) => Outcome::NoSeatLeft,
            Err(Stop::Failed(why)) => {
                self.sender.recorder.unexpected(why);
                Outcome::Failed
            }
        }
    }

    async fn journey(&mut self, arrival: Instant) -> Result<(), Stop> {
        let plan = self.plan;
        let (who, joins_at) = match &plan.entry {
            Entry::SignUp { run, charge } => {
                let session = self.sign_up(run, arrival).await?;
                if !charge.is_zero() {
                    self.charge(&session, *charge).await?;
                }
                (Identity::SignedIn(session), Instant::now())
            }
            Entry::Prepared(accounts) => (Identity::Prepared(accounts, self.number), arrival),
        };
        let pass = self.wait_for_admission(&who, joins_at).await?;
        // In a box, as most never come so far.
        let bought = Box::pin(self.buy(&who, &pass)).await;
        let left = if self.plan.leave { self.leave(&pass).await } else { Ok(()) };
        bought.and(left)
    }

    async fn leave(&mut self, pass: &str) -> Result<(), Stop> {
        self.expect_ok(Step::Leave, Instant::now(), &leave_request(pass)).await?;
        Ok(())
    }

    /// Signs up and logs in; the session is what logging in gave.
    async fn sign_up(&mut self, run: &str, arrival: Instant) -> Result<String, Stop> {
        let email = format!("load-{run}-{}@load.example", self.number);
        let password: u64 = self.sender.rng.random();
        let body = format!(r#"{{"username":"load {}","email":"{email}","password":"{password:016x}"}}"#, self.number);
        let signup = Request { method: Method::POST, path: "/auth/signup", body: Some(body), ..Request::default() };
        let reply = self.sender.step(Step::Signup, arrival, &signup).await?;
        // Sent more than once, it may have succeeded without the answer reaching us.
        let user = if reply.attempt > 1 && reply.answer.error() == "email_taken" {
            None
        } else {
            Some(decode::<Session>(Step::Signup, &ok(Step::Signup, reply)?.answer)?.user_id)
        };
        let body = format!(r#"{{"userId":"{email}","password":"{password:016x}"}}"#);
        let login = Request { method: Method::POST, path: "/auth/login", body: Some(body), ..Request::default() };
        let session: Session = self.expect(Step::Login, Instant::now(), &login).await?;
        if user.is_some_and(|user| user != session.user_id) {
            return Err(Stop::Failed("log in: another user than the one who signed up".to_owned()));
        }
        Ok(session.token)
    }

    async fn charge(&mut self, session: &str, amount: Decimal) -> Result<(), Stop> {
        let key = Uuid::new_v4().to_string();
        let request = Request {
            method: Method::POST,
            path: "/balance",
            session: Some(session),
            idempotency_key: Some(&key),
            body: Some(format!(r#"{{"amount":{amount}}}"#)),
            ..Request::default()
        };
        self.expect_ok(Step::Charge, Instant::now(), &request).await?;
        Ok(())
    }

    /// Joins, and polls as told until the answer is a pass.
    async fn wait_for_admission(&mut self, who: &Identity<'_>, joined: Instant) -> Result<String, Stop> {
        let reply = {
            let session = who.session();
            let join = join_request(&session, join_body(self.plan.concert));
            self.sender.step(Step::Join, joined, &join).await?
        };
        let mut asked = Asked { step: Step::Join, sent: reply.sent };
        let mut answer: QueueAnswer = decode(Step::Join, &queue_ok(Step::Join, reply)?.answer)?;
        let mut always_on_time = true;
        loop {
            if self.judge(&asked, &answer, always_on_time)? {
                self.sender.recorder.admission(answer.queue_info.position);
                self.sender.recorder.finished(Step::Admission, joined);
                return Ok(answer.token);
            }
            if answer.queue_info.outlook == Outlook::None {
                self.leave(&answer.token).await?;
                return Err(Stop::NoSeatLeft);
            }
            let intended = Instant::now() + poll_wait(asked.step, &answer.queue_info)?;
            tokio::time::sleep_until(intended).await;
            let reply = self.sender.step(Step::Status, intended, &poll_request(&answer.token)).await?;
            // Late by this program's fault or by retries: the room may take them for absent.
            always_on_time &= reply.sent - intended <= self.plan.poll_slack;
            asked = Asked { step: Step::Status, sent: reply.sent };
            let next: QueueAnswer = decode(Step::Status, &queue_ok(Step::Status, reply)?.answer)?;
            same_place(&answer.queue_info, &next.queue_info)?;
            answer = next;
        }
    }

    /// Whether the visitor is in.
    fn judge(&self, asked: &Asked, answer: &QueueAnswer, on_time: bool) -> Result<bool, Stop> {
        match answer.status.as_str() {
            "admitted" => Ok(true),
            "waiting" => {
                self.sender.recorder.waiting(asked.sent, answer.queue_info.position, on_time);
                Ok(false)
            }
            "sold_out" => Err(Stop::NoSeatLeft),
            other => Err(Stop::Failed(format!("{}: the status of one who waits is {other:?}", asked.step.name()))),
        }
    }

    /// Reserves a random seat, another one when it is taken, and pays for it.
    async fn buy(&mut self, who: &Identity<'_>, pass: &str) -> Result<(), Stop> {
        let mut lapses = self.sender.rng.random::<f64>() < self.plan.lapse;
        let session = who.session();
        for _ in 0..SEATS_TRIED_MAX {
            let Some(seat) = self.choose_seat().await? else {
                return Err(Stop::NoSeatLeft);
            };
            let mut held = self.reserve(&session, pass, Some(seat)).await?;
            if let Some((_, first)) = &held
                && std::mem::take(&mut lapses)
            {
                held = self.lapse(&session, pass, seat, first.expires_at).await?;
            }
            if held.is_none() && self.plan.best_when_taken {
                held = self.reserve(&session, pass, None).await?;
            }
            if let Some((seat, reserved)) = held {
                return self.pay(&session, seat, &reserved).await;
            }
        }
        // Seats were there, but others were always faster.
        Err(Stop::NoSeatLeft)
    }

    /// Tries to hold this seat, or whichever the system takes for the best; `None` where somebody else was faster.
    async fn reserve(
        &mut self,
        session: &str,
        pass: &str,
        wanted: Option<HeldSeat>,
    ) -> Result<Option<(HeldSeat, Reservation)>, Stop> {
        let key = Uuid::new_v4().to_string();
        let which = wanted.map_or_else(|| r#""quantity":1"#.to_owned(), |seat| format!(r#""seatId":"{}""#, seat.id));
        let request = Request {
            method: Method::POST,
            path: "/reservation",
            session: Some(session),
            queue_token: Some(pass),
            idempotency_key: Some(&key),
            body: Some(format!(r#"{{"concertId":"{}",{which}}}"#, self.plan.concert)),
        };
        let reply = self.sender.step(Step::Reserve, Instant::now(), &request).await?;
        match (reply.answer.status, reply.answer.error().as_str()) {
            (409, "seat_taken" | "no_seats_together") => return Ok(None),
            (410, "sold_out") => return Err(Stop::NoSeatLeft),
            _ => {}
        }
        let reserved: Reservation = decode(Step::Reserve, &ok(Step::Reserve, reply)?.answer)?;
        let chosen = wanted.or_else(|| reserved.seats.first().copied());
        let seat = chosen.ok_or_else(|| Stop::Failed("reserve seat: the answer names no seat".to_owned()))?;
        self.sender.recorder.hold();
        Ok(Some((seat, reserved)))
    }

    /// Does not pay in time, and wants the seat back the moment that it is free again.
    async fn lapse(
        &mut self,
        session: &str,
        pass: &str,
        seat: HeldSeat,
        deadline: DateTime<Utc>,
    ) -> Result<Option<(HeldSeat, Reservation)>, Stop> {
        // The deadline is of the server's clock; it is this machine's.
        tokio::time::sleep((deadline - Utc::now()).to_std().unwrap_or_default()).await;
        while Utc::now() < deadline + TRY_AGAIN_FOR {
            if let Some(reserved) = self.reserve(session, pass, Some(seat)).await? {
                return Ok(Some(reserved));
            }
            tokio::time::sleep(TRY_AGAIN_EVERY).await;
        }
        Ok(None)
    }

    async fn choose_seat(&mut self) -> Result<Option<HeldSeat>, Stop> {
        let path = format!("/concerts/{}/seats", self.plan.concert);
        let request = Request { path: &path, ..Request::default() };
        let mut seats: Vec<Seat> = self.expect(Step::Seats, Instant::now(), &request).await?;
        seats.retain(Seat::is_available);
        if seats.is_empty() {
            return Ok(None);
        }
        let seat = &seats[self.sender.rng.random_range(0..seats.len())];
        Ok(Some(HeldSeat { id: seat.id, price: seat.price }))
    }

    async fn pay(&mut self, session: &str, seat: HeldSeat, reserved: &Reservation) -> Result<(), Stop> {
        if reserved.amount != seat.price {
            return Err(Stop::Failed(format!("reserve seat: {} for a seat of {}", reserved.amount, seat.price)));
        }
        let key = Uuid::new_v4().to_string();
        let request = Request {
            method: Method::POST,
            path: "/payment",
            session: Some(session),
            idempotency_key: Some(&key),
            body: Some(format!(r#"{{"reservationId":"{}"}}"#, reserved.id)),
            ..Request::default()
        };
        let paid: Payment = self.expect(Step::Pay, Instant::now(), &request).await?;
        if paid.status != "success" || paid.reservation_id != reserved.id || paid.amount != reserved.amount {
            return Err(Stop::Failed(format!("pay: another payment than asked for: {paid:?}")));
        }
        self.sender.recorder.sale(Sale { seat_id: seat.id, reservation_id: paid.reservation_id, amount: paid.amount });
        Ok(())
    }

    async fn expect_ok(&mut self, step: Step, intended: Instant, request: &Request<'_>) -> Result<Reply, Stop> {
        ok(step, self.sender.step(step, intended, request).await?)
    }

    async fn expect<T: DeserializeOwned>(
        &mut self,
        step: Step,
        intended: Instant,
        request: &Request<'_>,
    ) -> Result<T, Stop> {
        decode(step, &self.expect_ok(step, intended, request).await?.answer)
    }
}

/// The request that a queue answer belongs to.
struct Asked {
    step: Step,
    sent: Instant,
}

fn same_place(before: &QueueInfo, after: &QueueInfo) -> Result<(), Stop> {
    let broken = position_changed(before, after).or_else(|| ahead_rose(before, after));
    broken.map_or(Ok(()), |why| Err(Stop::Failed(format!("poll queue: {why}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_read_as_the_contract_writes_it() {
        let paid: Payment = serde_json::from_str(
            r#"{"paymentId":"p","reservationId":"018f3f64-0000-7000-8000-000000000000","status":"success","amount":99000.00,"balance":1.5}"#,
        )
        .unwrap();
        assert_eq!(paid.amount, Decimal::from(99_000));
    }
}
