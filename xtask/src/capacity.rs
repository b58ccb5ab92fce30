//! `cargo xtask capacity`: what a number of waiting people needs, reckoned from measured costs (docs/CAPACITY.md).

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::ui;

/// Told to ask again: after 0.7 of the time until one's turn can come, but after 1.25 s at least and 24 s at most, on
/// average (`poll_after` in `gateway/src/domain/estimate.rs`).
const SHORTEST_POLL_SECONDS: f64 = 1.25;
const LONGEST_POLL_SECONDS: f64 = 24.0;
const POLL_SHARE: f64 = 0.7;
const GIB: f64 = 1_073_741_824.0;
/// A page far back looks at the frontier so often before it asks a gateway (`FRONTIERS_BEFORE_STATUS` in
/// `gateway/pages/queue.js`).
const FRONTIERS_PER_POLL: f64 = 4.0;
/// What is reckoned with for one Redis of many.
const SHARD_GIB: f64 = 32.0;

/// Reckon what a number of waiting people needs: cores of gateways and nginx, Redis, PostgreSQL.
///
/// From the costs that `cargo xtask bench` last measured (docs/benchmarks.json), so for cores like those of that machine.
/// docs/CAPACITY.md has the formulas.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many wait at once
    #[arg(long, value_name = "PEOPLE", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    waiting: u64,
    /// How many are let in a second, over all sales that are on
    #[arg(long, value_name = "RATE", value_parser = positive)]
    admit_per_second: f64,
    /// Within which time they arrive
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = positive)]
    arrive_within_seconds: f64,
    /// How much of a core may be used, so that there is room for the unforeseen
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = share)]
    use_of_a_core: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = positive(text).ok().filter(|share| *share <= 1.0);
    number.ok_or_else(|| "a number above 0, and 1 at most, is needed".to_owned())
}

/// What was measured.
#[derive(Debug, Deserialize)]
struct Benchmarks {
    date: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    ours: Spread,
    theirs: Spread,
}

#[derive(Debug, Deserialize)]
struct Spread {
    median: f64,
}

/// Costs of one of each.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// CPU seconds of a gateway.
    poll_seconds: f64,
    join_seconds: f64,
    /// CPU seconds of nginx for what it passes on to a gateway, and for a frontier from its cache.
    nginx_seconds: f64,
    frontier_seconds: f64,
    redis_join_seconds: f64,
    redis_bytes: f64,
    /// Holds and payments a second that one core-api with one PostgreSQL did.
    holds_per_second: f64,
    payments_per_second: f64,
}

impl Benchmarks {
    fn read() -> Result<Self> {
        let file = stack::project_root().join("docs/benchmarks.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{} can't be read; `cargo xtask bench` writes it", file.display()))?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    }

    fn row(&self, name: &str) -> Result<&Row> {
        let row = self.rows.iter().find(|row| row.name == name);
        row.with_context(|| format!("docs/benchmarks.json has no {name}: run `cargo xtask bench`"))
    }

    fn costs(&self) -> Result<Costs> {
        let through_nginx = self.row("status-nginx")?;
        let ours = |name| Ok::<_, anyhow::Error>(self.row(name)?.ours.median);
        Ok(Costs {
            poll_seconds: 1.0 / ours("status")?,
            join_seconds: 1.0 / ours("token")?,
            nginx_seconds: (1.0 / through_nginx.ours.median - 1.0 / through_nginx.theirs.median).max(0.0),
            frontier_seconds: 1.0 / ours("frontier")?,
            redis_join_seconds: ours("joins-redis")? / 1e6,
            redis_bytes: ours("redis-memory")?,
            holds_per_second: ours("reservation-won")?,
            payments_per_second: ours("payment")?,
        })
    }
}

/// Polls of so many in line, each of whom comes back when told: the sum over the line of one by the time until they do.
fn polls_per_second(people: f64, rate: f64) -> f64 {
    // So many people are told the shortest time, and so many less than the longest.
    let shortest = rate * SHORTEST_POLL_SECONDS / POLL_SHARE;
    let longest = rate * LONGEST_POLL_SECONDS / POLL_SHARE;
    let near = people.min(shortest) / SHORTEST_POLL_SECONDS;
    let between = if people > shortest { rate / POLL_SHARE * (people.min(longest) / shortest).ln() } else { 0.0 };
    near + between + (people - longest).max(0.0) / LONGEST_POLL_SECONDS
}

#[expect(clippy::cast_precision_loss, reason = "people by the million")]
fn approximate(count: u64) -> f64 {
    count as f64
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let benchmarks = Benchmarks::read()?;
    let lines = lines(options, benchmarks.costs()?);
    ui::answer(&format!(
        "{} waiting, {} let in a second, all of them arriving within {} s. Costs of {} (docs/BENCHMARKS.md), cores used to \
         {:.0} %.",
        options.waiting,
        options.admit_per_second,
        options.arrive_within_seconds,
        benchmarks.date,
        options.use_of_a_core * 100.0
    ));
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in lines {
        ui::answer(&format!("  {name:<width$}  {value}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is needed, by name.
fn lines(options: &Options, costs: Costs) -> Vec<(&'static str, String)> {
    let people = approximate(options.waiting);
    let joins = people / options.arrive_within_seconds;
    let polls = polls_per_second(people, options.admit_per_second);
    let cores = |seconds: f64| format!("{:.1} cores", seconds / options.use_of_a_core);
    // Who has joined polls while the others still come.
    let gateways = cores(polls * costs.poll_seconds + joins * costs.join_seconds);
    let nginx = cores((polls + joins) * costs.nginx_seconds);
    let polls_left = polls / (FRONTIERS_PER_POLL + 1.0);
    let frontier = cores((polls - polls_left) * costs.frontier_seconds);
    let beside_frontier = cores(polls_left * costs.poll_seconds);
    let (redis_use, redis_gib) =
        (joins * costs.redis_join_seconds / options.use_of_a_core, people * costs.redis_bytes / GIB);
    let room_joins = options.use_of_a_core / costs.redis_join_seconds;
    let room_seconds = (people / room_joins).max(options.arrive_within_seconds);
    let shards = (redis_gib / SHARD_GIB).max(redis_use).ceil();
    let admitted = options.admit_per_second;
    let sold = (admitted / costs.holds_per_second + admitted / costs.payments_per_second) * 100.0;
    vec![
        ("Joins", format!("{joins:.0} a second while they arrive")),
        ("Polls", format!("{polls:.0} a second once all wait, if each comes back when told")),
        ("Gateways", format!("{gateways}, for joins and polls at the same time")),
        ("nginx", format!("{nginx}, if all of it goes through nginx to the gateways")),
        (
            "By frontier",
            format!(
                "once all wait: {frontier} of nginx or a CDN, and {beside_frontier} of gateways for every fifth look"
            ),
        ),
        ("Redis", format!("{redis_use:.1} cores while they arrive, {redis_gib:.1} GiB")),
        ("Redis shards", format!("{shards:.0} of {SHARD_GIB:.0} GiB, if the people are in many rooms")),
        (
            "One room",
            format!(
                "is on one Redis and takes {room_joins:.0} joins a second: all are in line after {room_seconds:.0} s"
            ),
        ),
        (
            "Sale",
            format!(
                "{sold:.0} % of what one core-api and PostgreSQL did on two cores, if each who is let in holds and pays"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs {
        poll_seconds: 1e-5,
        join_seconds: 2e-5,
        nginx_seconds: 2e-5,
        frontier_seconds: 1e-5,
        redis_join_seconds: 4e-6,
        redis_bytes: 150.0,
        holds_per_second: 2_000.0,
        payments_per_second: 5_000.0,
    };

    #[test]
    fn polls_are_those_of_everybody_in_line_added_up() {
        let (people, rate) = (200_000_u32, 100.0);
        let after =
            |ahead: u32| (f64::from(ahead) / rate * POLL_SHARE).clamp(SHORTEST_POLL_SECONDS, LONGEST_POLL_SECONDS);
        let added_up: f64 = (0..people).map(|ahead| 1.0 / after(ahead)).sum();
        let reckoned = polls_per_second(f64::from(people), rate);
        assert!((reckoned / added_up - 1.0).abs() < 0.001, "{reckoned} and {added_up}");
        assert!((polls_per_second(10.0, rate) - 8.0).abs() < 1e-9, "all near the front");
    }

    #[test]
    fn ten_times_the_people_need_ten_times_the_cores() {
        let text = |waiting| {
            let (admit_per_second, arrive_within_seconds, use_of_a_core) = (100.0, 10.0, 0.5);
            format!("{:?}", lines(&Options { waiting, admit_per_second, arrive_within_seconds, use_of_a_core }, COSTS))
        };
        // 100,000 joins a second at 20 µs are two cores, and 42,000 polls at 10 µs are 0.42: twice that at half use.
        assert!(text(1_000_000).contains("4.8 cores, for joins"), "{}", text(1_000_000));
        assert!(text(10_000_000).contains("48.3 cores, for joins"), "{}", text(10_000_000));
    }

    #[test]
    fn nonsense_is_refused_and_the_last_run_has_all_that_is_needed() {
        assert!(positive("0").is_err() && positive("inf").is_err() && share("1.5").is_err() && share("0.5").is_ok());
        let costs = Benchmarks::read().unwrap().costs().unwrap();
        assert!(costs.poll_seconds > 0.0 && costs.redis_bytes > 0.0);
    }
}
