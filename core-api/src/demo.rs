//! Demo data: concerts of every kind, users with money, an admin, somebody at the door. Loading it again changes nothing.
//!
//! What is sold is sold by the same code that sells everything else, so the ledger and every other invariant hold.

use anyhow::{Context as _, anyhow};
use common::ids::{ConcertId, ReservationId, UserId};
use common::money::Money;
use common::tokens::{PassId, Role};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::account::{Email, Login, Username};
use crate::domain::effect::{Answer, EffectError, Record};
use crate::domain::reservation::Order;
use crate::domain::seat::{Seat, SeatStatus};
use crate::service::{HashCost, Passwords};
use crate::store::postgres::{Db, DemoConcert, DemoUser, HoldRules, NewHold};

/// The password of all demo accounts.
pub const PASSWORD: &str = "onsale-demo";
/// One section of 50 seats: exactly the original model.
pub const SMALL: Uuid = concert_id(1);
/// 400 seats in 8 sections.
pub const CLUB: Uuid = concert_id(2);
/// 1,000 seats in 20 sections.
pub const HALL: Uuid = concert_id(3);
/// 20,000 seats in 400 sections.
pub const ARENA: Uuid = concert_id(4);
/// Ten seats, all sold.
pub const SOLD_OUT: Uuid = concert_id(5);
/// Opens in seven days.
pub const SCHEDULED: Uuid = concert_id(6);

const BALANCE: i64 = 500_000;
const RULES: HoldRules = HoldRules { hold_seconds: 300, extend_seconds: 0, seats_per_user: 4 };

const fn concert_id(number: u128) -> Uuid {
    Uuid::from_u128(0x0c0c_e270_0000_4000_8000_0000_0000_0000 + number)
}

/// Loads what is missing of the demo data.
pub async fn load(db: &Db) -> anyhow::Result<()> {
    let concerts = concerts()?;
    for concert in &concerts {
        db.make_demo_concert(concert).await.with_context(|| concert.name)?;
    }
    let passwords = Passwords::new(0, HashCost::LEAST)?;
    for (username, email) in [("Alice", "alice@example.com"), ("Bob", "bob@example.com")] {
        let user = user(db, &passwords, username, email).await?;
        // Only once: they may have spent some of it since.
        if db.entries(user.id, None, 1).await?.is_empty() {
            charge(db, user.id, won(BALANCE)?).await?;
        }
    }
    for (username, email, role) in
        [("Admin", "admin@example.com", Role::Admin), ("Staff", "staff@example.com", Role::Staff)]
    {
        let account = user(db, &passwords, username, email).await?;
        db.set_role(&Login::Id(account.id), role).await?;
    }
    sell_out(db, &passwords, SOLD_OUT.into()).await
}

fn concerts() -> anyhow::Result<Vec<DemoConcert>> {
    let concert = |id: Uuid, name, venue, days_ahead, sections, seats_per_section, price| {
        let (id, price) = (id.into(), won(price)?);
        Ok::<_, anyhow::Error>(DemoConcert {
            id,
            name,
            venue,
            days_ahead,
            opens_in_days: None,
            sections,
            seats_per_section,
            price,
        })
    };
    let scheduled = concert(SCHEDULED, "봄밤의 재즈", "블루 스퀘어", 75, 4, 50, 77_000)?;
    Ok(vec![
        concert(SMALL, "겨울밤의 라이브", "올림픽홀", 30, 1, 50, 88_000)?,
        concert(CLUB, "Indie Night", "Rolling Hall", 37, 8, 50, 66_000)?,
        concert(HALL, "New Year Gala", "예술의전당", 44, 20, 50, 99_000)?,
        concert(ARENA, "Stadium Tour", "고척스카이돔", 60, 400, 50, 99_000)?,
        concert(SOLD_OUT, "어쿠스틱 콘서트", "소극장", 21, 1, 10, 55_000)?,
        DemoConcert { opens_in_days: Some(7), ..scheduled },
    ])
}

fn won(amount: i64) -> anyhow::Result<Money> {
    Ok(Money::try_from(Decimal::from(amount))?)
}

async fn user(db: &Db, passwords: &Passwords, username: &str, email: &str) -> anyhow::Result<DemoUser> {
    if let Some(user) = db.demo_user(email).await? {
        return Ok(user);
    }
    let hash = passwords.hash(PASSWORD).await?;
    let username = Username::parse(username).map_err(anyhow::Error::msg)?;
    let email = Email::parse(email).map_err(anyhow::Error::msg)?;
    let id = db.create_account(&username, &email, &hash).await?;
    Ok(DemoUser { id, balance: Money::ZERO })
}

/// Sells what is left of a concert, a seat to each of a crowd.
async fn sell_out(db: &Db, passwords: &Passwords, concert: ConcertId) -> anyhow::Result<()> {
    let seats = db.seats(concert).await?;
    for (number, seat) in (1..).zip(seats) {
        if seat.status == SeatStatus::Available {
            let (name, email) = (format!("Crowd {number:02}"), format!("crowd{number:02}@example.com"));
            let buyer = user(db, passwords, &name, &email).await?;
            sell(db, buyer, concert, seat).await?;
        }
    }
    Ok(())
}

async fn sell(db: &Db, buyer: DemoUser, concert: ConcertId, seat: Seat) -> anyhow::Result<()> {
    if buyer.balance < seat.price {
        charge(db, buyer.id, seat.price).await?;
    }
    let order = Order {
        user: buyer.id,
        pass: PassId { position: 0, nonce: 0 },
        concert,
        seats_per_user: None,
        seats: vec![seat],
    };
    let id = ReservationId::generate();
    // Nobody else sells this concert, so no lock is needed, and 0 is nobody's fence.
    let hold = NewHold { order, ids: vec![id], fence: 0 };
    db.hold(&hold, RULES, &unrecorded()).await.map_err(failed)?;
    db.pay(buyer.id, &[id], &unrecorded()).await.map_err(failed)?;
    Ok(())
}

async fn charge(db: &Db, user: UserId, amount: Money) -> anyhow::Result<()> {
    db.charge(user, amount, &unrecorded()).await.map_err(failed)?;
    Ok(())
}

/// Nobody waits for an answer.
fn unrecorded<T>() -> Record<T> {
    Record::new(None, |_| Answer { status: 200, body: Vec::new() })
}

fn failed<R: std::fmt::Debug>(error: EffectError<R>) -> anyhow::Error {
    match error {
        EffectError::Refused(refusal) => anyhow!("demo data was refused: {refusal:?}"),
        EffectError::Superseded => anyhow!("somebody else loads demo data"),
        EffectError::Fault(fault) | EffectError::Unsettled(fault) => fault.into(),
    }
}
