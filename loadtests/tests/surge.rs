//! The surge: what is made before it, what it does, what it notices, and its exit codes.

mod fake_onsale;
mod generator;

use anyhow::{Context, Result};
use fake_onsale::{Fault, start};
use generator::{Ran, run, run_until};
use loadtests::invariants::Database;
use serde_json::Value;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// A database of its own, which the accounts are made in.
struct Prepared {
    database: stack::postgres::Database,
}

impl Prepared {
    async fn new() -> Result<Self> {
        Ok(Self { database: tokio::task::spawn_blocking(stack::shared::migrated_database).await?? })
    }

    /// 12 people for 8 seats, and how many of them left by saying so; nothing of the sale is in the database.
    async fn surge(&self, fault: Fault, more: &[&str]) -> Result<(Ran, u64)> {
        self.surge_until(fault, more, std::future::pending()).await
    }

    /// The same, ended by Ctrl-C once there is `enough`.
    async fn surge_until(
        &self,
        fault: Fault,
        more: &[&str],
        enough: impl Future<Output = Result<()>>,
    ) -> Result<(Ran, u64)> {
        let url = format!("http://{}", start(8, fault).await?);
        let folder = tempfile::tempdir()?;
        let secret = folder.path().join("secrets.env");
        std::fs::write(&secret, "SESSION_SECRET=a-secret-of-the-test-that-is-long-enough\n")?;
        let (secret, database) = (secret.display().to_string(), self.database.url());
        let base = ["surge", "--url", &url, "--users", "12", "--within-seconds", "1", "--seats", "8", "--seed", "5"];
        let stores = ["--database-url", &database, "--session-secret-file", &secret, "--no-check"];
        let ran = run_until(&[&base[..], &stores, more].concat(), enough).await?;
        let concerts: Value = reqwest::get(format!("{url}/concerts")).await?.json().await?;
        let left = concerts["data"][0]["left"].as_u64().context("no count")?;
        assert!(!format!("{:?}{}", ran.output, ran.report).contains("long-enough"), "a secret is never shown");
        Ok((ran, left))
    }
}

fn over_time(ran: &Ran, name: &str) -> u64 {
    let buckets = ran.report["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    buckets.iter().filter_map(|bucket| bucket[name].as_u64()).sum()
}

#[tokio::test]
async fn everything_is_sold_and_the_others_go_home() -> Result<()> {
    let prepared = Prepared::new().await?;
    let (ran, left) = prepared.surge(Fault::None, &["--set-admit-per-second", "40.5"]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!(ran.report["outcomes"]["bought a ticket"], 8);
    assert_eq!(ran.report["outcomes"]["no seat left"], 4);
    assert!(ran.report["soldOutAfterSeconds"].is_number());
    let counts = ["sign up", "join queue", "poll queue", "pay", "leave queue"].map(|step| ran.count(step));
    assert_eq!((counts, left), ([Some(0), Some(12), Some(24), Some(8), Some(12)], 12));
    let sums = ["arrivals", "joins", "polls", "admissions", "holds", "sales", "tooMany", "unavailable"]
        .map(|name| over_time(&ran, name));
    assert_eq!(sums, [12, 12, 24, 12, 8, 8, 0, 0]);
    let conditions = ran.report["conditions"].to_string();
    assert!(conditions.contains("12 accounts") && conditions.contains("admitPerSecond 40.5"), "{conditions}");
    Ok(())
}

#[tokio::test]
async fn accounts_have_money_by_the_ledger_and_nobody_may_run_sales_afterwards() -> Result<()> {
    let prepared = Prepared::new().await?;
    let (ran, _) = prepared.surge(Fault::None, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    let findings = Database::connect(&prepared.database.url()).await?.check().await?;
    let broken: Vec<_> = findings.iter().filter(|finding| finding.is_broken()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let mut connection = PgConnection::connect(&prepared.database.url()).await?;
    let (rich, administrators): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE balance = 110000), count(*) FILTER (WHERE role <> 'user') FROM users",
    )
    .fetch_one(&mut connection)
    .await?;
    assert_eq!((rich, administrators), (12, 0));
    Ok(())
}

/// However a run ends: nobody is left who may run sales, those of runs that were killed included.
#[tokio::test]
async fn whoever_was_made_an_administrator_is_none_any_more() -> Result<()> {
    let prepared = Prepared::new().await?;
    let mut connection = PgConnection::connect(&prepared.database.url()).await?;
    let administrators = "SELECT count(*) FROM users WHERE role <> 'user'";
    let made = "INSERT INTO users (id, username, email, role)
                SELECT id, 'u', format(email, id), 'admin' FROM (VALUES
                    (gen_random_uuid(), 'load-admin-%s@load.example'), (gen_random_uuid(), 'somebody-%s@example.test')) AS u (id, email)";
    sqlx::query(made).execute(&mut connection).await?;
    // The concert never becomes known, so that the run is still being prepared when it is ended.
    let during = async {
        let appointed = "SELECT count(*) FROM users WHERE username = 'load test' AND role = 'admin'";
        while sqlx::query_scalar::<_, i64>(appointed).fetch_one(&mut connection).await? == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(())
    };
    let (ran, _) = prepared.surge_until(Fault::HidesTheConcert, &[], during).await?;
    let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
    assert_eq!(ran.code(), Some(2), "{stderr}");
    assert!(stderr.contains("ended by Ctrl-C"), "{stderr}");
    let left: i64 = sqlx::query_scalar(administrators).fetch_one(&mut connection).await?;
    assert_eq!(left, 1, "all but the one who is none of ours");
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_not_said_to_take_nothing() -> Result<()> {
    let (ran, _) = Prepared::new().await?.surge(Fault::None, &["--processes", "gone=4194304"]).await?;
    let process = &ran.report["surge"]["processes"][0];
    assert_eq!((&process["name"], &process["cpuCoresMean"]), (&"gone".into(), &Value::Null), "{process}");
    assert!(ran.stdout().contains("Nothing is known of gone"), "{}", ran.stdout());
    Ok(())
}

#[tokio::test]
async fn processes_are_measured_or_it_is_said_why_not() -> Result<()> {
    let prepared = Prepared::new().await?;
    let (ran, _) = prepared.surge(Fault::None, &[]).await?;
    let names = |ran: &Ran| -> Vec<String> {
        let processes = ran.report["surge"]["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
        processes.iter().filter_map(|process| process["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names(&ran), ["generator"]);
    assert!(ran.report["surge"]["notMeasured"].as_str().is_some_and(|why| why.contains("--processes")));
    assert!(ran.stdout().contains("Not measured were the stack's processes"), "{}", ran.stdout());
    let this = format!("fake={}", std::process::id());
    let (ran, _) = prepared.surge(Fault::None, &["--processes", &this]).await?;
    assert_eq!(names(&ran), ["fake", "generator"]);
    assert!(ran.report["surge"]["notMeasured"].is_null());
    let memory = &ran.report["surge"]["processes"][0]["memoryMaxBytes"];
    assert!(memory.as_u64() > Some(0), "{memory}");
    Ok(())
}

#[tokio::test]
async fn who_finds_a_seat_taken_takes_the_best_there_is() -> Result<()> {
    let (ran, _) = Prepared::new().await?.surge(Fault::ChosenIsTaken, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!((&ran.report["seatsSold"], over_time(&ran, "holds")), (&8.into(), 8));
    Ok(())
}

#[tokio::test]
async fn who_is_told_that_nothing_is_left_leaves() -> Result<()> {
    let (ran, left) = Prepared::new().await?.surge(Fault::SaysNothingIsLeft, &[]).await?;
    assert_eq!((&ran.report["outcomes"]["no seat left"], left), (&12.into(), 12), "{:?}", ran.output);
    assert_eq!((ran.code(), &ran.finding("sold_out")["broken"]), (Some(1), &8.into()), "it was not true");
    Ok(())
}

#[tokio::test]
async fn being_told_to_come_later_is_counted_and_no_failure() -> Result<()> {
    let (ran, _) = Prepared::new().await?.surge(Fault::BusyPolls, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!((over_time(&ran, "unavailable"), over_time(&ran, "failures")), (12, 12));
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_noticed() -> Result<()> {
    let prepared = Prepared::new().await?;
    for (fault, finding, broken) in [
        (Fault::HidesASeat, "sold_out", 1),
        (Fault::SellsTwice, "visitor_sold_once", 1),
        (Fault::Overtakes, "visitor_order", 1),
    ] {
        // The first to join waits for ever if that is the fault.
        let (ran, _) = prepared.surge(fault, &["--order-slack-ms", "100", "--max-duration-seconds", "2"]).await?;
        assert_eq!(ran.code(), Some(1), "{fault:?}: {:?}", ran.output);
        assert!(ran.finding(finding)["broken"].as_u64() >= Some(broken), "{fault:?}: {}", ran.failures());
    }
    let (ran, _) = prepared.surge(Fault::PushesBack, &[]).await?;
    assert!(ran.failures().contains("contract"), "{}", ran.failures());
    Ok(())
}

#[tokio::test]
async fn without_a_database_it_says_what_to_do() -> Result<()> {
    let url = format!("http://{}", start(1, Fault::None).await?);
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secrets.env");
    std::fs::write(&secret, "SESSION_SECRET=a-secret-of-the-test-that-is-long-enough\n")?;
    let secret = secret.display().to_string();
    let ran = run(&["surge", "--url", &url, "--users", "1", "--no-check", "--session-secret-file", &secret]).await?;
    let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
    assert_eq!(ran.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cargo xtask up") && stderr.contains("--database-url"), "{stderr}");
    Ok(())
}
