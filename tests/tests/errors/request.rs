//! What is asked of whom: each operation's request as it would be well, which is then spoiled.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use chrono::Utc;
use common::signed_webhook::WebhookKeys;
use e2e::site::{Answer, Visitor};
use e2e::spec::{Operation, Spec};
use http::Method;
use serde_json::{Value, json};

use stack::wait::PATIENCE;

use crate::ledger::Ledger;

/// An id of nothing.
pub(crate) const NOBODY: &str = "7d0f6a1e-3c52-4b8e-9a41-2f6f0c8d5b10";
/// What the payment provider of these tests signs its messages with.
pub(crate) const WEBHOOK_SECRET: &str = "what-the-provider-of-these-tests-signs-with";
/// The password of everybody here.
pub(crate) const PASSWORD: &str = "a long password";

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    /// With another value of a header; none where there is no other.
    pub(crate) fn header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    /// With another body; a provider's message is signed anew.
    pub(crate) fn body(mut self, body: Vec<u8>) -> Result<Self> {
        if self.path.starts_with("/webhooks/") {
            for (name, value) in WebhookKeys::new(&[WEBHOOK_SECRET])?.sign("message", Utc::now(), &body) {
                self = self.header(name.as_str(), Some(value.to_str()?));
            }
        }
        self.body = Some(body);
        Ok(self)
    }
}

/// A site, and who asks what of it.
pub(crate) struct World<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) operations: Vec<Operation<'a>>,
    pub(crate) url: String,
    /// Admitted to the concert of `ids`.
    pub(crate) user: Visitor,
    pub(crate) admin: Visitor,
    /// Values of the parameters in paths and of what is in bodies. What is not in it is an id of nothing.
    pub(crate) ids: BTreeMap<&'static str, String>,
    http: reqwest::Client,
}

/// An operation's id.
pub(crate) fn name<'a>(operation: &Operation<'a>) -> &'a str {
    operation.object["operationId"].as_str().unwrap_or_default()
}

/// Signs the demo's administrator in.
pub(crate) async fn administrator(url: &str) -> Result<Visitor> {
    signed_in(url, "admin@example.com").await
}

/// Signs one of the demo's accounts in.
pub(crate) async fn signed_in(url: &str, email: &str) -> Result<Visitor> {
    let mut visitor = Visitor::new(url)?;
    let login = json!({ "userId": email, "password": "onsale-demo" });
    visitor.session = Some(visitor.post("/auth/login", login).await?.ok()?.text("token")?);
    Ok(visitor)
}

impl<'a> World<'a> {
    /// A site with somebody who has just signed up.
    pub(crate) async fn of(spec: &'a Spec, ledger: &'a Ledger, url: String) -> Result<Self> {
        let mut user = Visitor::new(&url)?;
        user.sign_up("user").await?;
        let login = json!({ "userId": "user@example.test", "password": PASSWORD });
        let refresh = user.post("/auth/login", login).await?.ok()?.text("refreshToken")?;
        let ids = BTreeMap::from([("provider", "sandbox".to_owned()), ("refreshToken", refresh)]);
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let admin = administrator(&url).await?;
        Ok(Self { ledger, operations: spec.operations()?, url, user, admin, ids, http })
    }

    pub(crate) fn operation(&self, wanted: &str) -> Result<&Operation<'a>> {
        let found = self.operations.iter().find(|operation| name(operation) == wanted);
        found.with_context(|| format!("there is no operation {wanted}"))
    }

    /// An operation's request with nothing wrong in it, by somebody who may.
    pub(crate) fn request(&self, operation: &Operation<'_>) -> Result<Request> {
        self.request_about(operation, &self.ids)
    }

    /// The same about other things.
    pub(crate) fn request_about(
        &self,
        operation: &Operation<'_>,
        ids: &BTreeMap<&'static str, String>,
    ) -> Result<Request> {
        let is_admin = operation.path.starts_with("/admin/");
        let session = if is_admin { &self.admin.session } else { &self.user.session };
        let mut headers: Vec<(String, String)> = Vec::new();
        headers.extend(session.iter().map(|session| ("authorization".to_owned(), format!("Bearer {session}"))));
        headers.extend(self.user.queue_token.iter().map(|token| ("x-queue-token".to_owned(), token.clone())));
        let mut path = path(operation, |name| ids.get(name).cloned());
        if name(operation) == "findVisitor" {
            path += "?position=1";
        }
        let request = Request { method: operation.method.clone(), path, headers, body: None };
        if operation.object["requestBody"].is_null() {
            return Ok(request);
        }
        request.header("content-type", Some("application/json")).body(serde_json::to_vec(&body(name(operation), ids))?)
    }

    /// Sends a request through nginx.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer> {
        let mut sent = self.http.request(request.method.clone(), format!("{}{}", self.url, request.path));
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        let response = sent.send().await.with_context(|| format!("{} {:.60}", request.method, request.path))?;
        let (status, headers) = (response.status(), response.headers().clone());
        // What is no failure may be a stream without an end.
        let text = if status.is_success() { String::new() } else { response.text().await? };
        Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Sends a request and notes what it is answered, where `code` is to be.
    pub(crate) async fn provoke(&self, operation: &Operation<'_>, code: &str, request: &Request) {
        match self.send(request).await {
            Ok(answer) => self.ledger.note(name(operation), code, &answer),
            Err(error) => self.ledger.fault(format!("{} {code}: {error:#}", name(operation))),
        }
    }

    /// Somebody asks an operation about these ids, which are its path's in their order, and has to be refused with
    /// `code`.
    pub(crate) async fn refuses(
        &self,
        who: &Visitor,
        name: &str,
        ids: &[&str],
        body: Option<Value>,
        code: &str,
    ) -> Result<()> {
        let answer = self.ask(who, name, ids, body).await?;
        self.ledger.note(name, code, &answer);
        Ok(())
    }

    /// The same, whatever is answered.
    pub(crate) async fn ask(&self, who: &Visitor, name: &str, ids: &[&str], body: Option<Value>) -> Result<Answer> {
        let operation = self.operation(name)?;
        let mut ids = ids.iter();
        let path = path(operation, |_| ids.next().map(|id| (*id).to_owned()));
        who.ask(operation.method.clone(), &path, body, &[]).await
    }
}

/// An operation's path with its parameters; those without a value are ids of nothing.
fn path(operation: &Operation<'_>, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut fill = |part: &str| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => value(name).unwrap_or_else(|| NOBODY.to_owned()),
        None => part.to_owned(),
    };
    operation.path.split('/').map(&mut fill).collect::<Vec<_>>().join("/")
}

/// A body that an operation takes.
fn body(name: &str, ids: &BTreeMap<&'static str, String>) -> Value {
    let id = |name: &str| ids.get(name).map_or(NOBODY, String::as_str);
    let sections = json!([{ "name": "B", "price": 1000, "seats": 5 }]);
    match name {
        "signUp" => json!({ "username": "somebody", "email": "somebody@example.test", "password": PASSWORD }),
        "logIn" => json!({ "userId": "user@example.test", "password": "another password" }),
        "refreshSession" => json!({ "refreshToken": id("refreshToken") }),
        "changePassword" => json!({ "currentPassword": PASSWORD, "newPassword": "a longer password" }),
        "joinQueue" => json!({ "concertId": id("concertId") }),
        "reserve" => json!({ "concertId": id("concertId"), "seatId": id("seatId") }),
        "chargeBalance" => json!({ "amount": 1 }),
        "pay" => json!({ "reservationId": id("reservationId") }),
        "receivePaymentWebhook" => json!({ "data": { "paymentId": id("paymentId"), "state": "captured" } }),
        "createConcert" => json!({ "name": "A", "date": "2999-01-01", "venue": "B", "sections": sections }),
        "changeConcert" => json!({ "venue": "Elsewhere" }),
        "changeBranding" => json!({ "colour": "#b3005e" }),
        "addSections" => json!({ "sections": sections }),
        "holdBackSeats" | "releaseSeats" => json!({ "section": "A", "toSeatNumber": 1 }),
        "changeQueue" => json!({ "burst": 7 }),
        "admitFromQueue" => json!({ "count": 1 }),
        "createWebhook" => json!({ "url": "https://hooks.example.com/onsale" }),
        "checkIn" => json!({ "code": id("code") }),
        "findUser" => json!({ "email": "nobody@example.test" }),
        _ => json!({}),
    }
}
