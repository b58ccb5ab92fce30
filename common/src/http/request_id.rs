//! `X-Request-Id`: comes in or is made, goes through every hop, and comes out.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries it.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LEN: usize = 128;

/// The id of one request, the same in every log line and every answer about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The one the client or nginx sent, if it is 1–128 of `A–Z a–z 0–9 . _ -`; a new one otherwise: what is written
    /// to logs and headers is never what a stranger chose freely.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        headers
            .get(REQUEST_ID_HEADER)
            .filter(|value| (1..=MAX_LEN).contains(&value.len()) && value.as_bytes().iter().all(|byte| allowed(*byte)))
            .cloned()
            .map_or_else(Self::generate, Self)
    }

    fn generate() -> Self {
        let text = Uuid::new_v4().simple().to_string();
        Self(HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("unknown")
    }

    /// As a header's value.
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_replaced() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID_HEADER, value.parse().unwrap());
            RequestId::from_headers(&headers).as_str().to_owned()
        };
        assert_eq!(id("abc-123._X"), "abc-123._X");
        for bad in ["", "a b", "a\"b", "<script>", &"x".repeat(129)] {
            assert_ne!(id(bad), bad);
            assert_eq!(id(bad).len(), 32);
        }
    }
}
