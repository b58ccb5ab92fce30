//! What a payment costs PostgreSQL: one statement for each, driven by pgbench, against the group commit of the service, in
//! the same run and by turns. `cargo bench -p core-api --bench payment_cost` prints the figures; it judges nothing.
//!
//! Both have 64 clients, each of which pays for one reservation after the other, on one private PostgreSQL that flushes
//! its commits to disk. CPU is that of all of PostgreSQL's processes. What pgbench's connections cost to make is taken
//! off its CPU; those of the service are there before.

#![allow(clippy::unwrap_used, reason = "a benchmark that can not go on stops")]
#![expect(clippy::print_stdout, reason = "what it is for is what it prints")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::ids::{ReservationId, UserId};
use core_api::domain::effect::{Answer, Record};
use core_api::service::Payments;
use core_api::store::postgres::Db;
use sqlx::PgPool;
use stack::postgres::{Postgres, PostgresOptions, Programs};
use stack::proc_fs::{PROC, Processes, TICKS_PER_SECOND};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CLIENTS: u32 = 64;
const PAYMENTS_PER_CLIENT: u32 = 250;
const PAYMENTS: u32 = CLIENTS * PAYMENTS_PER_CLIENT;
const ROUNDS: u32 = 7;
/// As many as a core-api holds by default.
const CONNECTIONS: u32 = 16;

/// The users: each client has its own, so that nobody waits for a row.
const USERS: &str = include_str!("payment_cost/users.sql");

/// Held seats of a concert, one for each payment of a part.
const HOLDS: &str = include_str!("payment_cost/holds.sql");

/// The single-statement payment: locks, decides and writes as the service does, for one.
const SINGLE: &str = include_str!("payment_cost/single.sql");

/// What one part of a round came to.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_us: f64,
    per_second: f64,
}

/// The bench's surroundings.
struct Bench {
    postgres: Postgres,
    pool: PgPool,
    url: String,
    scripts: tempfile::TempDir,
}

impl Bench {
    fn cpu_seconds(&self) -> f64 {
        cpu_ticks(self.postgres.process().pid()) / TICKS_PER_SECOND
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Seats that are held, and a database at rest; what the holds' ids begin with.
    async fn prepare(&self, part: u32) -> String {
        let prefix = format!("0191{part:04x}");
        let holds = HOLDS.replace("$PREFIX", &prefix).replace("$PAYMENTS", &PAYMENTS.to_string());
        self.execute(&holds).await;
        for table in ["users", "seats", "reservations", "payments", "ledger_entries"] {
            self.execute(&format!("VACUUM (ANALYZE) {table}")).await;
        }
        let checkpoint = tokio::task::spawn_blocking({
            let server = self.postgres.server().clone();
            move || server.admin_sql("CHECKPOINT").unwrap()
        });
        checkpoint.await.unwrap();
        prefix
    }

    /// pgbench with a script; the payments a second that it tells.
    async fn pgbench(&self, script: &str, transactions: u32) -> f64 {
        let file: PathBuf = self.scripts.path().join("script.sql");
        fs::write(&file, script).unwrap();
        let mut command = Command::new(Programs::find().unwrap().psql().with_file_name("pgbench"));
        command.args(["-n", "-M", "prepared", "-D", "i=0", "-j", "2", "-c", &CLIENTS.to_string()]);
        command.args(["-t", &transactions.to_string(), "-f"]).arg(&file).arg(&self.url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        tps.unwrap().parse().unwrap()
    }

    async fn single(&self, part: u32) -> Cost {
        let prefix = self.prepare(part).await;
        let before = self.cpu_seconds();
        self.pgbench("SELECT 1;", 1).await;
        let connecting = self.cpu_seconds() - before;
        let script = SINGLE.replace("$PREFIX", &prefix).replace("$PER_CLIENT", &PAYMENTS_PER_CLIENT.to_string());
        let before = self.cpu_seconds();
        let per_second = self.pgbench(&script, PAYMENTS_PER_CLIENT).await;
        let cpu = self.cpu_seconds() - before - connecting;
        self.assert_all_paid(&prefix).await;
        Cost { cpu_us: cpu * 1e6 / f64::from(PAYMENTS), per_second }
    }

    async fn grouped(&self, part: u32, payments: &Payments) -> Cost {
        let prefix = self.prepare(part).await;
        let (before, begun) = (self.cpu_seconds(), Instant::now());
        let clients = (0..CLIENTS).map(|client| tokio::spawn(pay_all(payments.clone(), prefix.clone(), client)));
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let (elapsed, cpu) = (begun.elapsed(), self.cpu_seconds() - before);
        self.assert_all_paid(&prefix).await;
        let payments = f64::from(PAYMENTS);
        Cost { cpu_us: cpu * 1e6 / payments, per_second: payments / elapsed.as_secs_f64() }
    }

    /// What was not paid would have cost nothing.
    async fn assert_all_paid(&self, prefix: &str) {
        let concert: Uuid = format!("{prefix}-0000-7000-8000-000000000000").parse().unwrap();
        let query = "SELECT count(*) FROM reservations WHERE concert_id = $1 AND status = 'completed'";
        let paid: i64 = sqlx::query_scalar(query).bind(concert).fetch_one(&self.pool).await.unwrap();
        assert_eq!(paid, i64::from(PAYMENTS));
    }
}

/// One client's payments, one after the other.
async fn pay_all(payments: Payments, prefix: String, client: u32) {
    for i in 0..PAYMENTS_PER_CLIENT {
        let id = |prefix: &str| -> Uuid {
            format!("{prefix}-0000-7000-8000-{:012}", client * PAYMENTS_PER_CLIENT + i).parse().unwrap()
        };
        let (user, reservation) = (UserId::from(id("01900000")), ReservationId::from(id(&prefix)));
        let record = Record::new(None, |_| Answer { status: 200, body: Vec::new() });
        payments.pay(user, vec![reservation], record).await.unwrap();
    }
}

/// CPU of a process, of those of its children that have ended, and of the others: it itself has to have waited for them.
#[expect(clippy::cast_precision_loss, reason = "some hours of ticks")]
fn cpu_ticks(root: u32) -> f64 {
    let processes = Processes::read(Path::new(PROC)).unwrap();
    let root_ticks = processes.get(root).map_or(0, |process| process.cpu_ticks + process.ended_children_ticks);
    let children = processes.children(root).iter().filter_map(|child| processes.get(*child));
    (root_ticks + children.map(|child| child.cpu_ticks).sum::<u64>()) as f64
}

/// `median (min–max)`.
fn spread(mut figures: Vec<f64>) -> (f64, String) {
    figures.sort_by(f64::total_cmp);
    let median = figures[figures.len() / 2];
    (median, format!("{median:.0} ({:.0}–{:.0})", figures[0], figures[figures.len() - 1]))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let postgres = Postgres::start(&PostgresOptions { durable: true, ..PostgresOptions::default() }).unwrap();
    let url = postgres.url("onsale");
    Db::migrate(&url).await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let bench = Bench { postgres, pool, url: url.clone(), scripts: tempfile::tempdir().unwrap() };
    bench.execute(&USERS.replace("$PAYMENTS", &PAYMENTS.to_string())).await;
    let (payments, batches) = Payments::new(Db::new(&url, CONNECTIONS).unwrap());
    let stopping = CancellationToken::new();
    let batches = tokio::spawn(batches.run(stopping.clone()));
    let (mut single, mut grouped) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // By turns, and each is first as often as the other; round 0 warms both up and is not counted.
        let (one, many) = if round % 2 == 0 {
            let one = bench.single(2 * round).await;
            (one, bench.grouped(2 * round + 1, &payments).await)
        } else {
            let many = bench.grouped(2 * round, &payments).await;
            (bench.single(2 * round + 1).await, many)
        };
        println!("round {round}: {one:?} {many:?}");
        if round > 0 {
            single.push(one);
            grouped.push(many);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stopping.cancel();
    batches.await.unwrap();
    for check in &invariants::CHECKS {
        let broken: Vec<(i64, String)> = sqlx::query_as(check.sql).fetch_all(&bench.pool).await.unwrap();
        assert!(broken.is_empty(), "{}: {broken:?}", check.title);
    }
    print(&single, &grouped);
}

fn print(single: &[Cost], grouped: &[Cost]) {
    let figures = |costs: &[Cost]| {
        let cpu = spread(costs.iter().map(|cost| cost.cpu_us).collect());
        (cpu, spread(costs.iter().map(|cost| cost.per_second).collect()))
    };
    let ((single_cpu, single_rate), (grouped_cpu, grouped_rate)) = (figures(single), figures(grouped));
    println!("{CLIENTS} clients, {PAYMENTS} payments a part, {ROUNDS} rounds: median (min–max)\n");
    println!("| Way | PostgreSQL CPU a payment (µs) | Payments a second |");
    println!("|---|---|---|");
    println!("| One statement each (pgbench) | {} | {} |", single_cpu.1, single_rate.1);
    println!("| Group commit (the service) | {} | {} |", grouped_cpu.1, grouped_rate.1);
    let (cpu, rate) = (grouped_cpu.0 / single_cpu.0, grouped_rate.0 / single_rate.0);
    println!("\nGroup commit: {cpu:.2} of the CPU, {rate:.2} times the payments.");
}
