//! The scenarios on the real thing, small: two gateways, two core-apis.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};

/// A stack with a Redis of its own: the demo's concerts have the same ids in every stack.
fn start(limits: &[(&str, &str)]) -> Result<(Redis, Onsale)> {
    let redis = Redis::start(&RedisOptions::default())?;
    let core_api_env = [("HOLD_SECONDS".to_owned(), "2".to_owned())].into();
    let options = OnsaleOptions {
        core_api_env,
        gateways: 2,
        core_apis: 2,
        redis_url: Some(redis.url()),
        gateway_env: limits.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..OnsaleOptions::default()
    };
    let onsale = Onsale::start(&options)?;
    Ok((redis, onsale))
}

/// What a run printed, and its report.
fn run(load: &mut Command, redis: &Redis, onsale: &Onsale) -> Result<(String, serde_json::Value)> {
    let folder = tempfile::tempdir()?;
    load.args(["--url", &onsale.url(), "--redis-url", &redis.url()]).arg("--report").arg(folder.path());
    let Output { status, stdout, stderr } = load.output()?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    ensure!(status.code() == Some(0), "{stdout}\n{}", String::from_utf8_lossy(&stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json"))?)?;
    Ok((stdout, report))
}

fn findings(report: &serde_json::Value) -> Result<&Vec<serde_json::Value>> {
    let findings = report["findings"].as_array().context("no findings")?;
    for finding in findings {
        ensure!(finding["notChecked"].is_null(), "{finding}");
    }
    // Somebody had to wait, or nothing was shown about the order.
    let waited = findings.iter().find(|finding| finding["name"] == "visitor_order").context("no order")?;
    ensure!(!waited["title"].as_str().unwrap_or_default().contains(" 0 waited"), "{waited}");
    Ok(findings)
}

#[test]
fn sixty_visitors_buy_a_concert_of_fifty_seats() -> Result<()> {
    // Slow enough that most visitors have to wait, and no more inside than leave again.
    let limits = [("ADMIT_PER_SECOND", "15"), ("BURST", "5"), ("MAX_ACTIVE", "10")];
    let (redis, onsale) = start(&limits)?;
    let mut load = Command::new(env!("CARGO_BIN_EXE_loadtests"));
    load.args(["journey", "--users", "60", "--arrivals-per-second", "60", "--seed", "1"]);
    // Some pay too late for their first seat, and everybody's time to pay is two seconds.
    load.args(["--lapse", "0.2"]);
    load.args(["--database-url", &onsale.setup().database_url]).envs(limits);
    let (stdout, report) = run(&mut load, &redis, &onsale)?;
    ensure!(report["seatsSold"] == 50, "{stdout}");
    ensure!(report["outcomes"]["no seat left"] == 10, "{stdout}");
    let findings = findings(&report)?;
    for name in ["held_throughout", "lock_has_reservation"] {
        ensure!(findings.iter().any(|finding| finding["name"] == name), "{name}: {report}");
    }
    let steps = report["steps"].as_array().context("no steps")?;
    let resale = steps.iter().find(|step| step["step"] == "deadline to held again").context("no resale")?;
    ensure!(resale["latencyMicros"]["count"].as_u64().is_some_and(|count| count > 0), "{resale}");
    Ok(())
}

#[test]
fn two_hundred_wait_for_their_turn_or_give_up() -> Result<()> {
    let (redis, onsale) = start(&[("ADMIT_PER_SECOND", "40"), ("BURST", "5"), ("MAX_ACTIVE", "400")])?;
    let mut load = Command::new(env!("CARGO_BIN_EXE_loadtests"));
    load.args(["wait", "--users", "200", "--arrivals-per-second", "200", "--abandon", "0.2", "--leave", "0.5"]);
    load.args(["--stay-ms", "500", "--seed", "1"]).env("SESSION_SECRET", onsale.setup().secrets.get("SESSION_SECRET")?);
    // The limits are those that the room itself keeps.
    for name in ["ADMIT_PER_SECOND", "BURST", "MAX_ACTIVE"] {
        load.env_remove(name);
    }
    load.args(["--database-url", &onsale.setup().database_url]);
    let (stdout, report) = run(&mut load, &redis, &onsale)?;
    ensure!(findings(&report)?.len() == 8, "{report}");
    let outcome = |name: &str| report["outcomes"][name].as_u64().unwrap_or_default();
    let gone = outcome("closed the tab in line") + outcome("left the line");
    // A fifth of those in line have it in mind; whose turn comes before their moment does not go.
    ensure!((5..=60).contains(&gone), "{stdout}");
    ensure!(outcome("was inside and left") + gone == 200, "{stdout}");
    let waits = &report["waits"];
    let judged = waits["toldAtJoining"]["count"].as_u64().unwrap_or_default();
    ensure!(judged + waits["admittedAtOnce"].as_u64().unwrap_or_default() == 200 - gone, "{waits}");
    // The room was asked, and knew them by the ids that they have there.
    let compared = waits["ahead"]["compared"].as_u64().unwrap_or_default();
    ensure!(compared >= 10 && waits["ahead"]["notAsked"] == 0, "{waits}");
    Ok(())
}

#[test]
fn three_hundred_surge_to_a_hundred_seats() -> Result<()> {
    let (redis, onsale) = start(&[])?;
    let process = |name: String, process: &stack::process::Process| format!("{name}={}", process.pid());
    let services = onsale.gateways().iter().chain(onsale.core_apis()).map(stack::onsale::Service::process);
    let mut processes: Vec<_> = services.map(|it| process(it.name().to_owned(), it)).collect();
    processes.push(process("nginx".to_owned(), onsale.nginx().process()));
    let mut load = Command::new(env!("CARGO_BIN_EXE_loadtests"));
    load.args(["surge", "--users", "300", "--within-seconds", "2", "--seats", "100", "--seed", "1"]);
    // Slow enough that most have to wait.
    load.args(["--set-admit-per-second", "40", "--set-burst", "5", "--set-max-active", "40"]);
    load.args(["--check-every-seconds", "1", "--processes", &processes.join(",")]);
    load.args(["--database-url", &onsale.setup().database_url]);
    load.env("SESSION_SECRET", onsale.setup().secrets.get("SESSION_SECRET")?);
    // The limits are those that the room itself keeps.
    for name in ["ADMIT_PER_SECOND", "BURST", "MAX_ACTIVE"] {
        load.env_remove(name);
    }
    let (stdout, report) = run(&mut load, &redis, &onsale)?;
    ensure!(report["seatsSold"] == 100 && report["outcomes"]["no seat left"] == 200, "{stdout}");
    let findings = findings(&report)?;
    for name in ["held_throughout", "balance_is_ledger", "room_rate", "room_max_active", "visitor_order", "sold_out"] {
        ensure!(findings.iter().any(|finding| finding["name"] == name), "{name}: {report}");
    }
    let measured = report["surge"]["processes"].as_array().context("no processes")?;
    ensure!(measured.len() == 6, "{measured:?}");
    ensure!(measured.iter().all(|process| process["memoryMaxBytes"].as_u64() > Some(1 << 20)), "{measured:?}");
    Ok(())
}
