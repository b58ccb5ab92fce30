//! What the database says at the end of a run in which something was sold.

use anyhow::Result;

use crate::invariants::{Database, Finding};
use crate::stats::Recorder;

/// Seats, money and places, and whether what visitors were told they had bought is theirs.
pub(super) async fn of_database(database: &mut Database, recorder: &Recorder) -> Result<Vec<Finding>> {
    let mut findings = database.check().await?;
    let bought: Vec<_> = recorder.read(|figures| figures.sales.iter().map(|sale| sale.reservation_id).collect());
    findings.push(database.check_bought(&bought).await?);
    Ok(findings)
}

/// What can't be asked doesn't hold until it could be: a failure, not a gap.
pub(super) fn not_asked(error: &anyhow::Error) -> Vec<Finding> {
    vec![Finding::new(1, "database", "PostgreSQL can be asked", 1, vec![format!("{error:#}")])]
}
