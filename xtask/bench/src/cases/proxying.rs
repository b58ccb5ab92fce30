//! What one core-api answers from memory or Redis, and the way to it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::compare::{Extent, Side, compare};
use crate::concerts::{SEATS, concert, seat};
use crate::cpu::{self, SERVERS};
use crate::figures::{Row, Target, What};
use crate::people::{self, request};
use crate::site::{STILL, Site};
use crate::wrk::{Answers, Requests};

pub(super) const NAMES: &[&str] = &["seats", "reservation-lost", "proxy"];

const SEAT_LIST: What = What {
    name: "seats",
    path: "GET seats of a 1,000-seat concert, 10 holds a second going on",
    ceiling: "the same bytes from nginx",
    unit: "/s",
    target: Target::AtLeast(0.7),
};
const LOST: What = What {
    name: "reservation-lost",
    path: "POST /reservation that loses (409)",
    ceiling: "GET /queue/status",
    unit: "/s",
    target: Target::AtLeast(0.4),
};
const PROXY: What = What {
    name: "proxy",
    path: "GET /concerts through nginx and gateway",
    ceiling: "core-api straight",
    unit: "/s",
    target: Target::AtLeast(0.45),
};

/// The concert whose seats are held one after the other, the one with the seat that everybody wants, and the one to wait for.
const HALL: u32 = 0;
const WANTED: u32 = 1;
const LINE: u32 = 2;
const PEOPLE: usize = 1_000;

pub(super) async fn measure(extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    let site = Site::start_with_gateway(&STILL).await?;
    site.pin_gateway()?;
    cpu::pin(site.core_api().process().pid(), SERVERS)?;
    let mut rows = Vec::new();
    if wanted(SEAT_LIST.name) {
        rows.push(seat_list(&site, extent).await?);
    }
    if wanted(LOST.name) {
        rows.push(lost(&site, extent).await?);
    }
    if wanted(PROXY.name) {
        rows.push(proxy(&site, extent)?);
    }
    Ok(rows)
}

async fn seat_list(site: &Site, extent: Extent) -> Result<Row> {
    let core_api = site.core_api();
    let requests =
        [request("GET", &format!("/concerts/{}/seats", concert(HALL)), &[("Accept-Encoding", "gzip")], None)];
    let (status, body) = people::try_one(core_api.address(), requests.first().map_or("", |one| one)).await?;
    ensure!(status == 200, "the seats are answered {status}");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("seats");
    std::fs::write(&file, &body)?;
    let ceiling = Site::ceiling(&format!(
        "default_type application/json; add_header Content-Encoding gzip; alias {}/; try_files /seats =404;",
        folder.path().display()
    ))?;
    let holding = Holding::start(site).await?;
    let ours = Side::repeating(&core_api.address(), &[core_api.process().pid()], &requests);
    let theirs = Side::nginx(ceiling.nginx(), &requests);
    let how = format!("{} bytes, compressed. core-api on one core, PostgreSQL and Redis beside wrk.", body.len());
    let mut row = compare(extent, SEAT_LIST, ours, theirs, &how)?;
    let held = holding.stop();
    ensure!(held > 0, "no seat was held while the list was measured");
    let _ = write!(row.note, " nginx sends the list as it was at first. Seats held meanwhile: {held}.");
    Ok(row)
}

/// Somebody who holds ten seats a second.
struct Holding {
    stop: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
}

impl Holding {
    async fn start(site: &Site) -> Result<Self> {
        let people = people::admitted(site, concert(HALL), usize::try_from(SEATS)?).await?;
        site.add_users(people.iter().map(|one| one.user)).await?;
        let credentials = people::credentials(site, concert(HALL), &people)?;
        let address = site.core_api().address();
        let (stop, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        tokio::spawn({
            let (stop, held) = (stop.clone(), held.clone());
            async move {
                let mut every = tokio::time::interval(Duration::from_millis(100));
                for (number, (session, pass)) in (0..).zip(&credentials) {
                    every.tick().await;
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let request = reserve(HALL, number, session, pass);
                    if matches!(people::try_one(address, &request).await, Ok((200, _))) {
                        held.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Ok(Self { stop, held })
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.held.load(Ordering::Relaxed)
    }
}

/// `POST /reservation` for a seat.
pub(super) fn reserve(room: u32, number: u32, session: &str, pass: &str) -> String {
    let body = format!(r#"{{"concertId":"{}","seatId":"{}"}}"#, concert(room), seat(room, number));
    request("POST", "/reservation", &[("Authorization", session), ("X-Queue-Token", pass)], Some(&body))
}

async fn lost(site: &Site, extent: Extent) -> Result<Row> {
    let people = people::admitted(site, concert(WANTED), PEOPLE).await?;
    site.add_users(people.iter().map(|one| one.user)).await?;
    let credentials = people::credentials(site, concert(WANTED), &people)?;
    let attempts: Vec<String> = credentials.iter().map(|(session, pass)| reserve(WANTED, 0, session, pass)).collect();
    let address = site.core_api().address();
    for (attempt, expected) in attempts.iter().take(2).zip([200, 409]) {
        let (status, body) = people::try_one(address, attempt).await?;
        ensure!(status == expected, "a hold is answered {status}: {}", String::from_utf8_lossy(&body));
    }
    let losers = attempts.get(1..).unwrap_or_default();
    let ours = Side {
        address: address.to_string(),
        requests: Box::new(|_| Ok(Requests::repeated(losers.iter().cloned()))),
        answers: Answers::Refusals,
        servers: vec![site.core_api().process().pid()],
    };
    people::join(site, concert(LINE), &STILL, 1).await?;
    let (waiting, _) = people::join(site, concert(LINE), &STILL, PEOPLE).await?;
    let polls = people::polls(site, concert(LINE), &waiting).await?;
    let gateway = site.gateway()?;
    let theirs = Side::repeating(&gateway.address(), &[gateway.process().pid()], &polls);
    let how =
        format!("{PEOPLE} people inside, one seat that somebody else holds. core-api and gateway on the same core.");
    let row = compare(extent, LOST, ours, theirs, &how)?;
    // What was measured were refusals; that they were these.
    let (status, body) = people::try_one(address, losers.last().map_or("", |loser| loser)).await?;
    ensure!(status == 409, "a hold is answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(row)
}

fn proxy(site: &Site, extent: Extent) -> Result<Row> {
    let nginx = site.start_nginx()?;
    cpu::pin(nginx.process().pid(), SERVERS)?;
    let requests = [request("GET", "/concerts", &[], None)];
    let (gateway, core_api) = (site.gateway()?.process().pid(), site.core_api().process().pid());
    let chain = [nginx.process().pid(), gateway, core_api];
    let ours = Side { servers: chain.to_vec(), ..Side::nginx(&nginx, &requests) };
    let theirs = Side::repeating(&site.core_api().address(), &[core_api], &requests);
    compare(extent, PROXY, ours, theirs, "nginx, gateway and core-api share one core, as core-api alone has it.")
}
