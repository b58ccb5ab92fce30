//! One process of a gateway: the real thing, with simulated edges.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use common::lifecycle::Lifecycle;
use gateway::http::Gateway;
use gateway::store::record::RoomRecord;
use http::{Request, Response};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::record::RecordHandle;
use crate::rng::Rng;
use crate::site;
use crate::transport::SimulatedTransport;
use crate::world::World;

/// How long one call to Redis may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls of a paused process that were written just before the pause and arrive after it, at most.
const LATE_CALLS: u32 = 3;

/// What lies between a process and the world.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions {
    /// Whether it stands still.
    pub(crate) paused: bool,
    /// How it reaches Redis.
    pub(crate) redis: Reach,
    /// How it reaches the record.
    pub(crate) record: Reach,
    /// Whether visitors cannot reach it.
    pub(crate) hidden: bool,
    /// How long a call takes at most, either way, in ms.
    pub(crate) slow_ms: u64,
    /// How many calls of a hundred have no answer.
    pub(crate) lost_answers: u64,
    /// Which Redis server it takes for the master.
    pub(crate) server: usize,
}

/// How something is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As it should be.
    #[default]
    Open,
    /// Calls fail at once.
    Refused,
    /// Calls vanish.
    Silent,
}

/// A gateway process.
pub(crate) struct Process {
    /// Which gateway it is.
    pub(crate) gateway: usize,
    /// Which process of all in the world.
    pub(crate) number: u32,
    conditions: watch::Sender<Conditions>,
    gone: CancellationToken,
    lifecycle: Lifecycle,
    late_calls: AtomicU32,
    rng: Mutex<Rng>,
    app: Mutex<Option<Gateway>>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("gateway", &self.gateway).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Process {
    /// Starts process `number` of the world for a gateway.
    ///
    /// # Errors
    ///
    /// The gateway cannot be built.
    pub(crate) fn start(
        world: &Arc<World>,
        gateway: usize,
        number: u32,
        conditions: Conditions,
    ) -> anyhow::Result<Arc<Self>> {
        let process = Arc::new(Self {
            gateway,
            number,
            conditions: watch::Sender::new(conditions),
            gone: CancellationToken::new(),
            lifecycle: Lifecycle::default(),
            late_calls: AtomicU32::new(0),
            rng: Mutex::new(Rng::new(world.plan.seed).fork(1_000 + u64::from(number))),
            app: Mutex::new(None),
        });
        let transport = SimulatedTransport::new(Arc::clone(world), Arc::clone(&process));
        let record = RecordHandle::new(Arc::clone(world), Arc::clone(&process));
        let edges = gateway::Edges {
            clock: Arc::new(world.clock),
            redis: lua::Redis::over(Arc::new(transport), CALL_TIMEOUT),
            record: world.plan.recorded.then(|| Arc::new(record) as Arc<dyn RoomRecord>),
            operators_record: None,
            owner: format!("process-{number}").into(),
        };
        let state = gateway::state_with(site::config(world.plan.room)?, edges, &process.lifecycle)?;
        *process.app.lock().unwrap_or_else(PoisonError::into_inner) = Some(gateway::app(state));
        Ok(process)
    }

    /// What lies between it and the world now.
    pub(crate) fn conditions(&self) -> Conditions {
        *self.conditions.borrow()
    }

    /// Changes that.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    /// Stands still.
    pub(crate) fn pause(&self) {
        self.late_calls.store(LATE_CALLS, Ordering::Relaxed);
        self.set(|conditions| conditions.paused = true);
    }

    /// Whether a call that is made during a pause had left the process before it.
    pub(crate) fn may_send_late(&self) -> bool {
        self.late_calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Ends at once: nothing that it does has an effect any more.
    pub(crate) fn kill(&self) {
        self.gone.cancel();
        self.lifecycle.stop();
        // Its app holds the world, which holds it.
        self.app.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits while the process stands still; for ever once it is gone.
    pub(crate) async fn awake(&self) {
        let mut conditions = self.conditions.subscribe();
        if conditions.wait_for(|conditions| !conditions.paused).await.is_err() || self.is_gone() {
            std::future::pending::<()>().await;
        }
    }

    /// How long a call is on its way, in ms.
    pub(crate) fn delay_ms(&self) -> u64 {
        let slow_ms = self.conditions().slow_ms;
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if slow_ms > 0 {
            rng.between(0, slow_ms)
        } else if rng.percent(80) {
            0
        } else {
            rng.between(1, 4)
        }
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&self, percent: u64) -> bool {
        percent > 0 && self.rng.lock().unwrap_or_else(PoisonError::into_inner).percent(percent)
    }

    /// Answers a request. `None` where the connection breaks, which says nothing of what the request has done; it is
    /// worked on even where its sender has given up.
    pub(crate) async fn request(self: &Arc<Self>, mut request: Request<Body>) -> Option<Response<Body>> {
        let app = self.app.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        let (answer, answered) = oneshot::channel();
        let process = Arc::clone(self);
        tokio::spawn(async move {
            let work = async {
                process.awake().await;
                let response = app.oneshot(request).await;
                process.awake().await;
                response
            };
            tokio::select! {
                biased;
                () = process.gone.cancelled() => {}
                response = work => {
                    let Ok(response) = response;
                    let _ = answer.send(response);
                }
            }
        });
        answered.await.ok()
    }
}
