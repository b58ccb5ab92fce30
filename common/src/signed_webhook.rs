//! Messages between servers that prove who sent them and when, as Standard Webhooks has it
//! (<https://github.com/standard-webhooks/standard-webhooks>): HMAC-SHA256 over `id.timestamp.body`, in base64, in three
//! headers. The first of a list of secrets signs, all verify.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::tokens::KeyError;

/// Names the message: the same when it is sent again.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When this try was sent, in Unix seconds.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One or several signatures, `v1,` and base64, separated by spaces.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How far a message's time may be from ours. What is older may be an old message played again.
pub const WEBHOOK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

const MIN_SECRET_LEN: usize = 32;
/// The longest name of a message.
const MAX_ID_LEN: usize = 255;
/// A sender that rotates its secrets signs with two; a few more are read, the rest is not worth the work.
const MAX_SIGNATURES: usize = 4;

/// The secrets of one sender.
pub struct WebhookKeys(Vec<hmac::Key>);

impl std::fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookKeys({})", self.0.len())
    }
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// A header is missing, twice there, or not of its form.
    #[error("the signature's headers are missing or not of their form")]
    Malformed,
    /// It was sent too long ago, or in the future.
    #[error("the message is not of now")]
    Old,
    /// No secret of ours made it.
    #[error("the signature is not the message's")]
    Forged,
}

impl WebhookKeys {
    /// From secrets of 32 characters or more, the newest first.
    pub fn new<S: AsRef<str>>(secrets: &[S]) -> Result<Self, KeyError> {
        let mut seen: Vec<&str> = Vec::with_capacity(secrets.len());
        for secret in secrets.iter().map(AsRef::as_ref) {
            if secret.len() < MIN_SECRET_LEN {
                return Err(KeyError::TooShort);
            }
            if seen.contains(&secret) {
                return Err(KeyError::Duplicate);
            }
            seen.push(secret);
        }
        if seen.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self(seen.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect()))
    }

    /// The headers of a message that is sent at `now`. `id` is visible ASCII.
    pub fn sign(&self, id: &str, now: DateTime<Utc>, body: &[u8]) -> [(HeaderName, HeaderValue); 3] {
        let timestamp = now.timestamp().to_string();
        let tag = self.0.first().map(|key| hmac::sign(key, &signed_text(id, &timestamp, body)));
        let signature = tag.map(|tag| format!("v1,{}", STANDARD.encode(tag))).unwrap_or_default();
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        [(WEBHOOK_ID, value(id)), (WEBHOOK_TIMESTAMP, value(&timestamp)), (WEBHOOK_SIGNATURE, value(&signature))]
    }

    /// The id of a message that one of these secrets signed, no longer than [`WEBHOOK_TOLERANCE`] from `now`. Signatures
    /// are compared in constant time.
    pub fn verify(&self, headers: &HeaderMap, now: DateTime<Utc>, body: &[u8]) -> Result<String, NotSigned> {
        let id = only(headers, &WEBHOOK_ID).ok_or(NotSigned::Malformed)?;
        let timestamp = only(headers, &WEBHOOK_TIMESTAMP).ok_or(NotSigned::Malformed)?;
        let signatures = only(headers, &WEBHOOK_SIGNATURE).ok_or(NotSigned::Malformed)?;
        if !(1..=MAX_ID_LEN).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotSigned::Malformed);
        }
        let sent_at = timestamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let sent_at = sent_at.ok_or(NotSigned::Malformed)?;
        if (now - sent_at).abs() > WEBHOOK_TOLERANCE {
            return Err(NotSigned::Old);
        }
        let text = signed_text(id, timestamp, body);
        let tags = signatures.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        let is_ours = |tag: Vec<u8>| self.0.iter().any(|key| hmac::verify(key, &text, &tag).is_ok());
        if tags.take(MAX_SIGNATURES).any(is_ours) { Ok(id.to_owned()) } else { Err(NotSigned::Forged) }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn signed_text(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an-old-secret-of-at-least-32-characters";
    const NEW: &str = "a-new-secret-of-at-least-32-characters!";

    fn keys(secrets: &[&str]) -> WebhookKeys {
        WebhookKeys::new(secrets).unwrap()
    }

    fn headers(signed: [(HeaderName, HeaderValue); 3]) -> HeaderMap {
        signed.into_iter().collect()
    }

    #[test]
    fn what_is_signed_is_believed_for_five_minutes_and_nothing_else_is() {
        let (keys, now) = (keys(&[NEW]), DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let signed = headers(keys.sign("evt_1", now, b"{}"));
        assert_eq!(keys.verify(&signed, now, b"{}").as_deref(), Ok("evt_1"));
        for (away, verdict) in [(300, true), (301, false), (-300, true), (-301, false)] {
            let found = keys.verify(&signed, now + TimeDelta::seconds(away), b"{}");
            assert_eq!(found, if verdict { Ok("evt_1".to_owned()) } else { Err(NotSigned::Old) }, "{away}");
        }
        assert_eq!(keys.verify(&signed, now, b"{ }"), Err(NotSigned::Forged));
        for (name, value) in [
            (WEBHOOK_ID, "evt_2"),
            (WEBHOOK_TIMESTAMP, "1800000001"),
            (WEBHOOK_SIGNATURE, "v1,AAAA"),
            (WEBHOOK_SIGNATURE, "v2,AAAA"),
            (WEBHOOK_SIGNATURE, ""),
        ] {
            let mut forged = signed.clone();
            forged.insert(name, HeaderValue::from_static(value));
            assert_eq!(keys.verify(&forged, now, b"{}"), Err(NotSigned::Forged), "{value}");
        }
        for name in [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE] {
            let mut twice = signed.clone();
            twice.append(name.clone(), signed[&name].clone());
            assert_eq!(keys.verify(&twice, now, b"{}"), Err(NotSigned::Malformed));
            let mut without = signed.clone();
            without.remove(&name);
            assert_eq!(keys.verify(&without, now, b"{}"), Err(NotSigned::Malformed));
        }
        for bad in ["", "x", "1e9", "99999999999999999999"] {
            let mut bad_time = signed.clone();
            bad_time.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_str(bad).unwrap());
            assert_eq!(keys.verify(&bad_time, now, b"{}"), Err(NotSigned::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_known_answer_of_the_specification() {
        // Its example, whose secret is base64 there and raw bytes here.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let keys = WebhookKeys(vec![hmac::Key::new(hmac::HMAC_SHA256, &secret)]);
        let sent_at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let [_, _, (_, signature)] = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_rotate() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let (old, both, new) = (keys(&[OLD]), keys(&[NEW, OLD]), keys(&[NEW]));
        let by_old = headers(old.sign("e", now, b"x"));
        assert!(both.verify(&by_old, now, b"x").is_ok());
        assert_eq!(new.verify(&by_old, now, b"x"), Err(NotSigned::Forged));
        assert!(new.verify(&headers(both.sign("e", now, b"x")), now, b"x").is_ok(), "the first signs");
        // A sender in the middle of a rotation signs with both.
        let mut two = by_old.clone();
        let signature = |headers: &HeaderMap| headers[&WEBHOOK_SIGNATURE].to_str().unwrap().to_owned();
        let joined = format!("{} {}", signature(&by_old), signature(&headers(new.sign("e", now, b"x"))));
        two.insert(WEBHOOK_SIGNATURE, joined.parse().unwrap());
        assert!(new.verify(&two, now, b"x").is_ok());
    }

    #[test]
    fn bad_secrets_are_refused_and_none_is_shown() {
        assert_eq!(WebhookKeys::new::<&str>(&[]).unwrap_err(), KeyError::Empty);
        assert_eq!(WebhookKeys::new(&["short"]).unwrap_err(), KeyError::TooShort);
        assert_eq!(WebhookKeys::new(&[OLD, OLD]).unwrap_err(), KeyError::Duplicate);
        assert_eq!(format!("{:?}", keys(&[OLD])), "WebhookKeys(1)");
    }
}
