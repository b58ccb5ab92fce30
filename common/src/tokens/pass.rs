//! The admission pass: proof, verifiable offline with the public keys, that its bearer's turn has come.
//!
//! Claims: `sub` the user and `aud` the concert (both compact ids: the audience of a pass is one concert's sale),
//! `jti` which admission it stands for, `exp` no later than the end of the lease.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::ed25519::{Jwk, PublicKeys, SigningKeys};
use super::{KeyError, MAX_LEN, TokenError};
use crate::ids::{ConcertId, UserId};

/// Which admission a pass stands for: the queue position it came from, and a number that tells apart two admissions
/// from one position. In the token it is 7 characters; in Redis and logs it reads `position:nonce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PassId {
    /// The queue position that was admitted.
    pub position: u32,
    /// 0–1023.
    pub nonce: u16,
}

const NONCE_BITS: u32 = 10;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl PassId {
    /// As 7 characters of base64url's alphabet: 42 bits, the highest first.
    fn encode(self) -> String {
        let bits = (u64::from(self.position) << NONCE_BITS) | u64::from(self.nonce & 0x3ff);
        (0..7)
            .rev()
            .map(|sextet| char::from(ALPHABET[usize::try_from(bits >> (6 * sextet) & 0x3f).unwrap_or(0)]))
            .collect()
    }

    fn decode(text: &str) -> Option<Self> {
        if text.len() != 7 {
            return None;
        }
        let bits = text.bytes().try_fold(0_u64, |bits, byte| {
            let value = ALPHABET.iter().position(|known| *known == byte)?;
            Some(bits << 6 | u64::try_from(value).ok()?)
        })?;
        let position = u32::try_from(bits >> NONCE_BITS).ok()?;
        Some(Self { position, nonce: u16::try_from(bits & 0x3ff).ok()? })
    }
}

impl fmt::Display for PassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.nonce)
    }
}

impl FromStr for PassId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (position, nonce) = text.split_once(':').ok_or(TokenError::Invalid)?;
        Ok(Self {
            position: position.parse().map_err(|_| TokenError::Invalid)?,
            nonce: nonce.parse().ok().filter(|nonce| *nonce < 1_024).ok_or(TokenError::Invalid)?,
        })
    }
}

/// What a pass says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Who was admitted.
    pub user: UserId,
    /// To which concert's sale.
    pub concert: ConcertId,
    /// Which admission it is.
    pub id: PassId,
    /// When it ends, no later than the lease; whole seconds.
    pub expires_at: DateTime<Utc>,
}

impl Pass {
    /// Whether it has ended at `now`.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        now >= self.expires_at
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    jti: String,
    exp: i64,
}

/// How many passes are remembered as verified.
const REMEMBERED: u64 = 20_000;

/// Public keys that verify passes. Who is inside shows the same pass again and again, and checking an Ed25519 signature
/// costs more than all else that losing a seat does: a pass that was verified is remembered, word for word.
pub struct PassKeys {
    keys: PublicKeys,
    verified: Cache<String, Pass>,
}

impl fmt::Debug for PassKeys {
    /// Without the passes, which would let in whoever reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassKeys").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl PassKeys {
    /// From Ed25519 public keys, 32 bytes each in base64url.
    pub fn new<S: AsRef<str>>(public_keys: &[S]) -> Result<Self, KeyError> {
        PublicKeys::new(public_keys).map(Self::of)
    }

    fn of(keys: PublicKeys) -> Self {
        Self { keys, verified: Cache::new(REMEMBERED) }
    }

    /// What a token says, if it is ours; whether it [has expired](Pass::has_expired) is the caller's to ask, since the
    /// bearer of an expired pass is told so and the bearer of a forged one is told nothing.
    pub fn verify(&self, token: &str) -> Result<Pass, TokenError> {
        if let Some(pass) = self.verified.get(token) {
            return Ok(pass);
        }
        let claims: Claims = self.keys.verify(token, MAX_LEN)?;
        let pass = Pass {
            user: UserId::from_compact(&claims.sub).map_err(|_| TokenError::Invalid)?,
            concert: ConcertId::from_compact(&claims.aud).map_err(|_| TokenError::Invalid)?,
            id: PassId::decode(&claims.jti).ok_or(TokenError::Invalid)?,
            expires_at: DateTime::from_timestamp(claims.exp, 0).ok_or(TokenError::Invalid)?,
        };
        self.verified.insert(token.to_owned(), pass);
        Ok(pass)
    }

    /// The keys as JWKs.
    pub fn jwks(&self) -> Vec<Jwk> {
        self.keys.jwks()
    }
}

/// The gateway's private keys: the first signs, all verify.
pub struct PassSigner {
    keys: SigningKeys,
    public: PassKeys,
}

impl fmt::Debug for PassSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PassSigner").field(&self.public).finish()
    }
}

impl PassSigner {
    /// From Ed25519 private keys: their 32-byte seeds in base64url.
    pub fn new<S: AsRef<str>>(seeds: &[S]) -> Result<Self, KeyError> {
        let (keys, public) = SigningKeys::new(seeds)?;
        Ok(Self { keys, public: PassKeys::of(public) })
    }

    /// The token for a pass.
    pub fn sign(&self, pass: &Pass) -> String {
        self.keys.sign(&Claims {
            sub: pass.user.compact(),
            aud: pass.concert.compact(),
            jti: pass.id.encode(),
            exp: pass.expires_at.timestamp(),
        })
    }

    /// The public halves.
    pub fn public_keys(&self) -> &PassKeys {
        &self.public
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::generate_pass_key;

    fn pass(id: PassId) -> Pass {
        let expires_at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Pass { user: UserId::generate(), concert: ConcertId::generate(), id, expires_at }
    }

    #[test]
    fn passes_that_were_verified_stay_out_of_debug_output() {
        let signer = PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap();
        let token = signer.sign(&pass(PassId { position: 1, nonce: 2 }));
        assert!(signer.public_keys().verify(&token).is_ok() && signer.public_keys().verify(&token).is_ok());
        assert!(!format!("{:?}", signer.public_keys()).contains(&token));
    }

    #[test]
    fn the_longest_pass_fits_and_reads_back() {
        let signer = PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap();
        for id in [
            PassId { position: 0, nonce: 0 },
            PassId { position: u32::MAX, nonce: 1_023 },
            PassId { position: 70_000, nonce: 512 },
        ] {
            let pass = pass(id);
            let token = signer.sign(&pass);
            assert!(token.len() <= MAX_LEN, "{}", token.len());
            assert_eq!(signer.public_keys().verify(&token), Ok(pass));
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(super::super::claims_to_be_a_pass(&token));
        }
    }

    #[test]
    fn a_pass_from_other_keys_or_with_one_bit_changed_is_invalid() {
        let signer = PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap();
        let other = PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap();
        let token = signer.sign(&pass(PassId { position: 1, nonce: 1 }));
        assert_eq!(other.public_keys().verify(&token), Err(TokenError::Invalid));
        for at in [0, 45, 100, 200] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                signer.public_keys().verify(&String::from_utf8(bytes).unwrap()),
                Err(TokenError::Invalid),
                "{at}"
            );
        }
    }

    #[test]
    fn keys_rotate_and_are_published() {
        let (old, new) = (generate_pass_key().unwrap(), generate_pass_key().unwrap());
        let token = PassSigner::new(&[&old.0]).unwrap().sign(&pass(PassId { position: 9, nonce: 3 }));
        let rotated = PassSigner::new(&[&new.0, &old.0]).unwrap();
        assert!(rotated.public_keys().verify(&token).is_ok());
        let published: Vec<String> = rotated.public_keys().jwks().into_iter().map(|jwk| jwk.x).collect();
        assert_eq!(published, [new.1, old.1]);
        assert_eq!(PassKeys::new(&["short"]).unwrap_err(), KeyError::Malformed);
        assert_eq!(PassKeys::new::<&str>(&[]).unwrap_err(), KeyError::Empty);
    }
}
