//! What a surge took: CPU and memory of each process, and whether the generator was the limit.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::chart::{Series, lines};
use super::{human_ms, overload, seconds};
use crate::stats::micros;
use crate::stats::surge::SurgeFigures;
use crate::usage::{Share, Taken, Total, Usage};

const MIB: f64 = 1_048_576.0;

/// Heading and figures of each process, for tables.
pub(super) fn head() -> [String; 4] {
    ["process", "CPU, mean", "CPU, highest second", "memory, highest"].map(ToOwned::to_owned)
}

pub(super) fn rows(usage: &Usage) -> Vec<[String; 4]> {
    let total = |total: Total<'_>| {
        let known = |of: fn(&Taken) -> String| total.taken.as_ref().map_or_else(|| "–".to_owned(), of);
        [
            total.name.to_owned(),
            known(|taken| cores(taken.cores_mean)),
            known(|taken| cores(taken.cores_max)),
            known(|taken| format!("{:.0} MiB", mib(taken.memory_max_bytes))),
        ]
    };
    let mut rows: Vec<_> = usage.totals().into_iter().map(total).collect();
    let machine = format!("all of the machine's {}", usage.machine_cores);
    for (name, (mean, max)) in [("everything else".to_owned(), usage.others()), (machine, usage.machine())] {
        rows.push([name, cores(mean), cores(max), String::new()]);
    }
    rows
}

/// What has to be known of the generator to judge the figures, in sentences.
pub(super) fn remarks(surge: &SurgeFigures) -> Vec<String> {
    let mut remarks = Vec::new();
    let unseen: Vec<&str> =
        surge.usage.totals().iter().filter(|total| total.taken.is_none()).map(|total| total.name).collect();
    if !unseen.is_empty() {
        remarks.push(format!("Nothing is known of {}: there was no such process.", unseen.join(", ")));
    }
    if let Some(why) = &surge.usage.missing {
        remarks.push(format!("Not measured were the stack's processes: {why}."));
    }
    remarks.extend(shared_machine(&surge.usage));
    let waited = surge.waited;
    if waited.requests > 0 {
        remarks.push(format!(
            "{} requests waited for others to be answered (--max-requests-in-flight), {} at most, which counts as latency.",
            waited.requests,
            human_ms(micros(waited.longest))
        ));
    }
    remarks
}

/// Whether those measured took CPU from each other, or others from them.
pub(super) fn shared_machine(usage: &Usage) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "a machine has some hundred cores")]
    let all = usage.machine_cores as f64;
    let ((_, busiest), (others, _)) = (usage.machine(), usage.others());
    let others = if usage.missing.is_none() && others > all * 0.1 {
        format!(", and programs that have nothing to do with them had {others:.2} cores of it")
    } else {
        String::new()
    };
    (busiest > all * 0.9).then(|| {
        format!(
            "The machine was as busy as it can be: generator and servers took CPU from each other{others}. With machines of \
             their own the servers would do more."
        )
    })
}

pub(super) fn write_lines(out: &mut impl Write, surge: &SurgeFigures) -> Result<()> {
    write_usage(out, &surge.usage)?;
    for remark in remarks(surge) {
        writeln!(out, "{remark}")?;
    }
    let Some(figures) = &surge.overload else { return Ok(()) };
    writeln!(out)?;
    overload::write_lines(out, figures)
}

/// A line for each process.
pub(super) fn write_usage(out: &mut impl Write, usage: &Usage) -> Result<()> {
    for [process, mean, max, memory] in [head()].into_iter().chain(rows(usage)) {
        writeln!(out, "{}", format!("{process:<26}{mean:>14}{max:>22}{memory:>18}").trim_end())?;
    }
    Ok(())
}

/// CPU and memory over the run, replicas together.
pub(super) fn charts(usage: &Usage) -> String {
    let kinds = usage.kinds();
    let series = |value: fn(&Share) -> f64| {
        kinds.iter().map(move |(kind, indexes)| {
            let share = |each: &[Option<Share>], index: usize| each.get(index).copied().flatten();
            let sum = |each: &[Option<Share>]| {
                indexes.iter().filter_map(|index| share(each, *index)).map(|share| value(&share)).sum::<f64>()
            };
            Series { name: kind, points: usage.samples.iter().map(|it| (seconds(it.at), sum(&it.each))).collect() }
        })
    };
    let others = Series {
        name: "everything else",
        points: usage.samples.iter().map(|sample| (seconds(sample.at), sample.others())).collect(),
    };
    let cpu: Vec<_> = series(|share| share.cores).chain([others]).collect();
    let memory: Vec<_> = series(|share| mib(share.memory_bytes)).collect();
    [lines("CPU, in cores", "", &cpu), lines("Memory", "MiB", &memory)].concat()
}

pub(super) fn document(surge: &SurgeFigures) -> Value {
    let usage = &surge.usage;
    let each = |shares: &[Option<Share>]| {
        let share = |share: &Option<Share>| {
            share.map_or(Value::Null, |share| json!({ "cpuCores": share.cores, "memoryBytes": share.memory_bytes }))
        };
        usage.names.iter().cloned().zip(shares.iter().map(share)).collect::<serde_json::Map<_, _>>()
    };
    let over_time = usage.samples.iter().map(|sample| {
        json!({
            "atSeconds": seconds(sample.at), "machineCpuCores": sample.machine_cores, "processes": each(&sample.each),
        })
    });
    json!({
        "machineCores": usage.machine_cores,
        "processes": processes(usage),
        "notMeasured": usage.missing,
        "usageOverTime": over_time.collect::<Vec<_>>(),
        "requestsThatWaitedForAConnection": surge.waited.requests,
        "longestWaitForAConnectionSeconds": seconds(surge.waited.longest),
        "remarks": remarks(surge),
        "overload": surge.overload.as_ref().map(overload::document),
    })
}

/// Each process over the whole time.
pub(super) fn processes(usage: &Usage) -> Value {
    let total = |total: Total<'_>| {
        json!({
            "name": total.name, "cpuCoresMean": total.taken.map(|taken| taken.cores_mean),
            "cpuCoresMax": total.taken.map(|taken| taken.cores_max),
            "memoryMaxBytes": total.taken.map(|taken| taken.memory_max_bytes),
        })
    };
    usage.totals().into_iter().map(total).collect()
}

/// `0.43 cores`.
fn cores(cores: f64) -> String {
    format!("{cores:.2} cores")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::WaitedInFlight;
    use crate::usage::tests::usage;

    #[test]
    fn each_process_has_a_line_and_replicas_share_a_graph() {
        let surge = SurgeFigures { usage: usage(), waited: WaitedInFlight::default(), overload: None };
        let mut out = Vec::new();
        write_lines(&mut out, &surge).unwrap();
        let text = String::from_utf8(out).unwrap();
        let first = text.lines().find(|line| line.starts_with("gateway-1")).unwrap();
        assert!(first.contains("0.75 cores") && first.contains("1.00 cores") && first.ends_with("50 MiB"), "{first}");
        let charts = charts(&surge.usage);
        assert_eq!(charts.matches("polyline").count(), 3 + 2, "{charts}");
        assert!(!text.contains("Not measured") && !text.contains("waited"), "{text}");
    }

    #[test]
    fn what_limits_the_figures_is_said() {
        let mut surge = SurgeFigures {
            usage: Usage { missing: Some("it is elsewhere".to_owned()), ..usage() },
            waited: WaitedInFlight { requests: 7, longest: Duration::from_millis(20) },
            overload: None,
        };
        for sample in &mut surge.usage.samples {
            sample.machine_cores = 1.95;
        }
        let said = remarks(&surge).join("\n");
        assert!(
            said.contains("elsewhere") && said.contains("as busy as it can be") && said.contains("7 requests"),
            "{said}"
        );
        assert_eq!(document(&surge)["notMeasured"], "it is elsewhere");
    }
}
