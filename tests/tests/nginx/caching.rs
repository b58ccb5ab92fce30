//! What nginx asks for once for many.

use std::time::Instant;

use anyhow::Result;
use e2e::stub_upstream::Stub;
use reqwest::{Method, StatusCode};

use crate::edge::{Edge, eventually, header};

#[tokio::test]
async fn the_frontier_is_asked_once_a_second_however_many_want_it() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let path = "/queue/118f3f64-0000-7000-8000-000000000000/frontier";
    let started = Instant::now();
    let burst = (0..40).map(|number| edge.get(&format!("{path}?bust={number}")).send());
    let mut ids = Vec::new();
    for answer in futures_util::future::join_all(burst).await {
        let answer = answer?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=1"));
        assert_eq!(answer.headers().get_all("x-request-id").iter().count(), 1);
        ids.push(header(&answer, "x-request-id").map(ToOwned::to_owned));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40, "an answer from the cache has the id of its own request");
    let seconds = usize::try_from(started.elapsed().as_secs())?;
    assert!(stub.hits(path) <= 1 + seconds, "{} in {seconds} s", stub.hits(path));

    let before = stub.hits(path);
    let old = edge.get(path).send().await?.text().await?;
    // nginx keeps what it renews once it has all of it, some time after it asked.
    eventually("it is renewed", || async { Ok(edge.get(path).send().await?.text().await? != old) }).await?;
    assert!(stub.hits(path) > before);
    Ok(())
}

#[tokio::test]
async fn only_a_found_frontier_is_kept() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let missing = "/queue/018f3f64-0000-7000-8000-000000000000/frontier";
    for count in 1..=3 {
        assert_eq!(edge.get(missing).send().await?.status(), StatusCode::NOT_FOUND);
        assert_eq!(stub.hits(missing), count);
    }
    let found = "/queue/118f3f64-0000-7000-8000-000000000000/frontier";
    for count in 1..=3 {
        edge.request(Method::POST, found).send().await?;
        assert_eq!(stub.hits(found), count, "only GET is kept");
    }
    Ok(())
}

#[tokio::test]
async fn a_logo_is_asked_for_once_however_many_want_it() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let path = "/concerts/118f3f64-0000-7000-8000-000000000000/logo/0123456789abcdef";
    let burst = (0..40).map(|number| edge.get(&format!("{path}?bust={number}")).send());
    for answer in futures_util::future::join_all(burst).await {
        assert_eq!(header(&answer?, "cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(stub.hits(path), 1);
    // What is not there may be a moment later.
    let missing = "/concerts/018f3f64-0000-7000-8000-000000000000/logo/0123456789abcdef";
    for count in 1..=3 {
        assert_eq!(edge.get(missing).send().await?.status(), StatusCode::NOT_FOUND);
        assert_eq!(stub.hits(missing), count);
    }
    Ok(())
}
