//! Holds and payments, with all that PostgreSQL does for them, against pgbench.

use anyhow::{Context as _, Result, ensure};
use common::ids::UserId;
use stack::programs;
use uuid::Uuid;

use super::proxying::reserve;
use crate::compare::{Extent, Side};
use crate::concerts::{SEATS, concert};
use crate::figures::{Row, Target, What};
use crate::people::{self, request};
use crate::site::{STILL, Site};
use crate::wrk::{Answers, CONNECTIONS, Requests};
use crate::{cpu, progress};

pub(super) const NAMES: &[&str] = &["reservation-won", "payment"];

const WON: What = What {
    name: "reservation-won",
    path: "POST /reservation that wins",
    ceiling: "pgbench running the insert, 64 clients",
    unit: "/s",
    target: Target::AtLeast(0.8),
};
const PAYMENT: What = What {
    name: "payment",
    path: "POST /payment",
    ceiling: "pgbench with a payment in one statement, 64 clients",
    unit: "/s",
    target: Target::AtLeast(1.5),
};

/// How many concerts are sold in one round, and how many more by pgbench.
const CONCERTS_PER_ROUND: u32 = 24;
/// Payments that are prepared for one side of a round.
const PAYMENTS: u32 = 24_000;
const USERS: &str = include_str!("../../../../core-api/benches/payment_cost/users.sql");
const HOLDS: &str = include_str!("../../../../core-api/benches/payment_cost/holds.sql");
const SINGLE: &str = include_str!("../../../../core-api/benches/payment_cost/single.sql");
/// What a hold inserts, for the seats of the concerts from `$FIRST` on, each for a user of its own.
const INSERT: &str = r"\set i :i + 1
\set n :client_id * $PER_CLIENT + :i - 1
INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, reserved_at, payment_deadline, hold_fence)
SELECT gen_random_uuid(), ('01900000-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid, s.concert_id, s.id, s.price, at,
       at + make_interval(secs => 300), 1
FROM now_utc() AS at, seats s
WHERE s.id = ('01900000-0000-7000-8001-'
              || lpad(to_hex((($FIRST + :n / $SEATS)::bigint << 24) | (:n % $SEATS)), 12, '0'))::uuid
  AND s.status = 'available';
";

pub(super) async fn measure(extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    let site = Site::start(&STILL).await?;
    site.execute(&USERS.replace("$PAYMENTS", &PAYMENTS.to_string())).await?;
    let mut rows = Vec::new();
    if wanted(WON.name) {
        rows.push(won(&site, extent).await?);
    }
    if wanted(PAYMENT.name) {
        rows.push(payment(&site, extent).await?);
    }
    Ok(rows)
}

/// Who shares the machine with what is measured.
fn surroundings() -> String {
    format!(
        "core-api, PostgreSQL (commits flushed to disk), Redis and wrk share all {0} cores of the machine, and wrk has one \
         of them first; PostgreSQL and pgbench share the same {0}.",
        cpu::count()
    )
}

async fn won(site: &Site, extent: Extent) -> Result<Row> {
    let mut pairs = Vec::new();
    for round in 0..extent.rounds {
        progress::say(WON.name, round, extent.rounds);
        let first = round * 2 * CONCERTS_PER_ROUND;
        let attempts = attempts(site, first).await?;
        site.settle().await?;
        let ours = one_run(site, extent, attempts)?;
        site.settle().await?;
        let script =
            INSERT.replace("$FIRST", &(first + CONCERTS_PER_ROUND).to_string()).replace("$SEATS", &SEATS.to_string());
        pairs.push((ours, pgbench(site, &script, CONCERTS_PER_ROUND * SEATS, "reservations", extent).await?));
    }
    let how = format!(
        "Each request holds another seat for another user. The ceiling inserts the reservation and nothing else: no look at \
         the limit per user, no change to the seat, no Redis. {} {CONNECTIONS} connections.",
        surroundings()
    );
    Ok(WON.row(&pairs, how))
}

/// One hold of each seat of some concerts.
async fn attempts(site: &Site, first: u32) -> Result<Vec<String>> {
    let mut attempts = Vec::new();
    for room in first..first + CONCERTS_PER_ROUND {
        let people = people::admitted(site, concert(room), usize::try_from(SEATS)?).await?;
        site.add_users(people.iter().map(|one| one.user)).await?;
        let credentials = people::credentials(site, concert(room), &people)?;
        attempts.extend((0..).zip(&credentials).map(|(number, (session, pass))| reserve(room, number, session, pass)));
    }
    Ok(attempts)
}

/// Answers a second to requests that are sent once.
fn one_run(site: &Site, extent: Extent, requests: Vec<String>) -> Result<f64> {
    let mut requests = Some(requests);
    let mut asking = Side {
        address: site.core_api().address().to_string(),
        requests: Box::new(|_| Ok(Requests::once(requests.take().unwrap_or_default()))),
        answers: Answers::Good,
        servers: vec![site.core_api().process().pid()],
    };
    Ok(asking.measure(0, extent.time)?.0.per_second)
}

/// Transactions a second that pgbench tells. Each has to have made a row of `table`: one that does nothing is fast.
async fn pgbench(site: &Site, script: &str, prepared: u32, table: &str, extent: Extent) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (file, per_client) = (folder.path().join("script.sql"), prepared / CONNECTIONS);
    std::fs::write(&file, script.replace("$PER_CLIENT", &per_client.to_string()))?;
    let psql = stack::postgres::Programs::find()?.psql();
    let mut command = programs::command(psql.with_file_name("pgbench"));
    command.args(["-n", "-M", "prepared", "-D", "i=0", "-j", "1", "-c", &CONNECTIONS.to_string()]);
    // As many as are prepared: where ours has more seconds than that takes, the rate is the same.
    let transactions = per_client.min(u32::try_from(extent.time.as_secs())? * 200);
    command.args(["-t", &transactions.to_string(), "-f"]).arg(&file).arg(&site.setup.database_url);
    let before = site.count(table).await?;
    let text = tokio::task::block_in_place(|| programs::output(&mut command))?;
    let made = site.count(table).await? - before;
    ensure!(
        made == i64::from(transactions * CONNECTIONS),
        "pgbench made {made} {table} in {CONNECTIONS} · {transactions}"
    );
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    Ok(tps.with_context(|| format!("pgbench said:\n{text}"))?.parse()?)
}

async fn payment(site: &Site, extent: Extent) -> Result<Row> {
    let mut pairs = Vec::new();
    for round in 0..extent.rounds {
        progress::say(PAYMENT.name, round, extent.rounds);
        let payments = payments(site, 2 * round).await?;
        site.settle().await?;
        let ours = one_run(site, extent, payments)?;
        let prefix = holds(site, 2 * round + 1).await?;
        site.settle().await?;
        let script = SINGLE.replace("$PREFIX", &prefix);
        pairs.push((ours, pgbench(site, &script, PAYMENTS, "payments", extent).await?));
    }
    let how = format!(
        "Each request pays for another hold of another user, with a balance. {} {CONNECTIONS} connections.",
        surroundings()
    );
    Ok(PAYMENT.row(&pairs, how))
}

/// Makes held seats, one for each payment; what their ids begin with.
async fn holds(site: &Site, part: u32) -> Result<String> {
    let prefix = format!("0191{part:04x}");
    site.execute(&HOLDS.replace("$PREFIX", &prefix).replace("$PAYMENTS", &PAYMENTS.to_string())).await?;
    Ok(prefix)
}

async fn payments(site: &Site, part: u32) -> Result<Vec<String>> {
    let (prefix, sessions) = (holds(site, part).await?, site.sessions()?);
    let pay = |n: u32| {
        let user: Uuid = format!("01900000-0000-7000-8000-{n:012}").parse()?;
        let authorization = format!("Bearer {}", people::session(&sessions, UserId::from(user)));
        let body = format!(r#"{{"reservationId":"{prefix}-0000-7000-8000-{n:012}"}}"#);
        Ok(request("POST", "/payment", &[("Authorization", &authorization)], Some(&body)))
    };
    let payments = (0..PAYMENTS).map(pay).collect::<Result<Vec<_>>>()?;
    ensure!(!payments.is_empty(), "nothing to pay");
    Ok(payments)
}
