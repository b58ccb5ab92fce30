//! Offers that pile up while nobody claims them do not become a flood of admissions.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use stack::redis::{Redis, RedisOptions};

use super::site::{BOTH, Site, assert_stands, eventually, position, token};

const RATE: f64 = 10.0;
const BURST: f64 = 5.0;
const PEOPLE: usize = 60;
/// Offers that are open when all are claimed at once.
const PILED_UP: usize = 40;
const SESSION_SECONDS: &str = "600";
const SETTINGS: [(&str, &str); 4] =
    [("ADMIT_PER_SECOND", "10"), ("BURST", "5"), ("MAX_ACTIVE", "500"), ("SESSION_SECONDS", SESSION_SECONDS)];
/// A millisecond of rounding at either end.
const ROUNDING: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_piled_up_are_admitted_at_the_rate_when_all_claim_at_once() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &SETTINGS).await?;
    let (room, users) = site.concert(PEOPLE).await?;
    let answers = room.join_all(&BOTH, &users).await?;
    eventually("offers pile up", async || Ok((room.set(&redis, "offers")?.len() >= PILED_UP).then_some(()))).await?;

    let admitted = try_join_all(answers.iter().zip(BOTH.iter().cycle()).map(async |(answer, through)| {
        let admitted = room.until(*through, &token(answer)?, "admitted").await?;
        assert_stands(&admitted, "admitted", position(answer)?);
        anyhow::Ok(())
    }))
    .await?;
    assert_eq!(admitted.len(), PEOPLE);

    // A lease began one session before it ends.
    let mut begun: Vec<f64> = room.set(&redis, "leases")?.into_values().collect();
    begun.sort_by(f64::total_cmp);
    assert_eq!(begun.len(), PEOPLE);
    for (first, from) in begun.iter().enumerate() {
        for (last, to) in begun.iter().enumerate().skip(first) {
            let seconds = (to - from) / 1_000.0 + ROUNDING.as_secs_f64();
            let admissions = u32::try_from(last - first + 1)?;
            assert!(f64::from(admissions) <= RATE * seconds + BURST, "{admissions} admissions in {seconds} s");
        }
    }
    Ok(())
}
