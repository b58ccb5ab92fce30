//! The load generator itself: what it does, what it notices, and its exit codes.

mod fake_onsale;
mod generator;

use std::time::Duration;

use anyhow::{Context, Result};
use fake_onsale::{Fault, start};
use generator::{Ran, run, run_until};
use serde_json::Value;
use stack::wait::PATIENCE;

/// 12 visitors for `seats` seats, without stores to check.
async fn journey(seats: usize, fault: Fault, more: &[&str]) -> Result<Ran> {
    let url = format!("http://{}", start(seats, fault).await?);
    let base = ["journey", "--url", &url, "--users", "12", "--arrivals-per-second", "200", "--seed", "5", "--no-check"];
    run(&[&base, more].concat()).await
}

#[tokio::test]
async fn all_seats_are_sold_and_the_others_go_home() -> Result<()> {
    let ran = journey(8, Fault::None, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!(ran.report["passed"], true);
    assert_eq!(ran.report["seatsSold"], 8);
    assert_eq!(ran.report["amountSold"], "240");
    assert_eq!(ran.report["outcomes"]["bought a ticket"], 8);
    assert_eq!(ran.report["outcomes"]["no seat left"], 4);
    assert!(ran.report["soldOutAfterSeconds"].is_number());
    let count = |name: &str| ran.count(name);
    for (step, expected) in
        [("sign up", 12), ("log in", 12), ("charge balance", 12), ("join queue", 12), ("poll queue", 24)]
    {
        assert_eq!(count(step), Some(expected), "{step}");
    }
    assert_eq!((count("pay"), count("leave queue"), count("whole journey")), (Some(8), Some(12), Some(8)));
    let stdout = ran.stdout();
    assert!(stdout.contains("passed: all is well") && !stdout.contains('\x1b'), "{stdout}");
    Ok(())
}

#[tokio::test]
async fn a_visitor_comes_back_when_told_to() -> Result<()> {
    let ran = journey(20, Fault::BusyPayments, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{}", ran.failures());
    assert_eq!(ran.report["seatsSold"], 12);
    assert_eq!(ran.report["retries"], 12);
    let pay = ran.report["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["step"] == "pay"));
    let fastest = pay.and_then(|pay| pay["latencyMicros"]["p50"].as_u64()).context("no figure")?;
    assert!(fastest >= 1_000_000, "the wait counts: {fastest} µs");
    assert_eq!(pay.map(|pay| pay["errors"]["too_many_requests"].clone()), Some(12.into()));
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_noticed() -> Result<()> {
    for (fault, says) in [
        (Fault::BusyPaymentsWithoutAdvice, "429 or 503 without Retry-After"),
        (Fault::SellsTwice, "no seat was sold to two visitors"),
        (Fault::BrokenPayments, "12 answers with a 5xx"),
        (Fault::PushesBack, "answers that the contract does not allow"),
    ] {
        let ran = journey(if fault == Fault::SellsTwice { 1 } else { 20 }, fault, &[]).await?;
        assert_eq!(ran.code(), Some(1), "{fault:?}");
        assert!(ran.failures().contains(says), "{fault:?}: {}", ran.failures());
    }
    Ok(())
}

#[tokio::test]
async fn an_overtaken_visitor_is_noticed() -> Result<()> {
    let limits = ["--order-slack-ms", "100", "--visitor-seconds", "1"];
    let ran = journey(20, Fault::Overtakes, &limits).await?;
    assert_eq!(ran.code(), Some(1));
    assert_eq!(ran.finding("visitor_order")["broken"], 1);
    assert_eq!(ran.report["outcomes"]["out of time"], 1);
    let fine = journey(20, Fault::None, &limits).await?;
    assert_eq!(fine.finding("visitor_order")["broken"], 0);
    Ok(())
}

#[tokio::test]
async fn the_time_limit_ends_a_run_with_a_report() -> Result<()> {
    let ran = journey(20, Fault::Overtakes, &["--max-duration-seconds", "1"]).await?;
    assert_eq!(ran.code(), Some(1));
    assert_eq!(ran.report["outcomes"]["interrupted"], 1);
    assert!(ran.report["interruptedBy"].as_str().is_some_and(|by| by.contains("time limit")));
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_a_run_with_a_report() -> Result<()> {
    let url = format!("http://{}", start(20, Fault::Overtakes).await?);
    let base = ["journey", "--url", &url, "--users", "12", "--arrivals-per-second", "200", "--no-check"];
    let all_joined = async {
        loop {
            let concerts: Value = reqwest::get(format!("{url}/concerts")).await?.json().await?;
            if concerts["data"][0]["joined"] == 12 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ran = tokio::time::timeout(PATIENCE, run_until(&base, all_joined)).await??;
    assert_eq!(ran.code(), Some(0), "being stopped by hand is no failure: {:?}", ran.output);
    assert_eq!(ran.report["interruptedBy"], "Ctrl-C");
    let outcomes = ran.report["outcomes"].as_object().context("no outcomes")?;
    assert_eq!(outcomes.values().filter_map(Value::as_u64).sum::<u64>(), 12, "everybody is accounted for");
    assert!(outcomes["interrupted"].as_u64() >= Some(1));
    Ok(())
}

#[tokio::test]
async fn what_can_not_be_run_is_said_and_exits_with_2() -> Result<()> {
    let port = stack::ports::free_port()?;
    let nobody = format!("http://127.0.0.1:{port}");
    let visitors = ["--users", "1", "--arrivals-per-second", "1"];
    let url = format!("http://{}", start(1, Fault::None).await?);
    for (arguments, says) in [
        (vec!["--url", &nobody, "--no-check"], "connection refused"),
        (vec!["--url", "http://203.0.113.1", "--no-check"], "--i-own-this-target"),
        (vec!["--url", &url], "cargo xtask up"),
        (vec!["--users", "0"], "--users"),
    ] {
        let ran =
            run(&[vec!["journey"], visitors[..if says == "--users" { 0 } else { 4 }].to_vec(), arguments].concat())
                .await?;
        let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
        assert_eq!(ran.code(), Some(2), "{says}: {stderr}");
        assert!(stderr.contains(says), "{says}: {stderr}");
    }
    Ok(())
}
