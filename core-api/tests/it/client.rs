//! Requests as tests write them, and what comes back.

use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::support::Person;

/// A request being filled in.
pub(crate) struct Request {
    builder: reqwest::RequestBuilder,
}

impl Request {
    /// Over what reqwest has of it so far.
    pub(crate) fn new(builder: reqwest::RequestBuilder) -> Self {
        Self { builder }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(&body.to_string())
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.builder = self.builder.header("content-type", "application/json").body(body.to_owned());
        self
    }

    pub(crate) fn raw(mut self, body: Vec<u8>) -> Self {
        self.builder = self.builder.body(body);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn by(self, person: &Person) -> Self {
        let value = format!("Bearer {}", person.session);
        self.header("authorization", &value)
    }

    pub(crate) fn pass(self, pass: &str) -> Self {
        self.header("x-queue-token", pass)
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.builder.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, headers, bytes, text, json }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn uuid(&self, field: &str) -> Uuid {
        self.json[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{field}: {}", self.text))
    }

    /// That it is this problem, in full form.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, error: &str) {
        assert_eq!((self.status.as_u16(), self.json["error"].as_str()), (status, Some(error)), "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json["code"], status);
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("urn:onsale:problem:{error}"));
        assert_eq!(self.json["message"], self.json["detail"]);
        let id = self.json["requestId"].as_str().unwrap();
        if self.header("idempotency-replayed").is_none() {
            assert_eq!(Some(id), self.header("x-request-id"));
        }
        assert_eq!(self.header("www-authenticate").is_some(), status == 401);
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503));
    }
}
