//! Settings, all from the environment.

use std::net::SocketAddr;
use std::sync::Arc;

use common::config::{Faults, Reader, Setting};
use common::signed_webhook::WebhookKeys;
use common::telemetry;
use common::tokens::read_keys;
use http::Uri;

/// Where the sandbox listens.
pub const LISTEN: Setting = Setting {
    name: "SANDBOX_PROVIDER_LISTEN",
    default: Some("127.0.0.1:3301"),
    unit: "address:port",
    meaning: "Where the sandbox listens.",
};
const KEY: Setting = Setting {
    name: "PAYMENT_PROVIDER_KEY",
    default: None,
    unit: "text of 32 characters or more",
    meaning: "What whoever asks has to show, as core-api has it.",
};
const WEBHOOK_SECRETS: Setting = Setting {
    name: "PAYMENT_WEBHOOK_SECRETS",
    default: None,
    unit: "text of 32 characters or more; several, comma-separated",
    meaning: "The first signs the sandbox's webhooks.",
};
const WEBHOOK_URL: Setting = Setting {
    name: "SANDBOX_PROVIDER_WEBHOOK_URL",
    default: Some(""),
    unit: "`http://host:port/path`",
    meaning: "Where webhooks are sent, such as `http://localhost:8080/webhooks/payments/sandbox`; without it none are.",
};

/// Every setting, in the order of the guide.
pub const SETTINGS: &[Setting] =
    &[LISTEN, KEY, WEBHOOK_SECRETS, WEBHOOK_URL, telemetry::LOG_FORMAT, telemetry::RUST_LOG];

const MIN_KEY_LEN: usize = 32;

/// What a sandbox is told.
#[derive(Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What whoever asks has to show.
    pub key: String,
    /// What signs its messages.
    pub webhooks: Arc<WebhookKeys>,
    /// Where they are sent, if anywhere.
    pub webhook_url: Option<Uri>,
}

impl std::fmt::Debug for Config {
    /// Without keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads all settings; the error names everything that is wrong.
    pub fn read(mut reader: Reader) -> Result<Self, Faults> {
        let config = Self::read_from(&mut reader);
        reader.finish_with(config)
    }

    fn read_from(reader: &mut Reader) -> Option<Self> {
        let listen = reader.parse(&LISTEN);
        let key = reader.text(&KEY);
        if !key.is_empty() && key.len() < MIN_KEY_LEN {
            reader.fault(&KEY, "has fewer than 32 characters");
        }
        let webhooks = read_keys(reader, &WEBHOOK_SECRETS, WebhookKeys::new);
        let webhook_url = reader.parse::<Uri>(&WEBHOOK_URL);
        if webhook_url.as_ref().is_some_and(|url| url.scheme_str() != Some("http") || url.host().is_none()) {
            reader.fault(&WEBHOOK_URL, "must begin with http://");
        }
        Some(Self { listen: listen?, key, webhooks: webhooks?, webhook_url })
    }
}
