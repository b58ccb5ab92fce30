//! A visitor of a running site: the calls that a client makes, in the order in which it makes them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use stack::wait::PATIENCE;

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body: JSON, or a string where it is none.
    pub body: Value,
}

impl Answer {
    /// A text field of the body.
    pub fn text(&self, field: &str) -> Result<String> {
        self.body[field]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no `{field}` in {}: {}", self.status, self.body))
    }

    /// Itself, if it is a 200.
    pub fn ok(self) -> Result<Self> {
        if self.status == StatusCode::OK { Ok(self) } else { bail!("{}: {}", self.status, self.body) }
    }
}

/// How long to wait before asking again: as long as the answer says, else `usual`.
fn pause_after(answer: &Result<Answer>, usual: Duration) -> Duration {
    let told = answer.as_ref().ok().and_then(|answer| answer.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok());
    told.map_or(usual, Duration::from_secs)
}

/// A client with its tokens.
#[derive(Debug, Clone)]
pub struct Visitor {
    site: String,
    http: reqwest::Client,
    /// The session, once signed in.
    pub session: Option<String>,
    /// The newest queue token, once in line.
    pub queue_token: Option<String>,
}

impl Visitor {
    /// A stranger to `site`.
    pub fn new(site: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { site: site.to_owned(), http, session: None, queue_token: None })
    }

    /// Asks with whatever tokens there are.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.site));
        if let Some(session) = &self.session {
            request = request.bearer_auth(session);
        }
        if let Some(token) = &self.queue_token {
            request = request.header("x-queue-token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, None, &[]).await
    }

    /// `POST path` with a body.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.ask(Method::POST, path, Some(body), &[]).await
    }

    /// `POST path` with a body and an idempotency key, again and again while it is answered 429 or 5xx or not at all:
    /// what a careful client does when servers crash. Gives up after a minute.
    pub async fn post_surely(&self, path: &str, body: &Value, key: &str) -> Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(Method::POST, path, Some(body.clone()), &[("idempotency-key", key)]).await;
            let in_progress = |answer: &Answer| answer.body["error"] == "idempotency_in_progress";
            let pause = pause_after(&answer, Duration::from_millis(200));
            match answer {
                Ok(answer)
                    if !answer.status.is_server_error() && answer.status.as_u16() != 429 && !in_progress(&answer) =>
                {
                    return Ok(answer);
                }
                other if Instant::now() > deadline => bail!("{path} is not served: {other:?}"),
                _ => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Signs up under a name of its own.
    pub async fn sign_up(&mut self, name: &str) -> Result<()> {
        let body = json!({ "username": name, "email": format!("{name}@example.test"), "password": "a long password" });
        self.session = Some(self.post("/auth/signup", body).await?.ok()?.text("token")?);
        Ok(())
    }

    /// Gets in line and waits for the turn, as long as `patience` lasts; `false` where everything is sold before it comes.
    pub async fn be_admitted(&mut self, concert: &str, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let answer = match &self.queue_token {
                None => self.post("/queue/token", json!({ "concertId": concert })).await,
                Some(_) => self.get("/queue/status").await,
            };
            let pause = pause_after(&answer, Duration::from_millis(300));
            match answer {
                Ok(answer) if answer.body["error"] == "sold_out" || answer.body["status"] == "sold_out" => {
                    return Ok(false);
                }
                Ok(answer) if answer.status == StatusCode::OK => {
                    self.queue_token = Some(answer.text("token")?);
                    match answer.body["status"].as_str() {
                        Some("admitted") => return Ok(true),
                        Some("waiting") => {}
                        other => bail!("the wait ended with {other:?}"),
                    }
                }
                // Away for a moment, or too busy: asked again.
                Ok(_) | Err(_) => {}
            }
            anyhow::ensure!(Instant::now() < deadline, "not admitted in {patience:?}");
            tokio::time::sleep(pause).await;
        }
    }

    /// The seats of a concert that can be had.
    pub async fn available_seats(&self, concert: &str) -> Result<Vec<String>> {
        let answer = self.get(&format!("/concerts/{concert}/seats")).await?.ok()?;
        let seats = answer.body.as_array().context("no list of seats")?;
        Ok(seats
            .iter()
            .filter(|seat| seat["status"] == "available")
            .filter_map(|seat| seat["seatId"].as_str())
            .map(str::to_owned)
            .collect())
    }
}
