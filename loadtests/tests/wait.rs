//! The scenario of the waiting room: what it does, what it notices, and its exit codes.

mod fake_onsale;
mod generator;

use anyhow::{Context, Result};
use fake_onsale::{Fault, start};
use generator::{Ran, run};
use serde_json::Value;

/// 12 visitors who wait to the end, without stores to check, and how many of them left by saying so.
async fn wait(fault: Fault, more: &[&str]) -> Result<(Ran, u64)> {
    let url = format!("http://{}", start(1, fault).await?);
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secrets.env");
    std::fs::write(&secret, "TICKET_SECRET=x\nSESSION_SECRET=a-secret-of-the-test-that-is-long-enough\n")?;
    let secret = secret.display().to_string();
    let base = ["wait", "--url", &url, "--users", "12", "--arrivals-per-second", "12", "--seed", "5", "--no-check"];
    let more_base = ["--stay-ms", "10", "--session-secret-file", &secret];
    let abandon: &[&str] = if more.contains(&"--abandon") { &[] } else { &["--abandon", "0"] };
    let ran = run(&[&base[..], &more_base, abandon, more].concat()).await?;
    let concerts: Value = reqwest::get(format!("{url}/concerts")).await?.json().await?;
    let left = concerts["data"][0]["left"].as_u64().context("no count")?;
    assert!(!format!("{:?}{}", ran.output, ran.report).contains("long-enough"), "a secret is never shown");
    Ok((ran, left))
}

#[tokio::test]
async fn all_wait_stay_for_a_moment_and_leave() -> Result<()> {
    let (ran, left) = wait(Fault::None, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!(ran.report["arrivals"], "all at once");
    assert_eq!(ran.report["outcomes"]["was inside and left"], 12);
    assert_eq!(left, 12);
    let counts = ["join queue", "poll queue", "wait for admission", "leave queue", "sign up"].map(|it| ran.count(it));
    assert_eq!(counts, [Some(12), Some(24), Some(12), Some(12), Some(0)]);
    let waits = &ran.report["waits"];
    // Told 0–2 seconds, and in after two polls of 30 ms.
    assert_eq!((&waits["toldAtJoining"]["count"], &waits["toldAtJoining"]["withinShare"]), (&12.into(), &1.0.into()));
    assert_eq!((&waits["toldAtPolls"]["count"], &waits["admittedAtOnce"]), (&12.into(), &0.into()));
    let over_time = ran.report["timeline"].as_array().context("no timeline")?;
    let sum = |name: &str| over_time.iter().filter_map(|bucket| bucket[name].as_u64()).sum::<u64>();
    assert_eq!((sum("joins"), sum("polls"), sum("admissions")), (12, 24, 12));
    assert!(ran.stdout().contains("within the range told at joining (target 80.0 %)\n    100.0 % of 12"));
    Ok(())
}

#[tokio::test]
async fn who_gives_up_closes_the_tab_or_leaves() -> Result<()> {
    let (ran, left) = wait(Fault::None, &["--abandon", "1", "--leave", "0.5"]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    let outcome = |name: &str| ran.report["outcomes"][name].as_u64().unwrap_or_default();
    let (closed, said_so) = (outcome("closed the tab in line"), outcome("left the line"));
    assert_eq!((closed + said_so, said_so), (12, left));
    assert!(closed > 0 && said_so > 0, "the seed decides: {closed} {said_so}");
    assert_eq!(ran.report["waits"]["toldAtJoining"]["count"], 0, "only who is admitted is judged");
    Ok(())
}

#[tokio::test]
async fn a_misleading_estimate_is_a_figure_and_no_failure() -> Result<()> {
    let (ran, _) = wait(Fault::Misleads, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    let told = &ran.report["waits"]["toldAtJoining"];
    assert_eq!((&told["withinShare"], &told["sooner"], &told["later"]), (&0.0.into(), &12.into(), &0.into()));
    Ok(())
}

#[tokio::test]
async fn a_poll_turned_away_comes_back_when_told_to_and_is_counted() -> Result<()> {
    let (ran, _) = wait(Fault::BusyPolls, &[]).await?;
    assert_eq!(ran.code(), Some(0), "{:?}", ran.output);
    assert_eq!((&ran.report["answersByStatus"]["503"], &ran.report["retries"]), (&12.into(), &12.into()));
    let polls = ran.report["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["step"] == "poll queue"));
    let longest = polls.and_then(|polls| polls["latencyMicros"]["max"].as_u64()).context("no figure")?;
    assert!(longest >= 1_000_000, "the wait counts: {longest} µs");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_noticed() -> Result<()> {
    for (fault, finding, broken) in [
        (Fault::PushesBack, "ahead_never_rises", 24),
        (Fault::Renumbers, "position_is_kept", 24),
        (Fault::Overtakes, "visitor_order", 1),
    ] {
        // The first to join waits for ever if that is the fault.
        let (ran, _) = wait(fault, &["--order-slack-ms", "100", "--max-seconds", "1"]).await?;
        assert_eq!(ran.code(), Some(1), "{fault:?}");
        assert_eq!(ran.finding(finding)["broken"], broken, "{fault:?}: {}", ran.failures());
    }
    let (ran, _) = wait(Fault::LetsNobodyIn, &["--max-seconds", "1"]).await?;
    assert_eq!(ran.code(), Some(1));
    assert!(ran.failures().contains("nobody was admitted"), "{}", ran.failures());
    assert_eq!(ran.report["outcomes"]["interrupted"], 12);
    Ok(())
}

#[tokio::test]
async fn without_a_secret_it_says_what_to_do() -> Result<()> {
    let url = format!("http://{}", start(1, Fault::None).await?);
    let ran = run(&["wait", "--url", &url, "--users", "1", "--arrivals-per-second", "1", "--no-check"]).await?;
    let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
    assert_eq!(ran.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cargo xtask up") && stderr.contains("--session-secret-file"), "{stderr}");
    Ok(())
}
