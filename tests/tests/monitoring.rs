//! What `docker/monitoring/` asks Prometheus for is what the services tell.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::collections::BTreeSet;

use common::metrics::{Kind, Metric};
use serde_json::Value;

fn project_file(path: &str) -> String {
    let path = stack::project_root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every series that the services tell.
fn told() -> BTreeSet<String> {
    let metrics = gateway::metrics::ALL.iter().chain(core_api::METRICS).copied().flatten();
    metrics
        .flat_map(|Metric { name, kind, .. }| match kind {
            Kind::Counter | Kind::Gauge => vec![(*name).to_owned()],
            Kind::Histogram(_) => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
        })
        .collect()
}

/// The names in an expression that can only be ours, or those of the process.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("onsale_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The values of `key` anywhere in a document.
fn values<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match document {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| values(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|value| values(value, key, found)),
        _ => {}
    }
}

#[track_caller]
fn asks_for_what_is_told(what: &str, expressions: &[&str]) {
    assert!(!expressions.is_empty(), "{what} asks for nothing");
    let told = told();
    for expression in expressions {
        let unknown: Vec<_> = names(expression).into_iter().filter(|name| !told.contains(name)).collect();
        assert!(unknown.is_empty(), "{what} asks for {unknown:?}, which nobody tells: {expression}");
    }
}

#[test]
fn alerts_are_about_what_is_told_and_each_is_explained() {
    let alerts: Value = serde_saphyr::from_str(&project_file("docker/monitoring/alerts.yml")).unwrap();
    let rules: Vec<&Value> =
        alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    asks_for_what_is_told("alerts.yml", &rules.iter().map(|rule| rule["expr"].as_str().unwrap()).collect::<Vec<_>>());
    let (guide, tests) = (project_file("docs/MONITORING.md"), project_file("docker/monitoring/alerts_test.yml"));
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(guide.contains(&format!("\n### {name}\n")), "docs/MONITORING.md does not explain {name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "alerts_test.yml does not make {name} go off");
    }
}

#[test]
fn the_tests_of_the_alerts_give_them_what_is_told() {
    let tests: Value = serde_saphyr::from_str(&project_file("docker/monitoring/alerts_test.yml")).unwrap();
    let mut series = Vec::new();
    values(&tests, "series", &mut series);
    asks_for_what_is_told("alerts_test.yml", &series.into_iter().filter_map(Value::as_str).collect::<Vec<_>>());
}

#[test]
fn the_dashboard_shows_what_is_told_from_the_source_that_is_chosen() {
    let dashboard: Value = serde_json::from_str(&project_file("docker/monitoring/grafana-dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    for key in ["expr", "definition"] {
        values(&dashboard, key, &mut expressions);
    }
    asks_for_what_is_told("the dashboard", &expressions.into_iter().filter_map(Value::as_str).collect::<Vec<_>>());

    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<_> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Line", "Admissions", "Requests", "Redis", "Record"]);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id comes twice");
    let mut sources = Vec::new();
    values(&dashboard, "datasource", &mut sources);
    assert!(!sources.is_empty() && sources.iter().all(|source| source["uid"] == "${datasource}"), "{sources:?}");
}

#[test]
fn prometheus_asks_where_compose_has_the_services_tell() {
    let compose: Value = serde_saphyr::from_str(&project_file("docker-compose.yml")).unwrap();
    let prometheus: Value = serde_saphyr::from_str(&project_file("docker/monitoring/prometheus.yml")).unwrap();
    for (service, setting) in [("gateway", "GATEWAY_METRICS_LISTEN"), ("core-api", "CORE_API_METRICS_LISTEN")] {
        let listen = compose["services"][service]["environment"][setting].as_str().unwrap();
        let jobs = prometheus["scrape_configs"].as_array().unwrap();
        let job = jobs.iter().find(|job| job["job_name"] == format!("onsale-{service}")).unwrap();
        let source = &job["dns_sd_configs"][0];
        assert_eq!(source["names"][0], service);
        assert_eq!(listen, format!("0.0.0.0:{}", source["port"]));
        assert!(compose["services"][service].get("ports").is_none(), "{service} is published");
    }
    let nginx = project_file("nginx/nginx.conf.template");
    assert!(!nginx.contains("3190") && !nginx.contains("3290"), "nginx knows the way to the figures");
}
