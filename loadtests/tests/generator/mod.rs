//! The load generator as a program: its output, its report, its exit code.
#![allow(dead_code, reason = "not every test needs everything")]

use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

/// The JSON report of a finished run; `null` if there was none.
pub(crate) struct Ran {
    pub(crate) output: Output,
    pub(crate) report: Value,
}

impl Ran {
    /// How often a step was done.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        let step = self.report["steps"].as_array()?.iter().find(|step| step["step"] == name)?;
        step["latencyMicros"]["count"].as_u64()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub(crate) fn failures(&self) -> String {
        self.report["failures"].to_string()
    }

    pub(crate) fn finding(&self, name: &str) -> &Value {
        let findings = self.report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        findings.iter().find(|finding| finding["name"] == name).unwrap_or(&Value::Null)
    }
}

pub(crate) async fn run(arguments: &[&str]) -> Result<Ran> {
    run_until(arguments, std::future::pending()).await
}

/// Runs to the end, or until `enough`: then as if Ctrl-C had been pressed.
pub(crate) async fn run_until(arguments: &[&str], enough: impl Future<Output = Result<()>>) -> Result<Ran> {
    let folder = std::env::temp_dir().join(format!("onsale-load-{}", uuid::Uuid::new_v4()));
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_loadtests"))
        .args(arguments)
        .arg("--report")
        .arg(&folder)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env_remove("SESSION_SECRET")
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().context("it has ended")?.to_string();
    let output = child.wait_with_output();
    tokio::pin!(output);
    let output = tokio::select! {
        output = &mut output => output?,
        enough = enough => {
            enough?;
            tokio::process::Command::new("kill").args(["-INT", &pid]).status().await?;
            output.await?
        }
    };
    let report = match std::fs::read(folder.join("report.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Value::Null,
    };
    // It is not there when the run did not begin.
    let _ = std::fs::remove_dir_all(folder);
    Ok(Ran { output, report })
}
