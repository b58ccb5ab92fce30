//! What can be wrong with any request, asked of every operation that is documented with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use e2e::spec::Operation;
use futures_util::future::try_join_all;
use http::Method;

use crate::raw::Connection;
use crate::request::{Request, World, name};

/// More than any body may have.
const TOO_LARGE_BYTES: usize = 100_000;
/// More than a line of a request's head may have.
const TOO_LONG_BYTES: usize = 9_000;

/// Provokes, of every operation, what a single request provokes.
pub(crate) async fn provoke(world: &World<'_>) -> Result<()> {
    for operation in &world.operations {
        for code in world.ledger.codes(name(operation)) {
            if let Some(request) = spoiled(world, operation, code)? {
                world.provoke(operation, code, &request).await;
            }
        }
        if operation.method == Method::GET {
            undocumented(world, operation).await?;
        }
    }
    Ok(())
}

/// Asks in the same ways where nothing is said to be refused: what is refused all the same should be documented.
async fn undocumented(world: &World<'_>, operation: &Operation<'_>) -> Result<()> {
    let codes =
        ["invalid_request", "not_found", "unauthenticated", "invalid_session", "invalid_queue_token", "forbidden"];
    for code in codes.into_iter().filter(|code| !world.ledger.tells(name(operation), code)) {
        let Some(request) = spoiled(world, operation, code)? else { continue };
        let answer = world.send(&request).await?;
        let told = answer.body["error"].as_str().unwrap_or("nothing");
        if !answer.status.is_success() && !world.ledger.tells(name(operation), told) {
            world.ledger.fault(format!("{} is not documented with {told}: {}", name(operation), answer.body));
        }
    }
    Ok(())
}

/// A request that has to be refused with `code`; `None` where that takes more than a request.
fn spoiled(world: &World<'_>, operation: &Operation<'_>, code: &str) -> Result<Option<Request>> {
    let request = world.request(operation)?;
    Ok(Some(match code {
        "method_not_allowed" => Request { method: wrong_method(operation)?, ..request },
        "malformed_json" => request.body(b"{".to_vec())?,
        "payload_too_large" => request.body(vec![b'x'; TOO_LARGE_BYTES])?,
        "unsupported_media_type" => request.header("content-type", Some("text/plain")),
        "uri_too_long" => Request { path: format!("{}?x={}", request.path, "x".repeat(TOO_LONG_BYTES)), ..request },
        "headers_too_large" => request.header("x-long", Some(&"x".repeat(TOO_LONG_BYTES))),
        "invalid_request" => invalid(world, operation, request)?,
        "not_found" => {
            let mut ids = BTreeMap::from([("provider", "nobody".to_owned())]);
            if name(operation) == "reserve" {
                // A pass is for one concert: it is the seat that is not found.
                ids.extend(world.ids.get_key_value("concertId").map(|(name, id)| (*name, id.clone())));
            }
            world.request_about(operation, &ids)?
        }
        "unauthenticated" => request.header("authorization", None),
        "invalid_session" => request.header("authorization", Some("Bearer a.b.c")),
        "missing_queue_token" | "not_admitted" => request.header("x-queue-token", None),
        "invalid_queue_token" => request.header("x-queue-token", Some("a.b.c")),
        "invalid_refresh_token" => world.request_about(operation, &BTreeMap::new())?,
        "invalid_signature" => request.header("webhook-signature", Some("v1,AAAA")),
        "invalid_credentials" => request,
        "forbidden" => {
            let session = world.user.session.as_deref().context("nobody is signed in")?;
            request.header("authorization", Some(&format!("Bearer {session}")))
        }
        _ => return Ok(None),
    }))
}

/// A method that the path does not have.
fn wrong_method(operation: &Operation<'_>) -> Result<Method> {
    let methods = [Method::PATCH, Method::PUT, Method::DELETE, Method::POST];
    let known = |method: &Method| operation.path_item.get(method.as_str().to_lowercase()).is_some();
    methods.into_iter().find(|method| !known(method)).context("every method is served")
}

/// Something that is not what it should be: the body, else an id in the path, else a parameter.
fn invalid(world: &World<'_>, operation: &Operation<'_>, request: Request) -> Result<Request> {
    if request.body.is_some() {
        return request.body(b"[]".to_vec());
    }
    if operation.path.contains('{') {
        let ids = ["concertId", "reservationId", "paymentId", "sessionId", "webhookId"];
        return world.request_about(operation, &ids.map(|name| (name, "7".to_owned())).into());
    }
    Ok(Request { path: format!("{}?limit=0", request.path), ..request })
}

/// Provokes what a body is answered that does not come, all at once: each takes as long as is waited for one. Asked of a
/// gateway itself, as nginx hangs up on such a client without a word.
pub(crate) async fn provoke_timeouts(world: &World<'_>, gateway: SocketAddr) -> Result<()> {
    let slow = world.operations.iter().filter(|one| world.ledger.tells(name(one), "request_timeout"));
    try_join_all(slow.map(async |operation| {
        let mut connection = Connection::open(gateway).await?;
        connection.send_slowly(&world.request(operation)?).await?;
        let answer = connection.answer().await.with_context(|| name(operation).to_owned())?;
        world.ledger.note(name(operation), "request_timeout", &answer);
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    Ok(())
}

/// Sends every operation's request, well as it is, of those that `which` chooses, at once; all have to be refused with
/// `code`.
pub(crate) async fn provoke_of(world: &World<'_>, code: &str, which: impl Fn(&Operation<'_>) -> bool) -> Result<()> {
    let chosen = world.operations.iter().filter(|operation| which(operation));
    try_join_all(chosen.map(async |operation| {
        world.provoke(operation, code, &world.request(operation)?).await;
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    Ok(())
}
