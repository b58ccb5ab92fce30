//! Webhooks: who is told what, and how they know that it was us.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use common::ids::{UserId, WebhookId};

/// The types of events that there are.
pub const EVENT_TYPES: &[&str] = &[
    "reservation.held",
    "reservation.extended",
    "reservation.completed",
    "reservation.released",
    "reservation.canceled",
    "payment.succeeded",
    "payment.failed",
    "payment.refunded",
    "seat.reserved",
    "seat.sold",
    "seat.available",
];

/// The most webhooks there are at once: each costs every change a row of its own.
pub const MAX_WEBHOOKS: i64 = 10;

/// Somebody who is told what happens.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where it is told.
    pub url: String,
    /// Which types of events; `None` is all.
    pub events: Option<Vec<String>>,
    /// Since when nothing is delivered, if so.
    pub paused_at: Option<DateTime<Utc>>,
    /// Until when the secret before this one signs as well.
    pub previous_until: Option<DateTime<Utc>>,
    /// Which administrator made it.
    pub created_by: UserId,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A webhook about to be made.
#[derive(Debug)]
pub struct NewWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Where it is told.
    pub url: String,
    /// Which types of events; `None` is all.
    pub events: Option<Vec<String>>,
    /// Its secret, sealed.
    pub sealed_secret: Vec<u8>,
}

/// What a webhook's secret begins with, in the form of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";
/// Of how many bytes a secret that we make is.
const SECRET_LEN: usize = 32;
/// Of how many bytes somebody else's secret may be.
const SECRET_LENS: std::ops::RangeInclusive<usize> = 24..=64;

/// What both sides know and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// A new one; `None` where the system has no randomness to give.
    pub fn generate() -> Option<Self> {
        let mut bytes = vec![0_u8; SECRET_LEN];
        rand::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Reads `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        SECRET_LENS.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The same from its bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is told, once.
    pub fn reveal(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, message: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, message)))
    }
}

impl fmt::Debug for WebhookSecret {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The value of `webhook-signature`: one signature for each secret that is good now, the newest first. As Standard
/// Webhooks has it: HMAC-SHA256 of `id.timestamp.body`.
pub fn signatures(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    secrets.iter().map(|secret| secret.sign(&message)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // The example of its libraries.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_sign_side_by_side() {
        let secrets = [WebhookSecret::generate().unwrap(), WebhookSecret::generate().unwrap()];
        let both = signatures(&secrets, "id", 1, b"{}");
        let each = secrets.each_ref().map(|secret| signatures(std::slice::from_ref(secret), "id", 1, b"{}"));
        assert_eq!(both, each.join(" "));
        assert_ne!(each[0], each[1]);
    }

    #[test]
    fn secrets_have_one_form_and_are_not_shown() {
        let secret = WebhookSecret::generate().unwrap();
        assert_eq!(WebhookSecret::parse(&secret.reveal()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
        let short = STANDARD.encode([7; 23]);
        for bad in ["", "whsec_", "whsec_!", &short, &format!("whsec_{short}"), &STANDARD.encode([7; 32])] {
            assert_eq!(WebhookSecret::parse(bad), None, "{bad}");
        }
    }
}
