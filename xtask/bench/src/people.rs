//! People in rooms, and the requests that they send.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{TimeDelta, Utc};
use common::ids::{ConcertId, UserId};
use common::tokens::{Pass, PassId, Role, Session, SessionKeys, Ticket};
use futures_util::{StreamExt as _, TryStreamExt as _};
use gateway::domain::{RoomDefaults, Standing};
use gateway::store::RoomKeys;

use crate::site::{Site, context};

/// What one call of a gateway carries at most.
const BATCH: usize = 512;
/// Requests that prepare others and are under way at once.
const ASKED_AT_ONCE: usize = 64;

/// Somebody in line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) user: UserId,
    pub(crate) position: u32,
    pub(crate) epoch: u32,
}

/// Somebody inside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside {
    pub(crate) user: UserId,
    pass: PassId,
}

/// Puts so many new people into a room with these settings; where they stand.
pub(crate) async fn join(
    site: &Site,
    concert: ConcertId,
    rooms: &RoomDefaults,
    people: usize,
) -> Result<(Vec<Waiting>, Vec<Inside>)> {
    let (queue, keys, context) = (site.queue()?, RoomKeys::of(concert), context(rooms));
    let (mut waiting, mut inside) = (Vec::with_capacity(people), Vec::new());
    let users: Vec<UserId> = (0..people).map(|_| UserId::generate()).collect();
    for users in users.chunks(BATCH) {
        let arrivals = queue.join(&keys, &context, users).await?;
        for (user, arrival) in users.iter().zip(&arrivals.people) {
            match arrival.standing {
                Some(Standing::Waiting { position, epoch, .. }) => {
                    waiting.push(Waiting { user: *user, position, epoch });
                }
                Some(Standing::Admitted(lease)) => inside.push(Inside { user: *user, pass: lease.pass }),
                other => bail!("somebody who joins stands at {other:?}"),
            }
        }
    }
    Ok((waiting, inside))
}

/// So many new people inside a concert's room.
pub(crate) async fn admitted(site: &Site, concert: ConcertId, people: usize) -> Result<Vec<Inside>> {
    let (_, inside) = join(site, concert, &crate::site::OPEN, people).await?;
    ensure!(inside.len() == people, "only {} of {people} got in", inside.len());
    Ok(inside)
}

/// Signed in for as long as the bench runs.
pub(crate) fn session(keys: &SessionKeys, user: UserId) -> String {
    let now = Utc::now();
    keys.sign(&Session { id: None, user, role: Role::User, issued_at: now, expires_at: now + TimeDelta::hours(2) })
}

/// A request of HTTP/1.1, byte for byte.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if let Some(body) = body {
        let _ = write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text
}

/// `GET /queue/status` of people in line, each with the ticket that the gateway last gave them.
pub(crate) async fn polls(site: &Site, concert: ConcertId, people: &[Waiting]) -> Result<Vec<String>> {
    let (keys, address) = (site.tickets()?, site.gateway()?.address());
    let issued_at = u32::try_from(Utc::now().timestamp())?;
    let poll = |token: &str| request("GET", "/queue/status", &[("X-Queue-Token", token)], None);
    let first = |one: &Waiting| {
        let Waiting { user, position, epoch } = *one;
        poll(&keys.sign(&Ticket { user, concert, position, epoch, issued_at, ahead: Some(position) }))
    };
    let asked = people.iter().map(|one| {
        let request = first(one);
        async move {
            let (status, body) = try_one(address, &request).await?;
            ensure!(status == 200, "a poll is answered {status}: {}", String::from_utf8_lossy(&body));
            let answer: serde_json::Value = serde_json::from_slice(&body)?;
            answer["token"].as_str().map(poll).context("a poll is answered without a token")
        }
    });
    futures_util::stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await
}

/// `POST /queue/token` of so many new people.
pub(crate) fn joins(site: &Site, concert: ConcertId, people: usize) -> Result<Vec<String>> {
    let keys = site.sessions()?;
    let body = format!(r#"{{"concertId":"{concert}"}}"#);
    let join = |_| {
        let authorization = format!("Bearer {}", session(&keys, UserId::generate()));
        request("POST", "/queue/token", &[("Authorization", &authorization)], Some(&body))
    };
    Ok((0..people).map(join).collect())
}

/// What somebody inside shows: their session and their pass.
pub(crate) fn credentials(site: &Site, concert: ConcertId, people: &[Inside]) -> Result<Vec<(String, String)>> {
    let (sessions, passes) = (site.sessions()?, site.passes()?);
    let expires_at = Utc::now() + TimeDelta::hours(1);
    let show = |one: &Inside| {
        let pass = passes.sign(&Pass { user: one.user, concert, id: one.pass, expires_at });
        (format!("Bearer {}", session(&sessions, one.user)), pass)
    };
    Ok(people.iter().map(show).collect())
}

/// Sends one of the requests by itself; the answer's status and body.
pub(crate) async fn try_one(address: SocketAddr, request: &str) -> Result<(u16, Vec<u8>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let head_len = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
    let head = String::from_utf8_lossy(answer.get(..head_len).unwrap_or_default()).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, answer.split_off(head_len + 4)))
}
