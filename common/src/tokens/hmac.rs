//! Keys that sign and verify with HS256.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{KeyError, MAX_LEN, TokenError, header, key_id, signature_only};

const MIN_SECRET_LEN: usize = 32;

/// Secrets in order of age: the first signs, all verify.
pub(super) struct HmacKeys {
    /// How the header begins each token that is signed now.
    prefix: String,
    verifying: Vec<(String, DecodingKey)>,
    /// The same keys, ready to be used.
    ready: Vec<hmac::Key>,
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
        let header = header(Algorithm::HS256, &key_id(first.as_bytes()));
        // As jsonwebtoken writes it; plain structs under an HMAC key can't fail.
        let token = jsonwebtoken::encode(&header, &json!({}), &EncodingKey::from_secret(first.as_bytes()));
        Ok(Self {
            prefix: token.unwrap_or_default().split_inclusive('.').take(1).collect(),
            verifying,
            ready: secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref().as_bytes())).collect(),
            validation: signature_only(Algorithm::HS256),
        })
    }

    /// Whether a token, verified before, is of the key that signs now.
    pub(super) fn is_current(&self, token: &str) -> bool {
        token.starts_with(&self.prefix)
    }

    /// The token for some claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        // Serialising plain structs can't fail.
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let mut token = String::with_capacity(MAX_LEN);
        token.push_str(&self.prefix);
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        if let Some(key) = self.ready.first() {
            let signature = hmac::sign(key, token.as_bytes());
            token.push('.');
            URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        }
        token
    }

    /// A secret of `data` under each key, in their order. `purpose` must be the beginning of no token.
    pub(super) fn derive(&self, purpose: &[u8], data: &[u8]) -> Vec<[u8; 32]> {
        let message = [purpose, data].concat();
        self.ready.iter().filter_map(|key| hmac::sign(key, &message).as_ref().try_into().ok()).collect()
    }

    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        // Longer ones can't be ours, and hashing what a stranger sends is work he should not get for free.
        if token.len() > 2 * MAX_LEN {
            return Err(TokenError::Invalid);
        }
        // Tokens that were signed here, now: nearly all of them. jsonwebtoken would read their header and claims twice and
        // make the key anew for each, which is most of what a poll costs.
        if let Some(ours) = self.verify_own(token) {
            return ours;
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

    /// What a token says that begins as those do that are signed now; `None` where it begins otherwise.
    fn verify_own<C: DeserializeOwned>(&self, token: &str) -> Option<Result<C, TokenError>> {
        let key = self.ready.first()?;
        let (signed, signature) = token.strip_prefix(&self.prefix)?.rsplit_once('.')?;
        let signed_len = self.prefix.len() + signed.len();
        let claims = || {
            let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
            // In constant time.
            hmac::verify(key, token.get(..signed_len)?.as_bytes(), &signature).ok()?;
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed).ok()?).ok()
        };
        Some(claims().ok_or(TokenError::Invalid))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Header;
    use proptest::prelude::*;

    use super::*;

    const SECRETS: [&str; 2] = ["a secret of thirty-two characters", "an older secret of as many letters"];

    #[test]
    fn what_is_signed_here_is_what_a_library_signs_and_the_other_way_round() {
        let keys = HmacKeys::new(&SECRETS).unwrap();
        let claims = json!({ "sub": "s", "pos": 7 });
        let header = header(Algorithm::HS256, &key_id(SECRETS[0].as_bytes()));
        let key = EncodingKey::from_secret(SECRETS[0].as_bytes());
        let theirs = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(keys.sign(&claims), theirs);
        // One whose header is written otherwise is verified too.
        let other = jsonwebtoken::encode(&Header { cty: Some("x".to_owned()), ..header }, &claims, &key).unwrap();
        assert_ne!(other, theirs);
        for token in [theirs, other, HmacKeys::new(&SECRETS[1..]).unwrap().sign(&claims)] {
            assert_eq!(keys.verify::<serde_json::Value>(&token), Ok(claims.clone()), "{token}");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_was_touched_is_none(at in any::<prop::sample::Index>(), byte in b'!'..=b'~') {
            let keys = HmacKeys::new(&SECRETS).unwrap();
            let token = keys.sign(&json!({ "sub": "s", "pos": 7 }));
            let mut touched = token.clone().into_bytes();
            let at = at.index(touched.len());
            prop_assume!(touched[at] != byte);
            touched[at] = byte;
            let touched = String::from_utf8(touched).unwrap();
            // The last character of base64 has bits that count for nothing, and strict decoding refuses those too.
            prop_assert_eq!(keys.verify::<serde_json::Value>(&touched), Err(TokenError::Invalid));
            prop_assert!(keys.verify::<serde_json::Value>(&token[..at]).is_err());
        }
    }
}
