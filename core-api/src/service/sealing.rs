//! Secrets that we have to know again, encrypted: whoever reads the database, or a copy of it, does not learn them.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use common::ids::WebhookId;
use common::tokens::KeyError;
use sha2::{Digest, Sha256};

use crate::domain::webhook::WebhookSecret;

const MIN_KEY_LEN: usize = 32;
/// What else these keys may be used for some day has another text here.
const PURPOSE: &[u8] = b"onsale webhook secrets v1:";

/// Keys in order of age: the first seals, all open.
pub struct SealingKeys(Vec<RandomizedNonceKey>);

impl SealingKeys {
    /// From texts of 32 characters or more.
    pub fn new<S: AsRef<str>>(keys: &[S]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        let keys = keys.iter().map(|text| {
            let text = text.as_ref();
            if text.len() < MIN_KEY_LEN {
                return Err(KeyError::TooShort);
            }
            let key = Sha256::new().chain_update(PURPOSE).chain_update(text).finalize();
            RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| KeyError::Malformed)
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// Encrypts a webhook's secret: a random nonce, then the secret and its tag. It opens for that webhook only. `None`
    /// where the system has no randomness to give.
    pub fn seal(&self, webhook: WebhookId, secret: &WebhookSecret) -> Option<Vec<u8>> {
        let mut sealed = secret.as_bytes().to_vec();
        let nonce = self.0.first()?.seal_in_place_append_tag(aad(webhook), &mut sealed).ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed; `None` where none of the keys opens it.
    pub fn open(&self, webhook: WebhookId, sealed: &[u8]) -> Option<WebhookSecret> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        self.0.iter().find_map(|key| {
            let mut opened = sealed.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let secret = key.open_in_place(nonce, aad(webhook), &mut opened).ok()?;
            Some(WebhookSecret::from_bytes(secret.to_vec()))
        })
    }
}

fn aad(webhook: WebhookId) -> Aad<[u8; 16]> {
    Aad::from(*webhook.as_uuid().as_bytes())
}

impl fmt::Debug for SealingKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "the-old-key-of-thirty-two-letters";
    const NEW: &str = "the-new-key-of-thirty-two-letters";

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_webhook_only() {
        let (webhook, secret) = (WebhookId::generate(), WebhookSecret::generate().unwrap());
        let old = SealingKeys::new(&[OLD]).unwrap();
        let sealed = old.seal(webhook, &secret).unwrap();
        assert!(!sealed.windows(8).any(|part| secret.as_bytes().starts_with(part)), "it is there to read");
        assert_ne!(sealed, old.seal(webhook, &secret).unwrap(), "the nonce is new each time");
        let rotated = SealingKeys::new(&[NEW, OLD]).unwrap();
        assert_eq!(rotated.open(webhook, &sealed), Some(secret.clone()));
        assert_eq!(rotated.open(WebhookId::generate(), &sealed), None);
        assert_eq!(SealingKeys::new(&[NEW]).unwrap().open(webhook, &sealed), None);
        let mut changed = sealed;
        changed[NONCE_LEN] ^= 1;
        assert_eq!(old.open(webhook, &changed), None);
        assert_eq!(old.open(webhook, b"short"), None);
    }

    #[test]
    fn keys_have_to_be_long() {
        assert_eq!(SealingKeys::new(&["short"]).err(), Some(KeyError::TooShort));
        assert_eq!(SealingKeys::new::<&str>(&[]).err(), Some(KeyError::Empty));
    }
}
