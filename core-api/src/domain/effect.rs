//! Effects that happen once: an idempotency key, who owns it, and the answer that is kept with the effect.

use std::collections::BTreeMap;

use common::ids::UserId;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Fault;

/// A client's name for one thing it wants done: 1–255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads a key; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=255).contains(&text.len()) && visible).then(|| Self(text.to_owned()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether two requests are the same: SHA-256 of method, path and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a request. Bodies are compared field by field: the order of fields and white space are no difference, every digit
    /// of a number is. What is no JSON object is compared byte for byte.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let fields = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(body).ok();
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        add(method.as_bytes());
        add(path.as_bytes());
        if let Some(fields) = fields {
            add(b"fields");
            for (name, value) in fields {
                add(name.as_bytes());
                add(&without_white_space(value.get()));
            }
        } else {
            add(b"bytes");
            add(body);
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes, for the database.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// JSON text without the white space outside its strings.
fn without_white_space(json: &str) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |byte: &u8| {
        let keep = in_string || !byte.is_ascii_whitespace();
        in_string ^= *byte == b'"' && !escaped;
        escaped = in_string && *byte == b'\\' && !escaped;
        keep
    };
    json.bytes().filter(keep).collect()
}

/// One try at doing what a key names.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose key it is.
    pub user: UserId,
    /// The key.
    pub key: IdempotencyKey,
    /// Which try: an effect is only committed while its own try still owns the key.
    pub attempt: Uuid,
}

/// What a key turned out to be when a request came with it.
#[derive(Debug)]
pub enum Begin {
    /// New: this try owns it now.
    Mine(Claim),
    /// Done: the answer of then.
    Done(Answer),
    /// Another try is under way.
    InProgress,
    /// It was used for another request.
    Reused,
    /// There is no such user.
    UnknownUser,
}

/// An answer as it goes out, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: Vec<u8>,
}

impl Answer {
    /// Success, with `value` as JSON.
    pub fn ok(value: &impl Serialize) -> Self {
        // Plain structs with string keys always serialise.
        Self { status: 200, body: serde_json::to_vec(value).unwrap_or_default() }
    }

    /// Under way, with `value` as JSON.
    pub fn accepted(value: &impl Serialize) -> Self {
        Self { status: 202, ..Self::ok(value) }
    }
}

/// How an effect's answer is made, and under which claim it is kept, in the effect's own transaction: a crash can't
/// come between the two.
pub struct Record<T> {
    /// The claim, where the request had a key.
    pub claim: Option<Claim>,
    /// Makes the answer.
    pub render: Box<dyn Fn(&T) -> Answer + Send + Sync>,
}

impl<T> Record<T> {
    /// Keeps what `render` makes under `claim`.
    pub fn new(claim: Option<Claim>, render: impl Fn(&T) -> Answer + Send + Sync + 'static) -> Self {
        Self { claim, render: Box::new(render) }
    }
}

impl<T> std::fmt::Debug for Record<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// An effect that happened.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// What it was.
    pub outcome: T,
    /// The answer to it, kept where there was a claim.
    pub answer: Answer,
}

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EffectError<R> {
    /// The rules forbid it; nothing was changed.
    #[error("refused")]
    Refused(R),
    /// Another try has taken over this request's key; nothing was changed.
    #[error("another try with the same idempotency key has taken over")]
    Superseded,
    /// A dependency failed. Where the operation does not tell this from [`Unsettled`](Self::Unsettled), it is unknown
    /// whether anything was changed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A dependency failed while the effect was being committed: it happened or it did not.
    #[error("while committing: {0}")]
    Unsettled(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_json_is_the_same_request() {
        let of = |body: &str| Fingerprint::of("POST", "/balance", body.as_bytes());
        assert_eq!(of(r#"{"a":1,"b":[1,2]}"#), of("{ \"b\" : [1, 2],\n\"a\":1 }"));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
        assert_ne!(of(r#"{"b":[1,2]}"#), of(r#"{"b":[2,1]}"#));
        assert_ne!(of(r#"{"amount":1.10}"#), of(r#"{"amount":1.1000000000000000001}"#), "one number as floats");
        assert_ne!(of(r#"{"a":"b c"}"#), of(r#"{"a":"bc"}"#));
        assert_ne!(of(r#"{"a":"\" b"}"#), of(r#"{"a":"\"b"}"#));
        assert_ne!(of(r#"{"a":"b"}"#), of(r#"{"ab":""}"#));
        assert_ne!(of("{"), of("{ "));
        assert_ne!(of("{}"), Fingerprint::of("POST", "/payment", b"{}"));
        assert_ne!(of("{}"), Fingerprint::of("PUT", "/balance", b"{}"));
    }

    #[test]
    fn keys_are_visible_ascii() {
        for good in ["a", "~!x", &"k".repeat(255)] {
            assert!(IdempotencyKey::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", "a b", "\u{7f}", "키", &"k".repeat(256)] {
            assert!(IdempotencyKey::parse(bad).is_none(), "{bad}");
        }
    }
}
