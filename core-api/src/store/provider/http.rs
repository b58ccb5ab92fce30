//! A provider that is asked over HTTP: what `sandbox-provider` speaks.
//!
//! `POST /v1/payments`, `GET /v1/payments/{id}`, `POST /v1/payments/{id}/capture`, `/void` and `/refunds`. The id is ours,
//! and every call may be repeated. Each answers 200 with the payment as it is now, 404 where it knows of none.

use std::time::Duration;

use bytes::Bytes;
use common::ids::{PaymentId, ProviderPaymentId};
use common::money::Money;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};

use crate::domain::Fault;
use crate::domain::provider_payment::{PaymentProvider, PaymentToken, ProviderState, Told};

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest name that a provider may have for a payment.
const MAX_REFERENCE_CHARS: usize = 255;
/// Shorter than servers keep idle connections, so that none is closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS: usize = 32;

/// The provider.
pub struct HttpProvider {
    name: String,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl std::fmt::Debug for HttpProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Authorise<'a> {
    id: ProviderPaymentId,
    amount: Money,
    token: &'a str,
}

#[derive(Serialize)]
struct Refund {
    id: PaymentId,
    amount: Money,
}

#[derive(Deserialize)]
struct Answer {
    id: ProviderPaymentId,
    state: String,
    reference: Option<String>,
}

impl HttpProvider {
    /// The provider at `base`, which is told `key`; each call may take `timeout`. Nothing is connected to yet. Fails on a
    /// key that can't be sent.
    pub fn new(name: &str, base: &Uri, key: &str, timeout: Duration) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        let base = base.to_string().trim_end_matches('/').to_owned();
        Ok(Self { name: name.to_owned(), base, authorization, timeout, client })
    }

    async fn call(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(StatusCode, Bytes), Fault> {
        let body = if method == Method::GET { Vec::new() } else { serde_json::to_vec(body).unwrap_or_default() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/payments{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Fault::Internal(format!("no request to the provider: {error}")))?;
        let answered = async {
            let response = self.client.request(request).await.map_err(away)?;
            let (status, body) = (response.status(), Limited::new(response.into_body(), MAX_ANSWER_BYTES));
            Ok((status, body.collect().await.map_err(away)?.to_bytes()))
        };
        let timeout = self.timeout;
        tokio::time::timeout(timeout, answered)
            .await
            .unwrap_or_else(|_| Err(Fault::Unavailable(format!("the provider did not answer within {timeout:?}"))))
    }

    /// A call about one payment, whose answer says how far that has come.
    async fn ask(
        &self,
        method: Method,
        id: ProviderPaymentId,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Told, Fault> {
        match self.call(method, path, body).await? {
            (StatusCode::OK, body) => read(id, &body),
            (StatusCode::NOT_FOUND, _) => Ok(Told { state: ProviderState::Unknown, reference: None }),
            (status, _) => Err(refused(status)),
        }
    }
}

fn read(id: ProviderPaymentId, body: &[u8]) -> Result<Told, Fault> {
    let unreadable = |what: &str| Fault::Internal(format!("the provider's answer is unreadable: {what}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    if answer.id != id {
        return Err(unreadable("it is of another payment"));
    }
    let state = ProviderState::parse(&answer.state).ok_or_else(|| unreadable("a state that we don't know"))?;
    let reference = answer.reference.map(|text| text.chars().take(MAX_REFERENCE_CHARS).collect());
    Ok(Told { state, reference })
}

fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::Unavailable(format!("the provider can't be reached: {:?}", error.into()))
}

/// What is neither done nor unknown: too much at once, a fault of theirs, or of ours such as a key that is not theirs.
fn refused(status: StatusCode) -> Fault {
    let what = format!("the provider answered {status}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Fault::Unavailable(what)
    } else {
        Fault::Internal(what)
    }
}

impl PaymentProvider for HttpProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn authorise<'a>(
        &'a self,
        id: ProviderPaymentId,
        amount: Money,
        token: &'a PaymentToken,
    ) -> BoxFuture<'a, Result<Told, Fault>> {
        async move {
            let order = Authorise { id, amount, token: token.as_str() };
            self.ask(Method::POST, id, "", &order).await
        }
        .boxed()
    }

    fn find(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>> {
        async move { self.ask(Method::GET, id, &format!("/{id}"), &()).await }.boxed()
    }

    fn capture(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>> {
        async move { self.ask(Method::POST, id, &format!("/{id}/capture"), &()).await }.boxed()
    }

    fn void(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>> {
        async move { self.ask(Method::POST, id, &format!("/{id}/void"), &()).await }.boxed()
    }

    fn refund(&self, id: ProviderPaymentId, refund: PaymentId, amount: Money) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            match self.call(Method::POST, &format!("/{id}/refunds"), &Refund { id: refund, amount }).await? {
                (StatusCode::OK, _) => Ok(()),
                (status, _) => Err(refused(status)),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_only_of_the_payment_that_was_asked_for() {
        let id = ProviderPaymentId::generate();
        let body = |id: ProviderPaymentId, state: &str| format!(r#"{{"id":"{id}","state":"{state}","more":1}}"#);
        let told = |state| Told { state, reference: None };
        assert_eq!(read(id, body(id, "captured").as_bytes()).unwrap(), told(ProviderState::Captured));
        for bad in [body(ProviderPaymentId::generate(), "captured"), body(id, "paid"), "{}".to_owned(), String::new()] {
            assert!(matches!(read(id, bad.as_bytes()), Err(Fault::Internal(_))), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let base = Uri::from_static("http://127.0.0.1:1");
        let provider = HttpProvider::new("sandbox", &base, "hunter2", Duration::from_secs(1)).unwrap();
        assert!(!format!("{provider:?} {:?}", provider.authorization).contains("hunter2"));
        assert!(HttpProvider::new("sandbox", &base, "a\nb", Duration::from_secs(1)).is_err());
    }
}
