//! The settings of payments through a provider. Without an address there are none, and only the balance pays.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::config::{Reader, Setting};
use common::signed_webhook::WebhookKeys;
use common::tokens::read_keys;
use http::Uri;
use http::uri::Scheme;

pub(super) const URL: Setting = Setting {
    name: "PAYMENT_PROVIDER_URL",
    default: Some(""),
    unit: "`http://host:port`",
    meaning: "Where the provider of card payments is asked; without it only the balance pays.",
};
pub(super) const NAME: Setting = Setting {
    name: "PAYMENT_PROVIDER_NAME",
    default: Some("sandbox"),
    unit: "letters, digits, `-`",
    meaning: "What the provider is called in the path of its webhooks; never change it while payments are under way.",
};
pub(super) const KEY: Setting = Setting {
    name: "PAYMENT_PROVIDER_KEY",
    default: Some(""),
    unit: "text of 32 characters or more",
    meaning: "What core-api shows the provider to be known by it; needed with `PAYMENT_PROVIDER_URL`.",
};
pub(super) const WEBHOOK_SECRETS: Setting = Setting {
    name: "PAYMENT_WEBHOOK_SECRETS",
    default: Some(""),
    unit: "text of 32 characters or more; several, comma-separated",
    meaning: "Verify the provider's webhooks, any of them; needed with `PAYMENT_PROVIDER_URL`.",
};
pub(super) const TIMEOUT_MS: Setting = Setting {
    name: "PAYMENT_PROVIDER_TIMEOUT_MS",
    default: Some("3000"),
    unit: "milliseconds",
    meaning: "How long one call to the provider may take; two have to fit into a request.",
};
pub(super) const GRACE_SECONDS: Setting = Setting {
    name: "PAYMENT_GRACE_SECONDS",
    default: Some("60"),
    unit: "seconds",
    meaning: "How long a hold waits for the provider's decision, past its deadline if need be; then the payment is given up.",
};

const MIN_KEY_LEN: usize = 32;
/// As wide as the column.
const MAX_NAME_LEN: usize = 50;

/// A provider and how it is dealt with.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Where it is asked.
    pub url: Uri,
    /// What it is called.
    pub name: String,
    /// What we are known by.
    pub key: String,
    /// What its webhooks are signed with.
    pub webhooks: Arc<WebhookKeys>,
    /// How long a call may take.
    pub timeout: Duration,
    /// How long a hold waits for a decision.
    pub grace: TimeDelta,
}

impl ProviderConfig {
    /// Reads them all; `None` without an address, and for faults already noted.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let timeout_ms = reader.number(&TIMEOUT_MS, 100..=4_000);
        let grace_seconds = reader.number(&GRACE_SECONDS, 10..=600);
        let (name, key) = (reader.text(&NAME), reader.text(&KEY));
        let webhooks = read_keys(reader, &WEBHOOK_SECRETS, WebhookKeys::new);
        if reader.text(&URL).is_empty() {
            return None;
        }
        let url = reader.parse::<Uri>(&URL);
        if url.as_ref().is_some_and(|url| url.scheme() != Some(&Scheme::HTTP) || url.query().is_some()) {
            reader.fault(&URL, "must begin with http:// and have no query; TLS is a proxy's");
        }
        if name.len() > MAX_NAME_LEN || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            reader.fault(&NAME, "is not of up to 50 letters, digits and `-`");
        }
        if key.len() < MIN_KEY_LEN {
            reader.fault(&KEY, "has fewer than 32 characters");
        }
        if webhooks.is_none() && reader.text(&WEBHOOK_SECRETS).is_empty() {
            reader.fault(&WEBHOOK_SECRETS, "is not set, and PAYMENT_PROVIDER_URL is");
        }
        Some(Self {
            url: url?,
            name,
            key,
            webhooks: webhooks?,
            timeout: Duration::from_millis(timeout_ms?),
            grace: TimeDelta::seconds(grace_seconds?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<ProviderConfig>, String) {
        let mut reader = Reader::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = ProviderConfig::read(&mut reader);
        (config, reader.finish().err().map(|faults| faults.to_string()).unwrap_or_default())
    }

    #[test]
    fn without_an_address_there_is_no_provider_and_with_one_nothing_may_be_missing() {
        let (config, faults) = read(&[]);
        assert!(config.is_none() && faults.is_empty(), "{faults}");
        let (config, faults) =
            read(&[("PAYMENT_PROVIDER_URL", "http://127.0.0.1:1"), ("PAYMENT_PROVIDER_KEY", "hunter2")]);
        assert!(config.is_none() && !faults.contains("hunter2"), "{faults}");
        assert!(
            faults.contains("PAYMENT_PROVIDER_KEY has fewer") && faults.contains("PAYMENT_WEBHOOK_SECRETS is not set")
        );
        let secret = "a-secret-of-at-least-thirty-two-characters";
        let whole = [("PAYMENT_PROVIDER_KEY", secret), ("PAYMENT_WEBHOOK_SECRETS", secret)];
        let with = |url| read(&[whole[0], whole[1], ("PAYMENT_PROVIDER_URL", url)]);
        assert!(with("http://127.0.0.1:1").0.is_some());
        for bad in ["https://provider.example", "provider", "http://a?b=c"] {
            assert!(with(bad).1.contains("PAYMENT_PROVIDER_URL"), "{bad}");
        }
    }
}
