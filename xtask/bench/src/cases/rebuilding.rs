//! Rebuild: Redis lost a room, and the record knows everybody who waits in it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gateway::store::RoomKeys;

use crate::compare::Extent;
use crate::concerts::concert;
use crate::figures::{Row, Target, What};
use crate::people;
use crate::progress;
use crate::site::{STILL, Site};

pub(super) const NAMES: &[&str] = &["rebuild-million", "rebuild-ten-million"];

const ROOM: u32 = 0;
/// What a rebuild may take, in seconds.
const MILLION_SECONDS: f64 = 10.0;
const TEN_MILLION_SECONDS: f64 = 60.0;
const MILLION: What = What {
    name: "rebuild-million",
    path: "rebuilding a room of 1,000,000 in line from the record",
    ceiling: "the time that it may take",
    unit: "s",
    target: Target::AtMost(1.0),
};
const TEN_MILLION: What =
    What { name: "rebuild-ten-million", path: "rebuilding a room of 10,000,000 in line from the record", ..MILLION };
/// Long after the slowest rebuild.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) async fn measure(extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, people, seconds) in
        [(MILLION, extent.million, MILLION_SECONDS), (TEN_MILLION, extent.million * 10, TEN_MILLION_SECONDS)]
    {
        if wanted(what.name) {
            rows.push(rebuild(what, people, seconds).await?);
        }
    }
    Ok(rows)
}

async fn rebuild(what: What, people: usize, seconds: f64) -> Result<Row> {
    progress::say(what.name, 0, 1);
    let mut site = Site::start(&STILL).await?;
    site.setup.gateway_env.insert("QUEUE_DATABASE_URL".to_owned(), site.setup.database_url.clone());
    site.setup.queue_database_url.clone_from(&site.setup.database_url);
    record(&site, people).await?;
    site.start_gateway()?;
    let (front, all) = rebuilt(&site, people).await?;
    let how = format!(
        "{people} rows of `queue`, an empty Redis, a gateway that has never seen the room; Redis, PostgreSQL and the gateway share the \
         machine. From the first request until everybody was back; the front was back after {:.1} s.",
        front.as_secs_f64()
    );
    Ok(what.row(&[(all.as_secs_f64(), seconds)], how))
}

/// The record of a room in which so many people wait.
async fn record(site: &Site, people: usize) -> Result<()> {
    let concert = concert(ROOM);
    // Users are no part of a rebuild: without the foreign key they need no rows.
    site.execute("ALTER TABLE queue DROP CONSTRAINT queue_user_id_fkey").await?;
    site.execute(&format!(
        "INSERT INTO queue (id, user_id, concert_id, queue_position, status, epoch, recorded_ms, recorded_seq)
         SELECT gen_random_uuid(), gen_random_uuid(), '{concert}', n, 'waiting', 1000, 1735689700000, n
         FROM generate_series(1, {people}) n"
    ))
    .await?;
    site.execute(&format!(
        "INSERT INTO queue_rooms (concert_id, epoch, version, position) VALUES ('{concert}', 1000, {people}, {people})"
    ))
    .await?;
    site.execute("VACUUM (ANALYZE) queue").await?;
    tokio::task::block_in_place(|| site.postgres.server().admin_sql("CHECKPOINT"))
}

/// How long it took until the front was back, and until everybody was.
async fn rebuilt(site: &Site, people: usize) -> Result<(Duration, Duration)> {
    let path = format!("/queue/{}/frontier", concert(ROOM));
    let (address, keys, begun) = (site.gateway()?.address(), RoomKeys::of(concert(ROOM)), Instant::now());
    let mut front = None;
    loop {
        ensure!(begun.elapsed() < PATIENCE, "the room was not rebuilt in {PATIENCE:?}");
        // The gateway looks after a room that somebody asks for.
        people::try_one(address, &people::request("GET", &path, &[], None)).await?;
        let state = site.redis.command(&["HMGET", keys.room(), "rebuilding", "rebuilt_up_to"])?;
        let mut fields = state.lines().map(str::trim);
        let (rebuilding, up_to) = (fields.next(), fields.next().and_then(|up_to| up_to.parse::<u64>().ok()));
        if up_to.is_some_and(|up_to| up_to > 0) {
            front.get_or_insert_with(|| begun.elapsed());
        }
        if rebuilding == Some("0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = begun.elapsed();
    let in_line: usize = site.redis.command(&["ZCARD", &keys.all()[1]])?.trim().parse()?;
    ensure!(in_line == people, "{in_line} of {people} people are back");
    Ok((front.unwrap_or(all), all))
}
