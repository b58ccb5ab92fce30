//! Limits, and gateways that are away.

use anyhow::Result;
use e2e::stub_upstream::Stub;
use reqwest::{Method, StatusCode};

use crate::edge::{Edge, KOREAN_NOT_AVAILABLE, eventually, is_problem};

#[tokio::test]
async fn too_many_requests_are_a_429_that_says_when_to_return() -> Result<()> {
    let stub = Stub::start("a")?;
    let limits = [("REQUESTS_PER_SECOND", "1"), ("REQUESTS_BURST", "2")];
    let edge = Edge::with(&[stub.address()], &limits)?;
    let mut refused = 0;
    for number in 0..10 {
        // Another address in a header is not another client.
        let forged = format!("203.0.113.{number}");
        let request = edge.get("/concerts").header("x-real-ip", &forged).header("x-forwarded-for", &forged);
        let answer = request.send().await?;
        if answer.status() != StatusCode::OK {
            is_problem(answer, 429, "too_many_requests").await;
            refused += 1;
        }
    }
    // One and a burst of two pass, and one more for each second that this loop took.
    assert!((4..=7).contains(&refused), "{refused} of 10 refused");
    Ok(())
}

#[tokio::test]
async fn event_streams_count_as_connections_of_their_address() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::with(&[stub.address()], &[("CONNECTIONS_PER_ADDRESS", "2")])?;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut answer = edge.get("/queue/events").send().await?;
        answer.chunk().await?;
        streams.push(answer);
    }
    is_problem(edge.get("/concerts").send().await?, 429, "too_many_requests").await;
    drop(streams);
    eventually("a place is free again", || async { Ok(edge.get("/concerts").send().await?.status() == StatusCode::OK) })
        .await
}

#[tokio::test]
async fn a_dead_gateway_costs_nothing_and_no_gateway_is_a_503() -> Result<()> {
    let (a, b) = (Stub::start("a")?, Stub::start("b")?);
    let edge = Edge::new(&[a.address(), b.address()])?;
    let a = a.kill()?;
    for _ in 0..20 {
        let answer = edge.request(Method::POST, "/payment").body("{}").send().await?;
        assert_eq!(answer.status(), StatusCode::OK, "a refused connection had no byte of the POST");
    }
    assert_eq!(b.hits("/payment"), 20);

    b.kill()?;
    for method in [Method::GET, Method::POST] {
        let answer = edge.request(method, "/payment").send().await?;
        let body = is_problem(answer, 503, "service_unavailable").await;
        assert_eq!(body["detail"], KOREAN_NOT_AVAILABLE);
    }

    let a = Stub::start_at("a", a)?;
    eventually("the gateway that came back is used", || async {
        Ok(edge.request(Method::POST, "/payment").send().await?.status() == StatusCode::OK)
    })
    .await?;
    assert!(a.hits("/payment") > 0);
    Ok(())
}
