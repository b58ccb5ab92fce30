//! Keys that sign and verify with HS256.

use aws_lc_rs::hmac;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{KeyError, MAX_LEN, TokenError, header, key_id, signature_only};

const MIN_SECRET_LEN: usize = 32;

/// Secrets in order of age: the first signs, all verify.
pub(super) struct HmacKeys {
    header: Header,
    /// How the header begins each token that is signed now.
    prefix: String,
    signing: EncodingKey,
    verifying: Vec<(String, DecodingKey)>,
    deriving: Vec<hmac::Key>,
    validation: Validation,
}

impl HmacKeys {
    pub(super) fn new<S: AsRef<str>>(secrets: &[S]) -> Result<Self, KeyError> {
        let first = secrets.first().ok_or(KeyError::Empty)?.as_ref();
        let mut verifying: Vec<(String, DecodingKey)> = Vec::with_capacity(secrets.len());
        for secret in secrets.iter().map(AsRef::as_ref) {
            if secret.len() < MIN_SECRET_LEN {
                return Err(KeyError::TooShort);
            }
            let id = key_id(secret.as_bytes());
            if verifying.iter().any(|(known, _)| *known == id) {
                return Err(KeyError::Duplicate);
            }
            verifying.push((id, DecodingKey::from_secret(secret.as_bytes())));
        }
        let mut keys = Self {
            header: header(Algorithm::HS256, &key_id(first.as_bytes())),
            prefix: String::new(),
            signing: EncodingKey::from_secret(first.as_bytes()),
            verifying,
            deriving: secrets
                .iter()
                .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref().as_bytes()))
                .collect(),
            validation: signature_only(Algorithm::HS256),
        };
        keys.prefix = keys.sign(&json!({})).split_inclusive('.').take(1).collect();
        Ok(keys)
    }

    /// Whether a token, verified before, is of the key that signs now.
    pub(super) fn is_current(&self, token: &str) -> bool {
        token.starts_with(&self.prefix)
    }

    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        // Signing serialises plain structs under an HMAC key: neither can fail.
        jsonwebtoken::encode(&self.header, claims, &self.signing).unwrap_or_default()
    }

    /// A secret of `data` under each key, in their order. `purpose` must be the beginning of no token.
    pub(super) fn derive(&self, purpose: &[u8], data: &[u8]) -> Vec<[u8; 32]> {
        let message = [purpose, data].concat();
        self.deriving.iter().filter_map(|key| hmac::sign(key, &message).as_ref().try_into().ok()).collect()
    }

    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        // Longer ones can't be ours, and hashing what a stranger sends is work he should not get for free.
        if token.len() > 2 * MAX_LEN {
            return Err(TokenError::Invalid);
        }
        let kid = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?.kid;
        self.verifying
            .iter()
            // A token without a key id was made by somebody else who holds the secret: each key may try.
            .filter(|(known, _)| kid.as_ref().is_none_or(|kid| kid == known))
            .find_map(|(_, key)| jsonwebtoken::decode(token, key, &self.validation).ok())
            .map(|data| data.claims)
            .ok_or(TokenError::Invalid)
    }
}
