//! Ids: UUIDs that can't be mistaken for one another.
//!
//! In JSON and in paths an id is the usual hyphenated form. Inside tokens and Redis it is [`compact`](UserId::compact):
//! the 16 bytes in base64url without padding, 22 characters, because tokens must fit 255 characters and a member of a
//! sorted set is paid for once per waiting person.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// The text was no id: neither the hyphenated form nor, where that is asked for, the compact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID (expected the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)")]
pub struct InvalidId;

fn parse_hyphenated(text: &str) -> Result<Uuid, InvalidId> {
    // `Uuid` also reads braced, URN and bare forms: one form per id keeps logs, keys and caches free of aliases.
    if text.len() == 36 { Uuid::try_parse(text).map_err(|_| InvalidId) } else { Err(InvalidId) }
}

fn parse_compact(text: &str) -> Result<Uuid, InvalidId> {
    let mut bytes = [0_u8; 16];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(16) => Ok(Uuid::from_bytes(bytes)),
        _ => Err(InvalidId),
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Nobody's, and before every other one in their order.
            pub const NIL: Self = Self(Uuid::nil());

            /// A new id that sorts by the time it was made (UUID version 7), so that indexes grow at one end.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID itself, for the database.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The 22 characters that stand for it in tokens and in Redis.
            pub fn compact(self) -> String {
                URL_SAFE_NO_PAD.encode(self.0.as_bytes())
            }

            /// Reads what [`compact`](Self::compact) wrote.
            pub fn from_compact(text: &str) -> Result<Self, InvalidId> {
                parse_compact(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_hyphenated(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A person with an account.
    UserId;
    /// A concert, and with it its waiting room.
    ConcertId;
    /// One seat of one concert.
    SeatId;
    /// One seat held or bought by one user.
    ReservationId;
    /// One payment of one reservation.
    PaymentId;
    /// Somebody who is told what happens.
    WebhookId;
    /// Something that happened, as webhooks tell it.
    EventId;
    /// One session of one user, from signing in to its end.
    SessionId;
    /// One try at paying through a provider, for one or several reservations.
    ProviderPaymentId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";
        assert_eq!(id.parse::<UserId>().unwrap().to_string(), id);
        for bad in [
            "",
            "1",
            "0190d8a45a3e7c3f9d1e2b6f8a7c1d20",
            "{0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20}",
            "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d2g",
            "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20 ",
        ] {
            assert_eq!(bad.parse::<UserId>(), Err(InvalidId), "{bad}");
        }
    }

    #[test]
    fn compact_is_22_characters_and_reads_back() {
        let id = SeatId::generate();
        assert_eq!(id.compact().len(), 22);
        assert_eq!(SeatId::from_compact(&id.compact()), Ok(id));
        assert_eq!(SeatId::from_compact("AAAA"), Err(InvalidId));
        assert_eq!(SeatId::from_compact(&"A".repeat(400)), Err(InvalidId));
    }
}
