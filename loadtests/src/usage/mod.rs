//! CPU and memory of the stack's processes and of this program while a run lasts: without them nobody knows whether the
//! system was at its limit or the generator.

mod proc_fs;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use proc_fs::{Counted, busy_ticks};
use stack::proc_fs::{PROC, Processes, TICKS_PER_SECOND};

/// What this program is called among the processes.
pub(crate) const GENERATOR: &str = "generator";
/// However long a run is, there are at most this many samples: where there would be more, two become one.
const SAMPLES_MAX: usize = 600;

const STRETCH_MIN: Duration = Duration::from_millis(100);

/// A process whose use is measured, with all that it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) name: String,
    pub(crate) id: u32,
}

impl FromStr for Watched {
    type Err = String;

    /// `NAME=ID`.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is not NAME=PROCESS-ID");
        let (name, id) = text.split_once('=').ok_or_else(fault)?;
        let id = id.parse().map_err(|_| fault())?;
        if name.is_empty() { Err(fault()) } else { Ok(Self { name: name.to_owned(), id }) }
    }
}

/// What was taken between a sample and the one before.
#[derive(Debug, Clone)]
pub(crate) struct UsageSample {
    /// Since the start of the run.
    pub(crate) at: Duration,
    /// In the order of [`Usage::names`]; `None` of one that was not there.
    pub(crate) each: Vec<Option<Share>>,
    /// Cores that were busy, whatever with.
    pub(crate) machine_cores: f64,
}

impl UsageSample {
    pub(crate) fn others(&self) -> f64 {
        (self.machine_cores - self.each.iter().flatten().map(|share| share.cores).sum::<f64>()).max(0.0)
    }
}

/// One process' share.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    /// CPU time per time: 1 is one core.
    pub(crate) cores: f64,
    pub(crate) memory_bytes: u64,
}

/// What a run took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) names: Vec<String>,
    pub(crate) samples: Vec<UsageSample>,
    /// How many cores there are.
    pub(crate) machine_cores: usize,
    /// Why the stack's processes are not among them.
    pub(crate) missing: Option<String>,
}

/// One process over the whole run.
#[derive(Debug, Clone)]
pub(crate) struct Total<'a> {
    pub(crate) name: &'a str,
    /// None: it was never there, or not for long enough to be measured.
    pub(crate) taken: Option<Taken>,
}

/// What one process took while it was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) cores_mean: f64,
    pub(crate) cores_max: f64,
    pub(crate) memory_max_bytes: u64,
}

/// Two stretches of time as one.
fn merged(pair: &[UsageSample]) -> Option<UsageSample> {
    let (first, last) = (pair.first()?, pair.last()?);
    let both = |one: &Option<Share>, other: &Option<Share>| match (one, other) {
        (Some(one), Some(other)) => Some(Share {
            cores: f64::midpoint(one.cores, other.cores),
            memory_bytes: one.memory_bytes.max(other.memory_bytes),
        }),
        (one, other) => one.or(*other),
    };
    Some(UsageSample {
        at: last.at,
        each: first.each.iter().zip(&last.each).map(|(one, other)| both(one, other)).collect(),
        machine_cores: f64::midpoint(first.machine_cores, last.machine_cores),
    })
}

impl Usage {
    /// Adds a sample. Of a run that lasts longer than was thought, the whole is kept, less finely.
    fn add(&mut self, sample: UsageSample) {
        if self.samples.len() >= SAMPLES_MAX {
            self.samples = self.samples.chunks(2).filter_map(merged).collect();
        }
        self.samples.push(sample);
    }

    pub(crate) fn totals(&self) -> Vec<Total<'_>> {
        self.names.iter().enumerate().map(|(index, name)| self.total(index, name)).collect()
    }

    fn total<'a>(&'a self, index: usize, name: &'a str) -> Total<'a> {
        let of = |sample: &UsageSample| sample.each.get(index).copied().flatten();
        let shares: Vec<Share> = self.samples.iter().filter_map(of).collect();
        let cores: Vec<f64> = shares.iter().map(|share| share.cores).collect();
        let memory = shares.iter().map(|share| share.memory_bytes).max();
        let taken = memory.map(|memory_max_bytes| Taken {
            cores_mean: mean(&cores),
            cores_max: cores.into_iter().fold(0.0, f64::max),
            memory_max_bytes,
        });
        Total { name, taken }
    }

    /// Mean and maximum of the cores that were busy, whatever with.
    pub(crate) fn machine(&self) -> (f64, f64) {
        self.cores(|sample| sample.machine_cores)
    }

    /// Mean and maximum of the cores that were busy with what is not measured: other programs, and the kernel's own work.
    pub(crate) fn others(&self) -> (f64, f64) {
        self.cores(UsageSample::others)
    }

    fn cores(&self, of: fn(&UsageSample) -> f64) -> (f64, f64) {
        let cores: Vec<f64> = self.samples.iter().map(of).collect();
        (mean(&cores), cores.iter().copied().fold(0.0, f64::max))
    }

    /// The processes by what they are, replicas together: `gateway` for `gateway-1` and `gateway-2`.
    pub(crate) fn kinds(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, name) in self.names.iter().enumerate() {
            let kind = name.trim_end_matches(|digit: char| digit.is_ascii_digit()).trim_end_matches('-');
            kinds.entry(kind).or_default().push(index);
        }
        kinds
    }
}

#[expect(clippy::cast_precision_loss, reason = "some hundred samples")]
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Measures in the background. Cloning it shares what was measured.
#[derive(Debug, Clone)]
pub(crate) struct UsageWatch {
    watched: Arc<Vec<Watched>>,
    usage: Arc<Mutex<Usage>>,
    every: Duration,
}

/// The measuring itself.
#[derive(Debug)]
pub(crate) struct Measuring {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Counters at one moment.
#[derive(Debug)]
struct Counters {
    at: Instant,
    each: Vec<Option<Counted>>,
    busy_ticks: u64,
}

impl UsageWatch {
    /// Measures these processes, or says why there are none to measure; this program always. `length_max` bounds the
    /// number of samples.
    pub(crate) fn new(processes: Result<Vec<Watched>, String>, length_max: Duration) -> Self {
        let (mut watched, mut missing) = match processes {
            Ok(watched) => (watched, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        watched.push(Watched { name: GENERATOR.to_owned(), id: std::process::id() });
        if !Path::new(PROC).join("self/stat").exists() {
            watched.clear();
            missing = Some("this machine has no /proc to measure by".to_owned());
        }
        let usage = Usage {
            names: watched.iter().map(|process| process.name.clone()).collect(),
            samples: Vec::new(),
            machine_cores: std::thread::available_parallelism().map_or(1, usize::from),
            missing,
        };
        let every =
            Duration::from_secs(length_max.as_secs().div_ceil(u64::try_from(SAMPLES_MAX).unwrap_or(u64::MAX)).max(1));
        Self { watched: Arc::new(watched), usage: Arc::new(Mutex::new(usage)), every }
    }

    pub(crate) fn start(&self, started: Instant) -> Measuring {
        let stop = CancellationToken::new();
        Measuring { task: tokio::spawn(self.clone().run(started, stop.clone())), stop }
    }

    async fn run(self, started: Instant, stop: CancellationToken) {
        let mut before = self.counters().await;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        while !stop.is_cancelled() {
            // The last stretch is shorter, or a short run would have none.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = ticks.tick() => {}
            }
            let after = self.counters().await;
            if let (Some(before), Some(after)) = (&before, &after) {
                // A tick of a hundredth of a second says nothing of a stretch that is not much longer.
                if after.at - before.at > STRETCH_MIN {
                    self.usage().add(between(before, after, started));
                }
            }
            before = after;
        }
    }

    /// Reading some hundred small files takes milliseconds, which are not to stop visitors.
    async fn counters(&self) -> Option<Counters> {
        let watched = self.watched.clone();
        tokio::task::spawn_blocking(move || count(&watched)).await.ok().flatten()
    }

    pub(crate) fn snapshot(&self) -> Usage {
        self.usage().clone()
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(watched: &[Watched]) -> Option<Counters> {
    if watched.is_empty() {
        return None;
    }
    let proc = Path::new(PROC);
    let processes = Processes::read(proc).ok()?;
    let at = Instant::now();
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    Some(Counters {
        at,
        each: watched.iter().map(|process| proc_fs::taken(&processes, proc, process.id)).collect(),
        busy_ticks: busy_ticks(&stat)?,
    })
}

fn between(before: &Counters, after: &Counters, started: Instant) -> UsageSample {
    let seconds = (after.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
    let cores = |ticks: u64| ticks_as_seconds(ticks) / seconds;
    let share = |(before, after): (&Option<Counted>, &Option<Counted>)| {
        let (before, after) = (before.as_ref()?, after.as_ref()?);
        // A child that ended between two reads may be missing for a moment: never less than nothing.
        let cores = cores(after.cpu_ticks.saturating_sub(before.cpu_ticks));
        Some(Share { cores, memory_bytes: after.memory_bytes })
    };
    UsageSample {
        at: after.at - started,
        each: before.each.iter().zip(&after.each).map(share).collect(),
        machine_cores: cores(after.busy_ticks.saturating_sub(before.busy_ticks)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a difference of some hundred ticks")]
fn ticks_as_seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

impl Measuring {
    pub(crate) async fn end(self) {
        self.stop.cancel();
        // It does not fail; a panic in it has been printed already.
        let _ = self.task.await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two seconds of a gateway with a replica, and of this program.
    pub(crate) fn usage() -> Usage {
        let share = |cores, memory_bytes| Some(Share { cores, memory_bytes });
        let sample = |second, first, own| UsageSample {
            at: Duration::from_secs(second),
            each: vec![share(first, 50 << 20), share(0.25, 60 << 20), share(own, 70 << 20)],
            machine_cores: 1.5,
        };
        Usage {
            names: ["gateway-1", "gateway-2", GENERATOR].map(str::to_owned).into(),
            samples: vec![sample(1, 0.5, 0.1), sample(2, 1.0, 0.3)],
            machine_cores: 2,
            missing: None,
        }
    }

    #[test]
    fn totals_are_means_and_maxima_and_replicas_are_of_one_kind() {
        let usage = usage();
        let totals = usage.totals();
        let (first, last) = (totals[0].taken.unwrap(), totals[2].taken.unwrap());
        assert!((first.cores_mean - 0.75).abs() < 1e-9 && (first.cores_max - 1.0).abs() < 1e-9);
        assert_eq!(last.memory_max_bytes, 70 << 20);
        let mut died = usage.clone();
        died.samples[1].each[0] = None;
        assert!(
            died.totals()[0].taken.is_some_and(|taken| (taken.cores_mean - 0.5).abs() < 1e-9),
            "while it was there"
        );
        died.samples[0].each[0] = None;
        assert!(died.totals()[0].taken.is_none(), "nothing is known of it");
        assert_eq!(usage.kinds(), BTreeMap::from([("gateway", vec![0, 1]), (GENERATOR, vec![2])]));
        assert_eq!(Usage::default().totals().len(), 0);
    }

    #[test]
    fn a_run_is_kept_to_its_end_however_long_it_is() {
        let mut long = Usage { samples: Vec::new(), ..usage() };
        for second in 1..=5_000 {
            long.add(UsageSample { at: Duration::from_secs(second), ..usage().samples[0].clone() });
            assert!(long.samples.len() <= SAMPLES_MAX);
        }
        assert!(long.samples.len() > SAMPLES_MAX / 2);
        assert_eq!(long.samples.last().map(|sample| sample.at), Some(Duration::from_secs(5_000)));
        assert!(long.samples.is_sorted_by_key(|sample| sample.at));
        assert!(long.totals()[0].taken.is_some_and(|taken| (taken.cores_mean - 0.5).abs() < 1e-9));
    }

    #[test]
    fn a_process_is_named_with_its_id() {
        assert_eq!("nginx=12".parse(), Ok(Watched { name: "nginx".to_owned(), id: 12 }));
        for bad in ["nginx", "=1", "nginx=", "nginx=x"] {
            assert!(bad.parse::<Watched>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_taken_is_a_difference_and_never_negative() {
        let started = Instant::now();
        let at = |second, ticks| Counters {
            at: started + Duration::from_secs(second),
            each: vec![Some(Counted { cpu_ticks: ticks, memory_bytes: 5 }), None],
            busy_ticks: ticks * 2,
        };
        let sample = between(&at(1, 100), &at(3, 200), started);
        let cores = |sample: &UsageSample| sample.each[0].map(|share| share.cores).unwrap();
        assert!((cores(&sample) - 0.5).abs() < 1e-9 && (sample.machine_cores - 1.0).abs() < 1e-9);
        assert_eq!((sample.at, sample.each[1].is_none()), (Duration::from_secs(3), true));
        assert!(cores(&between(&at(1, 100), &at(3, 50), started)).abs() < 1e-9);
    }

    #[tokio::test]
    async fn this_program_is_measured_and_what_is_not_there_is_said() {
        let watch = UsageWatch::new(Err("it is elsewhere".to_owned()), Duration::from_mins(1));
        let measuring = watch.start(Instant::now());
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        measuring.end().await;
        let usage = watch.snapshot();
        assert_eq!(usage.missing.as_deref(), Some("it is elsewhere"));
        if cfg!(target_os = "linux") {
            assert_eq!(usage.names, [GENERATOR]);
            assert!(usage.samples[0].each[0].is_some_and(|share| share.memory_bytes > 0));
        }
    }
}
