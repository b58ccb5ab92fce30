//! The spec and the routers name the same operations: nothing is documented that is not there, nothing is there that is
//! not documented.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::collections::BTreeSet;

use common::http::Endpoint;
use e2e::spec::{Service, Spec};

fn routes<S>(endpoints: &[Endpoint<S>]) -> BTreeSet<String> {
    endpoints.iter().map(|endpoint| format!("{} {}", endpoint.method, endpoint.path)).collect()
}

#[test]
fn each_router_has_what_the_spec_says_and_no_more() {
    let spec = Spec::load().unwrap();
    let documented = |wanted: Service| -> BTreeSet<String> {
        let routes = spec.routes().unwrap();
        routes
            .into_iter()
            .filter(|(_, _, service)| *service == wanted)
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect()
    };
    assert_eq!(
        routes(&gateway::http::endpoints()),
        documented(Service::Gateway),
        "gateway: left the router, right the spec"
    );
    assert_eq!(
        routes(&core_api::http::endpoints()),
        documented(Service::CoreApi),
        "core-api: left the router, right the spec"
    );
}
