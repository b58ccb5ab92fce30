//! The journey on the real thing, small: two gateways, two core-apis, every seat sold once.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};

#[test]
fn sixty_visitors_buy_a_concert_of_fifty_seats() -> Result<()> {
    // Its own Redis: the demo's concerts have the same ids in every stack.
    let redis = Redis::start(&RedisOptions::default())?;
    // Slow enough that most visitors have to wait, and no more inside than leave again.
    let limits = [("ADMIT_PER_SECOND", "15"), ("BURST", "5"), ("MAX_ACTIVE", "10")];
    let options = OnsaleOptions {
        gateways: 2,
        core_apis: 2,
        redis_url: Some(redis.url()),
        gateway_env: limits.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..OnsaleOptions::default()
    };
    let onsale = Onsale::start(&options)?;
    let folder = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_loadtests"))
        .args(["journey", "--users", "60", "--arrivals-per-second", "60", "--seed", "1"])
        .args(["--url", &onsale.url(), "--redis-url", &redis.url()])
        .args(["--database-url", &onsale.setup().database_url])
        .envs(limits)
        .arg("--report")
        .arg(folder.path())
        .output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0), "{stdout}\n{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json"))?)?;
    ensure!(report["seatsSold"] == 50, "{stdout}");
    ensure!(report["outcomes"]["no seat left"] == 10, "{stdout}");
    let findings = report["findings"].as_array().context("no findings")?;
    for finding in findings {
        ensure!(finding["notChecked"].is_null(), "{finding}");
    }
    // Somebody had to wait, or nothing was shown about the order.
    let waited = findings.iter().find(|finding| finding["name"] == "visitor_order").context("no order")?;
    ensure!(!waited["title"].as_str().unwrap_or_default().contains(" 0 waited"), "{waited}");
    Ok(())
}
