//! `loadtests check`: what must always hold, asked once, without any load.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::Verdict;
use crate::invariants::{Database, Finding};
use crate::report::terminal;
use crate::room::{RoomJudge, Rooms};
use crate::target::TargetArgs;

/// Every room is looked at this often, with a pause between: some rules are about what happens in between.
const LOOKS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) async fn run(target: &TargetArgs) -> Result<Verdict> {
    let stores = target.stores()?;
    let mut database = Database::connect(&stores.database_url).await?;
    let mut rooms = Rooms::connect(&stores).await?;
    let mut findings = database.check().await.context("the checks could not run")?;
    let concerts = database.concerts().await?;
    let limits = target.limits()?;
    let mut judges: Vec<_> = concerts.iter().map(|concert| (*concert, RoomJudge::new(limits))).collect();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for (concert, judge) in &mut judges {
            let sample = rooms.look(*concert, judge.watched()).await?;
            if sample.epoch > 0 {
                judge.see(&sample);
            }
        }
    }
    for (concert, judge) in judges.iter().filter(|(_, judge)| judge.has_seen()) {
        findings.extend(judge.findings().into_iter().map(|mut finding| {
            finding.title = format!("{} (concert {concert})", finding.title);
            finding
        }));
    }
    terminal::print_findings(&findings)?;
    Ok(if findings.iter().any(Finding::is_broken) { Verdict::Failed } else { Verdict::Passed })
}
