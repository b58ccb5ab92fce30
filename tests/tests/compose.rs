//! `docker-compose.yml` and the files it has to agree with, as far as no Docker is needed.
#![expect(clippy::unwrap_used, reason = "a test's helper fails as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

fn project_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The `${NAME}`, `${NAME:-default}` and `${NAME:?message}` of a text: each name and its default.
fn placeholders(text: &str) -> BTreeMap<&str, Option<&str>> {
    let mut found = BTreeMap::new();
    for rest in text.split("${").skip(1) {
        let (inner, _) = rest.split_once('}').unwrap();
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let name = name.split_once(":?").map_or(name, |(name, _)| name);
        let known = found.entry(name).or_insert(default);
        *known = known.or(default);
    }
    found
}

#[test]
fn the_example_names_every_variable_with_its_default() {
    let compose = project_file("docker-compose.yml");
    let example = project_file(".env.example");
    let variables = placeholders(&compose);
    let shown: BTreeMap<&str, &str> = example
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let names: BTreeSet<_> = variables.keys().copied().collect();
    assert_eq!(names, shown.keys().copied().collect::<BTreeSet<_>>());
    for (name, default) in variables {
        // A variable that is handed on empty has its default in the binary.
        if let Some(default) = default.filter(|default| !default.is_empty()) {
            assert_eq!(shown[name], default, "{name}");
        }
    }
}

#[test]
fn the_dockerfile_s_base_images_are_those_of_compose() {
    let compose = project_file("docker-compose.yml");
    let dockerfile = project_file("docker/Dockerfile");
    let defaults = placeholders(&compose);
    let arguments: Vec<_> = dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')).collect();
    assert_eq!(arguments.len(), 3);
    for (name, image) in arguments {
        assert_eq!(defaults.get(name), Some(&Some(image)), "{name}");
    }
}

#[test]
fn nginx_is_given_every_variable_of_its_template() {
    let compose: Value = serde_saphyr::from_str(&project_file("docker-compose.yml")).unwrap();
    let given: BTreeSet<_> =
        compose["services"]["nginx"]["environment"].as_object().unwrap().keys().map(String::as_str).collect();
    // `${UPPER_CASE}` is a placeholder wherever it stands, in a comment too.
    let template = project_file("nginx/nginx.conf.template");
    let used: BTreeSet<_> = placeholders(&template)
        .into_keys()
        .filter(|name| *name != "UPPER_CASE" && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert_eq!(given, used);
}

#[test]
fn no_secret_has_a_default() {
    let compose = project_file("docker-compose.yml");
    for name in [
        "SESSION_SECRET",
        "TICKET_SECRET",
        "PASS_PRIVATE_KEYS",
        "PASS_PUBLIC_KEYS",
        "ENTRY_TICKET_PRIVATE_KEYS",
        "POSTGRES_PASSWORD",
        "APP_DB_PASSWORD",
        "GATEWAY_DB_PASSWORD",
        "PAYMENT_PROVIDER_KEY",
        "PAYMENT_WEBHOOK_SECRETS",
    ] {
        assert!(compose.contains(&format!("${{{name}:?")), "{name} is not required");
        assert!(!compose.contains(&format!("${{{name}:-")), "{name} has a default");
    }
}
