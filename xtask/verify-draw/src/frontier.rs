//! What a site says of a draw.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use common::ids::ConcertId;
use http::Uri;
use serde::Deserialize;

/// An answer has some hundred bytes; a file that is larger than this is something else.
const ANSWER_MAX_BYTES: u64 = 1 << 20;

/// What counts here of the answer of `GET /queue/{concertId}/frontier`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Frontier {
    pub(crate) concert_id: ConcertId,
    /// Absent where the order is not drawn.
    pub(crate) draw: Option<Draw>,
}

/// What is published of a draw: the last two once it was made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Draw {
    pub(crate) algorithm: String,
    pub(crate) seed_hash: String,
    pub(crate) seed: Option<String>,
    pub(crate) entries: Option<u32>,
}

impl Frontier {
    /// From a saved answer.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let mut text = String::new();
        File::open(file)
            .and_then(|opened| opened.take(ANSWER_MAX_BYTES).read_to_string(&mut text))
            .with_context(|| format!("{} can't be read", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    /// From the site, by plain HTTP.
    pub(crate) fn fetch(site: &Uri, concert: ConcertId) -> Result<Self> {
        let path = format!("{}/queue/{concert}/frontier", site.path().trim_end_matches('/'));
        let (status, body) = get(site, &path)?;
        ensure!(status != 404, "{site} knows no concert {concert}");
        ensure!(status == 200, "{site} answered {status} where it was asked for the frontier");
        Self::parse(&body).with_context(|| site.to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("this is not the answer of GET /queue/{concertId}/frontier")
    }
}

fn get(site: &Uri, path: &str) -> Result<(u16, String)> {
    ensure!(
        site.scheme_str() == Some("http"),
        "only http:// is asked directly; save the answer of {path} with curl and give it by --file"
    );
    let mut last = None;
    // A name may stand for several addresses, not all of which are listened on: localhost is ::1 and 127.0.0.1.
    for address in addresses(site)? {
        match stack::http::get(address, path) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.context(format!("{site} is not reachable"))),
        None => bail!("{site} names no address"),
    }
}

fn addresses(site: &Uri) -> Result<impl Iterator<Item = SocketAddr>> {
    let host = site.host().with_context(|| format!("{site} names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, site.port_u16().unwrap_or(80)).to_socket_addrs().with_context(|| format!("{host} has no known address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_without_a_draw_and_one_not_drawn_yet_are_frontiers() {
        let id = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";
        let plain = Frontier::parse(&format!(r#"{{"concertId":"{id}","epoch":1,"waiting":3}}"#)).unwrap();
        assert!(plain.draw.is_none());
        let waiting = r#"{"algorithm":"x","seedHash":"00","seed":null,"entries":null}"#;
        let waiting = Frontier::parse(&format!(r#"{{"concertId":"{id}","draw":{waiting}}}"#)).unwrap().draw.unwrap();
        assert_eq!((waiting.seed, waiting.entries), (None, None));
    }

    #[test]
    fn nonsense_is_no_frontier() {
        for text in ["", "[]", r#"{"concertId":"1"}"#, r#"{"draw":{}}"#, "<html>"] {
            assert!(Frontier::parse(text).is_err(), "{text}");
        }
    }
}
