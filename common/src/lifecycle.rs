//! Background work is owned: spawned through one place, stopped in order, and its death is the process's death.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{App, ServeLimits, serve};

/// Owns a process's background tasks and the signals that end them.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    failed: watch::Sender<bool>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failed: watch::Sender::new(false),
        }
    }
}

impl Lifecycle {
    /// Cancelled once the process is asked to stop: the server takes no more connections and finishes what it has.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Cancelled once no request is under way any more, since requests need the tasks. Tasks end when they see it.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Runs `task` until it ends. One that ends before it was asked to, or panics, stops the process: a service that
    /// has silently lost its sweeper is worse than one that restarts.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (lifecycle, stopping) = (self.clone(), self.stopping.clone());
        let handle = self.tasks.spawn(task);
        self.tasks.spawn(async move {
            let outcome = handle.await;
            if !stopping.is_cancelled() || outcome.is_err() {
                tracing::error!(task = name, panicked = outcome.is_err(), "a background task died, stopping");
                lifecycle.failed.send_replace(true);
                lifecycle.draining.cancel();
            }
        });
    }

    /// Runs a short piece of work that must end once it has begun, whoever stops waiting for it: a client that hangs
    /// up must not leave a seat locked and no reservation written. `None` where it panicked.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.tasks.spawn(work).await.ok()
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }

    /// Serves until SIGTERM, SIGINT or the death of a task, then stops in order: no new connections, the requests under
    /// way, the tasks. Whether all of that went well.
    pub async fn serve(&self, listener: TcpListener, app: impl App, limits: ServeLimits) -> bool {
        let draining = self.draining();
        let asked = tokio::spawn(async move {
            termination().await;
            tracing::info!("asked to stop");
            draining.cancel();
        });
        serve(listener, app, limits, self.draining()).await;
        asked.abort();
        self.stop();
        self.finished(limits.drain_timeout).await
    }

    /// Waits for the tasks to end, at most `timeout`; whether all did and none had died before.
    pub async fn finished(&self, timeout: Duration) -> bool {
        self.tasks.close();
        let ended = tokio::time::timeout(timeout, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::warn!("background tasks were still running when the time to stop ended");
        }
        ended && !*self.failed.borrow()
    }
}

async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    if let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    } else {
        tracing::error!("signals can't be received, stopping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_task_stops_the_process() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("dies", async { panic!("on purpose") });
        lifecycle.draining().cancelled().await;
        lifecycle.stop();
        assert!(!lifecycle.finished(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn an_orderly_stop_is_no_failure() {
        let lifecycle = Lifecycle::default();
        let stopping = lifecycle.stopping();
        lifecycle.spawn("waits", async move { stopping.cancelled().await });
        lifecycle.stop();
        assert!(lifecycle.finished(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn work_begun_ends_though_nobody_waits() {
        let lifecycle = Lifecycle::default();
        let (send, receive) = tokio::sync::oneshot::channel();
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let owner = lifecycle.clone();
        let waiting = tokio::spawn(async move {
            owner
                .to_the_end(async move {
                    let _ = gate.await;
                    let _ = send.send(7);
                })
                .await;
        });
        tokio::task::yield_now().await;
        waiting.abort();
        let _ = waiting.await;
        let _ = go.send(());
        // Where the abort came before the work began, nothing was begun and the channel says so.
        assert!(matches!(receive.await, Ok(7)) || lifecycle.tasks.is_empty());
    }
}
