//! The requests of visitors, and what their answers say.

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::observer::{Answer, Asked};
use crate::site::{self, PROTECTED_PATH};

/// A request of somebody with this session, and the queue token that they show.
pub(crate) fn request(asked: Asked, session: &str, token: Option<&str>) -> Option<Request<Body>> {
    let (method, path) = match asked {
        Asked::Join => (Method::POST, "/queue/token"),
        Asked::Poll => (Method::GET, "/queue/status"),
        Asked::Leave => (Method::DELETE, "/queue/token"),
        Asked::Enter => (Method::GET, PROTECTED_PATH),
    };
    let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {session}"));
    if let Some(token) = token {
        request = request.header("x-queue-token", token);
    }
    let body = if asked == Asked::Join {
        request = request.header("content-type", "application/json");
        Body::from(format!("{{\"concertId\":\"{}\"}}", site::concert()))
    } else {
        Body::empty()
    };
    request.body(body).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body200 {
    token: String,
    status: String,
    queue_info: QueueInfo,
    admission: Option<Admission>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueInfo {
    position: u32,
    ahead: u32,
    poll_after_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Admission {
    expires_at: chrono::DateTime<chrono::Utc>,
}

/// What a visitor reads from a response.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// What it says.
    pub(crate) answer: Answer,
    /// The token to show next, where there is a new one.
    pub(crate) token: Option<String>,
    /// How many are in front.
    pub(crate) ahead: u32,
}

impl Reading {
    /// No response.
    pub(crate) const NOTHING: Self = Self { answer: Answer::Nothing, token: None, ahead: 0 };

    /// Reads a response.
    pub(crate) async fn of(response: Option<Response<Body>>) -> Self {
        let Some(response) = response else { return Self::NOTHING };
        let status = response.status();
        let Ok(body) = response.into_body().collect().await else { return Self::NOTHING };
        if status == StatusCode::OK
            && let Ok(body) = serde_json::from_slice::<Body200>(&body.to_bytes())
        {
            return body.reading();
        }
        let answer = match status {
            StatusCode::SERVICE_UNAVAILABLE => Answer::Unavailable,
            StatusCode::FORBIDDEN => Answer::NotAdmitted,
            StatusCode::UNAUTHORIZED => Answer::Refused,
            status => Answer::Other(status.as_u16()),
        };
        Self { answer, ..Self::NOTHING }
    }
}

impl Body200 {
    fn reading(self) -> Reading {
        let QueueInfo { position, ahead, poll_after_ms } = self.queue_info;
        let answer = match (self.status.as_str(), self.admission) {
            ("waiting", _) => Answer::Waiting { position, poll_after_ms },
            ("admitted", Some(admission)) => {
                Answer::Admitted { position, until_ms: admission.expires_at.timestamp_millis() }
            }
            ("left", _) => Answer::Left,
            ("expired", _) => Answer::Expired,
            _ => Answer::Other(StatusCode::OK.as_u16()),
        };
        Reading { answer, token: Some(self.token), ahead }
    }
}
