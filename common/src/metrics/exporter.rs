//! The recorder of a process, and the address on which it is read.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;
use metrics_util::MetricKindMask;
use tokio::net::TcpListener;

use super::{Kind, Metric, ROOM_LASTS, ROOM_PREFIX};
use crate::http::{ServeLimits, serve};
use crate::lifecycle::Lifecycle;

/// Observations wait for this, or for a scrape, in memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Whoever scrapes needs one.
const MAX_CONNECTIONS: usize = 16;
/// The text format of Prometheus.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why figures can't be told.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder could not be made.
    #[error("metrics can't be recorded: {0}")]
    Recorder(#[from] BuildError),
    /// Something else in this process has installed one.
    #[error("another recorder of metrics is installed")]
    Taken,
    /// The address can't be listened on.
    #[error("metrics can't be told on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// Begins to keep figures and to tell them on `listen`, where there is one, until the process stops; on which address.
/// Has to come before whatever makes handles. A process has one recorder: whoever comes second is told its figures.
pub async fn start(
    listen: Option<SocketAddr>,
    metrics: &[&[Metric]],
    lifecycle: &Lifecycle,
) -> Result<Option<SocketAddr>, MetricsError> {
    let Some(listen) = listen else { return Ok(None) };
    let exporter = Exporter::install(metrics)?;
    let failed = |error| MetricsError::Listen(listen, error);
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let limits = ServeLimits { max_connections: MAX_CONNECTIONS, ..ServeLimits::default() };
    lifecycle.spawn("metrics", serve(listener, exporter.router(), limits, lifecycle.stopping()));
    let stopping = lifecycle.stopping();
    lifecycle.spawn("metrics upkeep", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(UPKEEP_EVERY) => exporter.keep_up(),
                () = stopping.cancelled() => return,
            }
        }
    });
    tracing::info!(listen = %address, "metrics are told");
    Ok(Some(address))
}

/// Reads what the process's recorder has. Cloning it shares it.
#[derive(Debug, Clone)]
struct Exporter {
    lasting: PrometheusHandle,
    lapsing: PrometheusHandle,
    process: Collector,
}

static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);

impl Exporter {
    fn install(metrics: &[&[Metric]]) -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = &*installed {
            return Ok(exporter.clone());
        }
        let recorders = Recorders::new(metrics, ROOM_LASTS)?;
        let exporter = Self {
            lasting: recorders.lasting.handle(),
            lapsing: recorders.lapsing.handle(),
            process: Collector::default(),
        };
        // Not `install_recorder`: there are two, and a global one can be set but once.
        metrics::set_global_recorder(recorders).map_err(|_| MetricsError::Taken)?;
        for metric in metrics.iter().copied().flatten() {
            describe(metric);
        }
        *installed = Some(exporter.clone());
        Ok(exporter)
    }

    fn router(&self) -> Router {
        let exporter = self.clone();
        let tell = move || async move { ([(CONTENT_TYPE, TEXT_FORMAT)], exporter.render()) };
        Router::new()
            .route("/metrics", get(tell))
            .method_not_allowed_fallback(|| async { StatusCode::NOT_FOUND })
            .fallback(|| async { StatusCode::NOT_FOUND })
    }

    fn render(&self) -> String {
        self.process.collect();
        let mut text = self.lasting.render();
        text.push_str(&self.lapsing.render());
        text
    }

    fn keep_up(&self) {
        self.lasting.run_upkeep();
        self.lapsing.run_upkeep();
    }
}

fn builder(metrics: &[&[Metric]]) -> Result<PrometheusBuilder, BuildError> {
    metrics.iter().copied().flatten().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(bounds) => builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds),
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

fn describe(metric: &Metric) {
    let Metric { name, help, .. } = *metric;
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, help),
        Kind::Gauge => metrics::describe_gauge!(name, help),
        Kind::Histogram(_) => metrics::describe_histogram!(name, help),
    }
}

/// Two recorders as one: figures of rooms lapse, all others last as long as the process.
struct Recorders {
    lasting: PrometheusRecorder,
    lapsing: PrometheusRecorder,
}

impl Recorders {
    fn new(metrics: &[&[Metric]], room_lasts: Duration) -> Result<Self, BuildError> {
        let lasting = builder(metrics)?.build_recorder();
        // Whatever lapses loses its handles, so only figures whose writers know that may.
        let lapsing = builder(metrics)?.idle_timeout(MetricKindMask::ALL, Some(room_lasts)).build_recorder();
        Ok(Self { lasting, lapsing })
    }

    fn of(&self, name: &str) -> &PrometheusRecorder {
        if name.starts_with(ROOM_PREFIX) { &self.lapsing } else { &self.lasting }
    }
}

impl Recorder for Recorders {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.of(name.as_str()).describe_counter(name.clone(), unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.of(name.as_str()).describe_gauge(name.clone(), unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.of(name.as_str()).describe_histogram(name.clone(), unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.of(key.name()).register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.of(key.name()).register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.of(key.name()).register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram};

    use super::*;

    #[test]
    fn what_is_told_of_a_room_lapses_and_nothing_else_does() {
        // Anything not written between two scrapes is old by then.
        let recorders = Recorders::new(&[], Duration::ZERO).unwrap();
        let scrape = || recorders.lasting.handle().render() + &recorders.lapsing.handle().render();
        metrics::with_local_recorder(&recorders, || {
            let lasting = counter!("onsale_gateway_joins_total");
            lasting.increment(1);
            gauge!("onsale_room_waiting", "concert" => "c").set(7);
            counter!("onsale_room_claims_total", "concert" => "c").increment(1);
            histogram!("onsale_room_claim_lag_seconds", "concert" => "c").record(1.0);
            let first = scrape();
            for name in ["onsale_room_waiting", "onsale_room_claims_total", "onsale_room_claim_lag_seconds_count"] {
                assert!(first.contains(&format!("{name}{{concert=")), "{first}");
            }
            assert!(!scrape().contains("concert="), "{}", scrape());
            lasting.increment(1);
            assert!(scrape().contains("onsale_gateway_joins_total 2"), "{}", scrape());
            gauge!("onsale_room_waiting", "concert" => "c").set(8);
            assert!(scrape().contains("onsale_room_waiting{concert=\"c\"} 8"), "it is back with a new handle");
        });
    }
}
