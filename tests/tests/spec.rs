//! `api-spec.yaml` against itself and against the catalogue of failures: no server is needed.
#![expect(clippy::unwrap_used, reason = "a test's helper fails as the test does")]

use std::collections::{BTreeMap, BTreeSet};

use common::draw::{self, Seed};
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use e2e::spec::{Operation, Spec, faults};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The original API: these answer 200 and keep their paths and field names.
const SEED: [&str; 9] = [
    "GET /health",
    "POST /auth/login",
    "POST /queue/token",
    "GET /concerts",
    "GET /concerts/{concertId}/seats",
    "POST /reservation",
    "GET /balance",
    "POST /balance",
    "POST /payment",
];

const PROBLEM_JSON: &str = "application/problem+json";

/// One response of one operation, its `$ref` resolved.
struct Response<'a> {
    /// For messages: `POST /payment 410`.
    name: String,
    status: u16,
    object: &'a Value,
}

fn spec() -> Spec {
    Spec::load().unwrap()
}

fn name(operation: &Operation<'_>) -> String {
    format!("{} {}", operation.method, operation.path)
}

fn responses<'a>(spec: &'a Spec, operation: &Operation<'a>) -> Vec<Response<'a>> {
    object(&operation.object["responses"])
        .iter()
        .map(|(status, response)| Response {
            name: format!("{} {status}", name(operation)),
            status: status.parse().unwrap(),
            object: spec.resolve(response).unwrap(),
        })
        .collect()
}

fn all_responses(spec: &Spec) -> Vec<Response<'_>> {
    spec.operations().unwrap().iter().flat_map(|operation| responses(spec, operation)).collect()
}

fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

/// Path-level and own parameters of an operation, resolved.
fn parameters<'a>(spec: &'a Spec, operation: &Operation<'a>) -> Vec<&'a Value> {
    [&operation.path_item["parameters"], &operation.object["parameters"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .map(|parameter| spec.resolve(parameter).unwrap())
        .collect()
}

/// The examples of a media type by name, resolved to their values.
fn examples<'a>(spec: &'a Spec, media_type: &'a Value) -> Vec<(&'a str, &'a Value)> {
    object(&media_type["examples"])
        .iter()
        .map(|(key, example)| (key.as_str(), &spec.resolve(example).unwrap()["value"]))
        .collect()
}

fn validator(spec: &Spec, schema: &Value) -> Validator {
    spec.validator(schema).unwrap()
}

/// What does not hold, as one message.
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_operation_says_what_it_is() {
    let spec = spec();
    let tags: BTreeSet<_> =
        spec.document()["tags"].as_array().unwrap().iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for operation in spec.operations().unwrap() {
        let name = name(&operation);
        for field in ["operationId", "summary", "description"] {
            assert!(operation.object[field].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {field}");
        }
        assert!(ids.insert(operation.object["operationId"].as_str()), "{name}: another one has this operationId");
        assert!(!operation.served_by.is_empty(), "{name} is served by nobody");
        assert!(operation.object["tags"][0].as_str().is_some_and(|tag| tags.contains(tag)), "{name} has no known tag");
        let in_path: BTreeSet<_> =
            operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let declared: BTreeSet<_> = parameters(&spec, &operation)
            .into_iter()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(in_path, declared, "{name}: parameters of the path");
    }
}

#[test]
fn the_seed_s_endpoints_are_marked_and_answer_200() {
    let spec = spec();
    let marked: BTreeSet<String> = spec
        .operations()
        .unwrap()
        .iter()
        .filter(|operation| operation.object["description"].as_str().is_some_and(|text| text.contains('★')))
        .map(name)
        .collect();
    assert_eq!(marked, SEED.map(str::to_owned).into());
    for response in all_responses(&spec).iter().filter(|response| response.status < 300) {
        // What is still under way when it is answered is no success yet.
        let is_under_way = response.name == "POST /payment 202";
        assert!(response.status == 200 || is_under_way, "{}", response.name);
    }
}

#[test]
fn every_body_has_an_example() {
    let spec = spec();
    let mut without = Vec::new();
    let mut check = |name: &str, content: &Value| {
        for (kind, media_type) in object(content) {
            if examples(&spec, media_type).is_empty() {
                without.push(format!("{name} {kind} has no example"));
            }
        }
    };
    for operation in spec.operations().unwrap() {
        check(&name(&operation), &operation.object["requestBody"]["content"]);
        for response in responses(&spec, &operation) {
            check(&response.name, &response.object["content"]);
        }
    }
    assert_none(&without);
}

#[test]
fn every_example_fits_its_schema() {
    let spec = spec();
    // The same few schemas stand behind hundreds of examples, and building a validator is what takes the time.
    let mut validators: BTreeMap<String, Validator> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut check = |name: &str, schema: &Value, value: &Value| {
        let validator = validators.entry(schema.to_string()).or_insert_with(|| validator(&spec, schema));
        wrong.extend(faults(validator, value).into_iter().map(|fault| format!("{name}: {fault}")));
    };
    for operation in spec.operations().unwrap() {
        let operation_name = name(&operation);
        for parameter in parameters(&spec, &operation) {
            if let Some(value) = parameter.get("example") {
                check(&format!("{operation_name} {}", parameter["name"]), &parameter["schema"], value);
            }
        }
        for (_, media_type) in object(&operation.object["requestBody"]["content"]) {
            for (key, value) in examples(&spec, media_type) {
                check(&format!("{operation_name} request {key}"), &media_type["schema"], value);
            }
        }
        for response in responses(&spec, &operation) {
            for (key, header) in object(&response.object["headers"]) {
                let header = spec.resolve(header).unwrap();
                check(&format!("{} {key}", response.name), &header["schema"], &header["example"]);
            }
            for (_, media_type) in object(&response.object["content"]) {
                for (key, value) in examples(&spec, media_type) {
                    check(&format!("{} {key}", response.name), &media_type["schema"], value);
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_schema_that_an_example_does_not_fit_is_noticed() {
    let spec = spec();
    let balance = validator(&spec, &json!({ "$ref": "#/components/schemas/Balance" }));
    assert!(faults(&balance, &json!({ "balance": 19.99 })).is_empty());
    for wrong in [json!({ "balance": 1.001 }), json!({ "balance": -1 }), json!({}), json!({ "balance": 1, "extra": 1 })]
    {
        assert!(!faults(&balance, &wrong).is_empty(), "{wrong}");
    }
    let page = validator(&spec, &json!({ "$ref": "#/components/schemas/ConcertPage" }));
    let with = |pagination: Value| json!({ "data": [], "pagination": pagination });
    let pagination = json!({ "currentPage": 1, "totalPages": 0, "totalItems": 0 });
    assert!(faults(&page, &with(pagination.clone())).is_empty());
    let mut more = pagination;
    more["extra"] = 1.into();
    assert!(!faults(&page, &with(more)).is_empty(), "a field that no schema names, further in");
    let seat = validator(&spec, &json!({ "$ref": "#/components/schemas/ReservationRequest" }));
    let id = "3f8e2c64-9b1d-4e57-8f2a-6c0d9e7b4a21";
    assert!(faults(&seat, &json!({ "concertId": id, "seatNumber": 50, "section": "A" })).is_empty());
    for wrong in [
        json!({ "concertId": id }),
        json!({ "concertId": id, "seatNumber": 51 }),
        json!({ "concertId": id, "seatId": "7" }),
        json!({ "concertId": id, "seatId": id, "seatNumber": 1 }),
    ] {
        assert!(!faults(&seat, &wrong).is_empty(), "{wrong}");
    }
}

/// The body that a service answers for a code, with an example's request id.
fn body_of(code: ErrorCode, language: Language, example: &Value) -> Value {
    let request_id = example["requestId"].as_str().unwrap_or_default();
    let mut body = serde_json::to_value(Problem::new(code).body(language, request_id)).unwrap();
    if code == ErrorCode::Unhealthy {
        // The seed's health check has a word in `status` and fields of its own.
        body["status"] = "ERROR".into();
        for field in ["timestamp", "checks"] {
            body[field] = example[field].clone();
        }
    }
    if code == ErrorCode::AlreadyCheckedIn {
        // A door is told as well when, and by whom.
        for field in ["checkedInAt", "checkedInBy"] {
            if let Some(told) = example.get(field) {
                body[field] = told.clone();
            }
        }
    }
    body
}

#[test]
fn every_failure_is_the_one_of_the_catalogue() {
    let spec = spec();
    let mut answered = BTreeSet::new();
    for response in all_responses(&spec).iter().filter(|response| response.status >= 400) {
        let content = object(&response.object["content"]);
        assert_eq!(content.keys().collect::<Vec<_>>(), [PROBLEM_JSON], "{}", response.name);
        for (key, example) in examples(&spec, &content[PROBLEM_JSON]) {
            let name = format!("{} {key}", response.name);
            let (code, language) =
                key.strip_suffix("_en").map_or((key, Language::Korean), |code| (code, Language::English));
            let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code);
            let code = *code.unwrap_or_else(|| panic!("{name} is named after no code"));
            assert_eq!(code.status().as_u16(), response.status, "{name} has another status");
            assert_eq!(example, &body_of(code, language, example), "{name}");
            answered.insert(code.as_str());
        }
    }
    let known: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let missing: Vec<_> = known.difference(&answered).copied().collect();
    assert!(missing.is_empty(), "codes that are documented nowhere: {missing:?}");
    let listed = spec.document()["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
    assert_eq!(listed.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), known, "the schema ErrorCode");
}

#[test]
fn every_operation_tells_what_can_happen_to_any_request() {
    let spec = spec();
    for operation in spec.operations().unwrap() {
        let name = name(&operation);
        let statuses: BTreeSet<u16> = responses(&spec, &operation).iter().map(|response| response.status).collect();
        let mut expected = vec![200, 405, 429, 431, 500, 503];
        if !operation.object["requestBody"].is_null() {
            expected.extend([400, 408, 413, 415]);
        }
        if parameters(&spec, &operation).iter().any(|parameter| parameter["in"] == "path") {
            expected.extend([400, 404, 414]);
        }
        if parameters(&spec, &operation).iter().any(|parameter| parameter["in"] == "query") {
            expected.extend([400, 414]);
        }
        if parameters(&spec, &operation).iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
            expected.extend([409, 422]);
        }
        let missing: Vec<_> = expected.into_iter().filter(|status| !statuses.contains(status)).collect();
        assert!(missing.is_empty(), "{name} does not tell of {missing:?}");
    }
}

#[test]
fn who_needs_credentials_can_be_refused() {
    let spec = spec();
    for operation in spec.operations().unwrap() {
        let name = name(&operation);
        let secured = operation.object["security"].as_array().is_some_and(|ways| !ways.is_empty());
        let responses = responses(&spec, &operation);
        let refusal = responses.iter().find(|response| response.status == 401);
        // Login is refused for what is in its body.
        assert_eq!(refusal.is_some(), secured || operation.path == "/auth/login", "{name} and 401");
        let Some(refusal) = refusal.filter(|_| secured) else { continue };
        let codes: BTreeSet<_> =
            examples(&spec, &refusal.object["content"][PROBLEM_JSON]).into_iter().map(|(key, _)| key).collect();
        let schemes = operation.object["security"].to_string();
        for (scheme, code) in [
            ("bearer", "unauthenticated"),
            ("bearer", "invalid_session"),
            ("queueToken", "missing_queue_token"),
            ("queueToken", "invalid_queue_token"),
        ] {
            // Where an admission is needed, who has no queue token has none: that is what they are told, with 403.
            if (operation.path, code) == ("/reservation", "missing_queue_token") {
                assert!(!codes.contains(code), "{name} and {code}");
                continue;
            }
            assert_eq!(codes.contains(code), schemes.contains(scheme), "{name} and {code}");
        }
    }
}

#[test]
fn whoever_is_no_administrator_is_refused_by_all_of_admin() {
    let spec = spec();
    for operation in spec.operations().unwrap() {
        let responses = responses(&spec, &operation);
        let refusal = responses.iter().find(|response| response.status == 403);
        let refuses = refusal.is_some_and(|refusal| {
            examples(&spec, &refusal.object["content"][PROBLEM_JSON]).iter().any(|(key, _)| *key == "forbidden")
        });
        let name = name(&operation);
        assert_eq!(refuses, operation.path.starts_with("/admin/"), "{name} and 403 forbidden");
        assert_eq!(operation.object["tags"][0] == "admin", refuses, "{name} and its tag");
    }
}

#[test]
fn every_event_of_a_stream_is_what_a_poll_would_tell() {
    let spec = spec();
    let mut seen = BTreeSet::new();
    for response in all_responses(&spec) {
        let Some(stream) = response.object["content"].get("text/event-stream") else { continue };
        let data = validator(&spec, &spec.resolve(&stream["schema"]).unwrap()["x-event-data"]);
        for (key, example) in examples(&spec, stream) {
            let name = format!("{} {key}", response.name);
            let text = example.as_str().unwrap();
            assert!(text.ends_with("\n\n"), "{name}: the last event is not complete");
            for block in text.split("\n\n").filter(|block| block.contains("data: ")) {
                let field = |name| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let told: Value = serde_json::from_str(field("data").unwrap()).unwrap();
                assert_none(
                    &faults(&data, &told).into_iter().map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>(),
                );
                let event = field("event").unwrap();
                let expected: &[&str] = match told["status"].as_str() {
                    Some("waiting") => &["position"],
                    Some("admitted") => &["admitted"],
                    Some(_) => &["closed"],
                    None if told.get("seconds").is_some() => &["live"],
                    // Seats, a list.
                    None => &["reset", "seats"],
                };
                assert!(expected.contains(&event), "{name}: {event}");
                assert!(field("id").is_some_and(|id| !id.is_empty()) && field("retry").is_some(), "{name}: {event}");
                seen.insert(event.to_owned());
            }
        }
    }
    let all = ["position", "admitted", "closed", "reset", "seats", "live"];
    assert_eq!(seen, all.map(str::to_owned).into(), "events that examples show");
}

#[test]
fn the_draw_that_the_frontier_shows_is_made_from_the_seed_that_was_announced() {
    let spec = spec();
    let operations = spec.operations().unwrap();
    let frontier = operations.iter().find(|operation| operation.path == "/queue/{concertId}/frontier").unwrap();
    let responses = responses(&spec, frontier);
    let draws: Vec<_> = examples(&spec, &responses[0].object["content"]["application/json"])
        .into_iter()
        .map(|(_, example)| &example["draw"])
        .filter(|draw| draw.is_object())
        .collect();
    let seeds: Vec<_> = draws.iter().filter_map(|draw| Seed::from_hex(draw["seed"].as_str()?).ok()).collect();
    assert!(!seeds.is_empty() && seeds.len() < draws.len(), "one draw that is to come, one that is made");
    for draw in draws {
        assert_eq!(draw["algorithm"], draw::ALGORITHM);
        assert_eq!(draw["seedHash"], seeds[0].hash());
    }
}

#[test]
fn answers_carry_the_headers_that_clients_rely_on() {
    let spec = spec();
    for response in all_responses(&spec) {
        let headers = object(&response.object["headers"]);
        let required: &[&str] = match response.status {
            401 => &["WWW-Authenticate"],
            405 => &["Allow"],
            429 | 503 => &["Retry-After"],
            304 => &["ETag"],
            _ => &[],
        };
        for header in required.iter().chain(&["X-Request-Id"]) {
            assert!(headers.contains_key(*header), "{} lacks {header}", response.name);
        }
    }
    for operation in spec.operations().unwrap() {
        let repeatable = parameters(&spec, &operation).iter().any(|parameter| parameter["name"] == "Idempotency-Key");
        let responses = responses(&spec, &operation);
        let ok = responses.iter().find(|response| response.status == 200).unwrap();
        let told = object(&ok.object["headers"]).contains_key("Idempotency-Replayed");
        assert_eq!(told, repeatable, "{} and Idempotency-Replayed", ok.name);
    }
}
