//! A bound on requests under way: what can't be done now is refused at once, instead of waiting in memory.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{ErrorCode, Problem};

/// How many requests are under way. Cloning it shares the count.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Semaphore>);

impl InFlight {
    /// Allows `most` at once.
    pub fn at_most(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// A place among them for as long as it is held; refuses with 503 `overloaded` where there is none.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| Problem::new(ErrorCode::Overloaded))
    }
}

/// A request's place among those under way, in its extensions. Work that goes on when its client has hung up takes a
/// clone along, and so still counts.
#[derive(Debug, Clone)]
pub struct Slot(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// Middleware: 503 `overloaded` where too many requests are under way already. Health is always told: a process that is
/// busy is not ill.
pub async fn limit_in_flight(State(in_flight): State<InFlight>, mut request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/health" | "/health/live" | "/health/ready") {
        return next.run(request).await;
    }
    match in_flight.enter() {
        Ok(slot) => {
            let slot = Slot(Arc::new(slot));
            request.extensions_mut().insert(slot.clone());
            let response = next.run(request).await;
            drop(slot);
            response
        }
        Err(problem) => problem.into_response(),
    }
}
