//! What requests come to, for Prometheus: by route, with handles that are made once for each.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::{HTTP_DURATION, HTTP_PROBLEMS, HTTP_REQUESTS};

/// More routes than a router of ours has; a bound all the same.
const MAX_ROUTES: usize = 256;
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles of one route.
struct Route {
    duration: Histogram,
    by_class: [Counter; CLASSES.len()],
}

static ROUTES: LazyLock<RwLock<HashMap<String, Arc<Route>>>> = LazyLock::new(RwLock::default);

/// Notes an answer and the time until its head was ready.
pub(super) fn note(route: &str, status: StatusCode, elapsed: Duration) {
    let Some(route) = handles(route) else { return };
    let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
    if let Some(counter) = route.by_class.get(class) {
        counter.increment(1);
    }
    route.duration.record(elapsed);
}

/// Notes a failure that was told.
pub(super) fn note_problem(error: &'static str) {
    counter!(HTTP_PROBLEMS.name, "error" => error).increment(1);
}

fn handles(route: &str) -> Option<Arc<Route>> {
    if let Some(known) = ROUTES.read().unwrap_or_else(PoisonError::into_inner).get(route) {
        return Some(Arc::clone(known));
    }
    let mut routes = ROUTES.write().unwrap_or_else(PoisonError::into_inner);
    if routes.len() >= MAX_ROUTES {
        return None;
    }
    Some(Arc::clone(routes.entry(route.to_owned()).or_insert_with(|| Arc::new(Route::new(route)))))
}

impl Route {
    fn new(route: &str) -> Self {
        let counter = |class| counter!(HTTP_REQUESTS.name, "route" => route.to_owned(), "status" => class);
        Self { duration: histogram!(HTTP_DURATION.name, "route" => route.to_owned()), by_class: CLASSES.map(counter) }
    }
}
