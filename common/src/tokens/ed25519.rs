//! Keys that sign and verify with Ed25519, so that whoever has the public ones can verify without asking.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{KeyError, TokenError, header, key_id, signature_only};

/// Public keys, all of which verify.
pub(super) struct PublicKeys {
    keys: Vec<PublicKey>,
    validation: Validation,
}

struct PublicKey {
    id: String,
    x: String,
    decoding: DecodingKey,
}

/// One public key as a JWK (RFC 8037), an entry of a JSON Web Key Set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
    pub(super) x: String,
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl PublicKeys {
    /// From public keys, 32 bytes each in base64url.
    pub(super) fn new<S: AsRef<str>>(public_keys: &[S]) -> Result<Self, KeyError> {
        let mut keys: Vec<PublicKey> = Vec::with_capacity(public_keys.len());
        for x in public_keys.iter().map(AsRef::as_ref) {
            let bytes = decode_key(x)?;
            let key = PublicKey {
                id: key_id(&bytes),
                x: x.to_owned(),
                decoding: DecodingKey::from_ed_components(x).map_err(|_| KeyError::Malformed)?,
            };
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyError::Duplicate);
            }
            keys.push(key);
        }
        if keys.is_empty() {
            Err(KeyError::Empty)
        } else {
            Ok(Self { keys, validation: signature_only(Algorithm::EdDSA) })
        }
    }

    /// The claims of a token of at most `max_len` characters that one of the keys signed.
    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str, max_len: usize) -> Result<C, TokenError> {
        if token.len() > max_len {
            return Err(TokenError::Invalid);
        }
        let kid = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid).ok_or(TokenError::Invalid)?;
        let key = self.keys.iter().find(|key| key.id == kid).ok_or(TokenError::Invalid)?;
        let decoded = jsonwebtoken::decode(token, &key.decoding, &self.validation);
        decoded.map(|data| data.claims).map_err(|_| TokenError::Invalid)
    }

    /// The keys as JWKs.
    pub(super) fn jwks(&self) -> Vec<Jwk> {
        self.keys
            .iter()
            .map(|key| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                alg: "EdDSA",
                usage: "sig",
                kid: key.id.clone(),
                x: key.x.clone(),
            })
            .collect()
    }
}

/// Private keys: the first signs.
pub(super) struct SigningKeys {
    header: Header,
    signing: EncodingKey,
}

impl SigningKeys {
    /// From private keys, their 32-byte seeds in base64url; with them their public halves.
    pub(super) fn new<S: AsRef<str>>(seeds: &[S]) -> Result<(Self, PublicKeys), KeyError> {
        let pairs = seeds.iter().map(|seed| key_pair(seed.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let first = pairs.first().ok_or(KeyError::Empty)?;
        let document = first.to_pkcs8().map_err(|_| KeyError::Malformed)?;
        let public: Vec<String> = pairs.iter().map(public_key).collect();
        let keys = Self {
            header: header(Algorithm::EdDSA, &key_id(first.public_key().as_ref())),
            signing: EncodingKey::from_ed_der(document.as_ref()),
        };
        Ok((keys, PublicKeys::new(&public)?))
    }

    /// The token for these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        // The key was checked when it was read, and the claims are plain structs: neither can fail.
        jsonwebtoken::encode(&self.header, claims, &self.signing).unwrap_or_default()
    }
}

/// A new key pair: the private seed and the public key, both in base64url.
pub fn generate_pass_key() -> Result<(String, String), KeyError> {
    let mut seed = [0_u8; 32];
    rand::fill(&mut seed);
    let seed = URL_SAFE_NO_PAD.encode(seed);
    let public = public_pass_key(&seed)?;
    Ok((seed, public))
}

/// The public key of a private one, both in base64url.
pub fn public_pass_key(seed: &str) -> Result<String, KeyError> {
    key_pair(seed).map(|pair| public_key(&pair))
}

fn decode_key(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Malformed)?;
    bytes.try_into().map_err(|_| KeyError::Malformed)
}

fn key_pair(seed: &str) -> Result<Ed25519KeyPair, KeyError> {
    Ed25519KeyPair::from_seed_unchecked(&decode_key(seed)?).map_err(|_| KeyError::Malformed)
}

fn public_key(pair: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())
}
