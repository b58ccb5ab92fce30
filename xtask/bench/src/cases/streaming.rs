//! Event streams, many of them, on one gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::compare::Extent;
use crate::concerts::concert;
use crate::cpu::GENERATOR;
use crate::figures::{Row, Target, What};
use crate::site::{STILL, Site};
use crate::{cpu, people, progress};

pub(super) const NAMES: &[&str] = &["stream-memory", "stream-update"];

const MEMORY: What = What {
    name: "stream-memory",
    path: "memory of a gateway for each open event stream",
    ceiling: "12 KiB",
    unit: "KiB",
    target: Target::AtMost(1.0),
};
const UPDATE: What = What {
    name: "stream-update",
    path: "one update to all streams of a gateway: from the first that has it to the last",
    ceiling: "1 s",
    unit: "s",
    target: Target::AtMost(1.0),
};
const ROOM: u32 = 0;
/// Connections that are being made at once.
const CONNECTING: usize = 200;
/// Files beside the streams': listening sockets, Redis, logs.
const OTHER_FILES: u64 = 200;
const KIB: f64 = 1_024.0;

pub(super) async fn measure(extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    let asked = u64::try_from(extent.streams)?;
    let streams = usize::try_from(allow_files(asked + OTHER_FILES)?.saturating_sub(OTHER_FILES).min(asked))?;
    let extent = Extent { streams, ..extent };
    let site = Site::start_with_gateway(&STILL).await?;
    site.pin_gateway()?;
    // The clients are this process; nothing is started after this part.
    cpu::pin(std::process::id(), GENERATOR)?;
    people::join(&site, concert(ROOM), &STILL, 1).await?;
    let (waiting, _) = people::join(&site, concert(ROOM), &STILL, extent.streams).await?;
    let polls = people::polls(&site, concert(ROOM), &waiting).await?;
    let gateway = site.gateway()?;
    let before = cpu::resident_bytes(gateway.process().pid())?;
    progress::say("streams open", 0, 1);
    let ((told, mut heard), (told_of_end, mut heard_of_end)) =
        (mpsc::channel(extent.streams), mpsc::channel(extent.streams));
    let open = polls.iter().map(|poll| poll.replacen("/queue/status", "/queue/events", 1));
    let places = Arc::new(Semaphore::new(CONNECTING));
    let readers: Vec<_> = open
        .map(|request| {
            tokio::spawn(read(gateway.address(), request, told.clone(), told_of_end.clone(), places.clone()))
        })
        .collect();
    drop((told, told_of_end));
    wait_for_all(&mut heard, extent.streams, Duration::from_mins(2)).await.context("the first event of each stream")?;
    // What opening took is given back, if it is.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (cpu::resident_bytes(gateway.process().pid())? - before) / f64::from(u32::try_from(extent.streams)?);
    progress::say("an update", 0, 1);
    let begun = Instant::now();
    // The sale is over: everybody is to know at once.
    sqlx::query("UPDATE concerts SET sale_closed_at = now_utc() WHERE id = $1")
        .bind(concert(ROOM).as_uuid())
        .execute(&site.pool)
        .await?;
    let (first, last) =
        wait_for_all(&mut heard_of_end, extent.streams, Duration::from_mins(1)).await.context("the update")?;
    for reader in readers {
        reader.abort();
    }
    let memory = format!("Growth of the gateway's resident memory with {} streams open, by stream.", extent.streams);
    let update = format!(
        "{} streams, clients on the other core; the sale's end \
         stood in PostgreSQL {:.1} s before the first did, as core-api and gateway look for it by themselves.",
        extent.streams,
        (first - begun).as_secs_f64()
    );
    let rows = [MEMORY.row(&[(each / KIB, 12.0)], memory), UPDATE.row(&[((last - first).as_secs_f64(), 1.0)], update)];
    Ok(rows.into_iter().filter(|row| wanted(row.name)).collect())
}

/// Tells of the first event of a stream, and of the one that ends it.
async fn read(
    address: SocketAddr,
    request: String,
    told: mpsc::Sender<Instant>,
    told_of_end: mpsc::Sender<Instant>,
    places: Arc<Semaphore>,
) -> Result<()> {
    let mut connecting = Some(places.acquire_owned().await?);
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut part = [0; 1_024];
    loop {
        let length = connection.read(&mut part).await?;
        ensure!(length > 0, "the stream ended");
        let text = String::from_utf8_lossy(part.get(..length).unwrap_or_default());
        if text.contains("event: closed") {
            return Ok(told_of_end.send(Instant::now()).await?);
        }
        if text.contains("event: ")
            && let Some(place) = connecting.take()
        {
            told.send(Instant::now()).await?;
            drop(place);
        }
    }
}

/// When the first and the last of so many was heard.
async fn wait_for_all(
    heard: &mut mpsc::Receiver<Instant>,
    count: usize,
    patience: Duration,
) -> Result<(Instant, Instant)> {
    let mut times = Vec::with_capacity(count);
    let all = async {
        while times.len() < count {
            match heard.recv().await {
                Some(at) => times.push(at),
                None => break,
            }
        }
    };
    let in_time = tokio::time::timeout(patience, all).await.is_ok();
    ensure!(in_time && times.len() == count, "only {} of {count} were heard in {patience:?}", times.len());
    Ok((*times.iter().min().context("none")?, *times.iter().max().context("none")?))
}

/// Raises the limit on open files, which the servers inherit, as far as it is wanted and allowed; what it is then.
fn allow_files(wanted: u64) -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let (has, may) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if has >= wanted {
        return Ok(has);
    }
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(may.max(wanted)) }).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(may), maximum: Some(may) })?;
    Ok(may)
}
