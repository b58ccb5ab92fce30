//! Which failures `api-spec.yaml` tells of, and which of them were really seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use e2e::site::Answer;
use e2e::spec::Spec;
use serde_json::Value;

const PROBLEM_JSON: &str = "application/problem+json";

/// Whether nginx can be made to run out of files here, which is what makes any operation whatever fail.
pub(crate) const OUT_OF_FILES: bool = cfg!(target_os = "linux");

/// An operation's id and the code of a failure.
type Pair = (String, String);

/// What is documented, against what was answered. Nothing that is wrong ends the test: all of it is told at its end.
pub(crate) struct Ledger {
    /// With the status that is documented.
    documented: BTreeMap<Pair, u16>,
    seen: Mutex<BTreeSet<Pair>>,
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    /// Every operation with every code that an example of its answers has.
    pub(crate) fn read(spec: &Spec) -> Result<Self> {
        let mut documented = BTreeMap::new();
        for operation in spec.operations()? {
            let name = operation.object["operationId"].as_str().context("no operationId")?;
            for (status, response) in operation.object["responses"].as_object().into_iter().flatten() {
                let examples = &spec.resolve(response)?["content"][PROBLEM_JSON]["examples"];
                for example in examples.as_object().into_iter().flat_map(|examples| examples.values()) {
                    let code =
                        spec.resolve(example)?["value"]["error"].as_str().context("an example without a code")?;
                    documented.insert((name.to_owned(), code.to_owned()), status.parse()?);
                }
            }
        }
        Ok(Self { documented, seen: Mutex::default(), faults: Mutex::default() })
    }

    /// The codes that an operation is documented with.
    pub(crate) fn codes(&self, name: &str) -> Vec<&str> {
        self.documented.keys().filter(|(known, _)| known == name).map(|(_, code)| code.as_str()).collect()
    }

    /// Whether an operation is documented with a code.
    pub(crate) fn tells(&self, name: &str, code: &str) -> bool {
        self.documented.contains_key(&(name.to_owned(), code.to_owned()))
    }

    /// Notes what an operation answered where `code` was to be provoked.
    pub(crate) fn note(&self, name: &str, code: &str, answer: &Answer) {
        let pair = (name.to_owned(), code.to_owned());
        let Some(status) = self.documented.get(&pair) else {
            return self.fault(format!("{name} is not documented with {code}: {} {}", answer.status, answer.body));
        };
        match fault_of(answer, *status, code) {
            None => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
            }
            Some(fault) => self.fault(format!("{name} {code}: {fault}: {} {}", answer.status, answer.body)),
        }
    }

    /// Notes that something else went wrong.
    pub(crate) fn fault(&self, fault: String) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Fails with everything that was wrong, and every documented failure that was not seen.
    pub(crate) fn finish(&self) -> Result<()> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen: Vec<String> = self
            .documented
            .keys()
            .filter(|pair| !seen.contains(*pair) && (OUT_OF_FILES || pair.1 != "internal_error"))
            .map(|(name, code)| format!("{name} is documented with {code}, which nothing provokes"))
            .collect();
        if faults.is_empty() && unseen.is_empty() {
            return Ok(());
        }
        bail!("{} of {} were seen\n{}\n{}", seen.len(), self.documented.len(), faults.join("\n"), unseen.join("\n"))
    }
}

/// What of an answer is not as a failure of this kind has to be.
fn fault_of(answer: &Answer, status: u16, code: &str) -> Option<String> {
    if (answer.status.as_u16(), answer.body["error"].as_str()) != (status, Some(code)) {
        return Some(format!("it should be {status}"));
    }
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    if header("content-type") != Some(PROBLEM_JSON) || answer.body["code"] != status {
        return Some("it is no problem".to_owned());
    }
    if header("x-request-id").is_none() || header("x-request-id") != answer.body["requestId"].as_str() {
        return Some("its request id is not that of its header".to_owned());
    }
    let unsaid = ["type", "title", "detail", "message"].into_iter().find(|field| answer.body[*field] == Value::Null);
    let unsent = match status {
        401 => Some("www-authenticate"),
        405 => Some("allow"),
        429 | 503 => Some("retry-after"),
        _ => None,
    };
    let unsent = unsent.filter(|name| header(name).is_none());
    unsaid.or(unsent).map(|name| format!("it has no {name}"))
}
