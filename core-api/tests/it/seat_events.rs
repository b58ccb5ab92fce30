//! Seats as others see them change: pushed, and in the list, in this process and in another.

use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

use stack::wait::PATIENCE;

use crate::support::{Concert, Options, World, eventually, world, world_with};

/// A stream that is open.
struct Stream {
    response: reqwest::Response,
    text: String,
}

/// One event of it.
#[derive(Debug)]
struct Event {
    kind: String,
    id: String,
    seats: Vec<(Uuid, String)>,
}

impl Stream {
    async fn open(url: &str, last_event_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(url);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!((header("x-accel-buffering"), header("cache-control")), ("no".to_owned(), "no-store".to_owned()));
        Self { response, text: String::new() }
    }

    /// The next block; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text.drain(..end + 2).collect();
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn event(&mut self) -> Event {
        let block = self.block().await.expect("the stream goes on");
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("{name} {block}"))
                .to_owned()
        };
        let seats: Vec<Value> = serde_json::from_str(&field("data: ")).unwrap();
        let seat = |seat: &Value| {
            assert_eq!(seat.as_object().unwrap().len(), 2, "only what may have changed");
            (seat["seatId"].as_str().unwrap().parse().unwrap(), seat["status"].as_str().unwrap().to_owned())
        };
        Event { kind: field("event: "), id: field("id: "), seats: seats.iter().map(seat).collect() }
    }
}

fn path(concert: &Concert) -> String {
    format!("/concerts/{}/seats", concert.id)
}

fn url(address: std::net::SocketAddr, concert: &Concert) -> String {
    format!("http://{address}{}/events", path(concert))
}

async fn etag(world: &World, concert: &Concert) -> String {
    world.get(&path(concert)).send().await.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn what_changes_is_pushed_and_who_comes_back_misses_nothing() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(3, "10").await;
    let person = world.user("100").await;
    let seat = |n: usize, status: &str| (concert.seats[n], status.to_owned());
    let mut here = Stream::open(&url(world.address, &concert), None).await;
    let mut there = Stream::open(&url(other, &concert), None).await;
    let first = here.event().await;
    assert_eq!((first.kind.as_str(), &first.seats[..]), ("reset", &[0, 1, 2].map(|n| seat(n, "available"))[..]));
    assert_eq!(format!("\"{}\"", first.id), etag(&world, &concert).await, "an id is the list's tag");
    assert_eq!(there.event().await.id, first.id, "in every process");

    let id = world.hold(&person, &concert, 1).await;
    for stream in [&mut here, &mut there] {
        let held = stream.event().await;
        assert_eq!((held.kind.as_str(), held.seats), ("seats", vec![seat(1, "reserved")]));
    }
    drop(here);
    assert_eq!(world.post("/payment", &json!({ "reservationId": id })).by(&person).send().await.status, 200);
    let sold = there.event().await;
    assert_eq!(sold.seats, [seat(1, "sold")]);

    // Back after it missed something, by either name of where it was; and elsewhere, and from before anything happened.
    let since = format!("{}?since={}", url(other, &concert), first.id);
    let mut again = [Stream::open(&url(other, &concert), Some(&first.id)).await, Stream::open(&since, None).await];
    for stream in &mut again {
        let (held, sold_too) = (stream.event().await, stream.event().await);
        assert_eq!((held.kind.as_str(), held.seats), ("seats", vec![seat(1, "reserved")]));
        assert_eq!((sold_too.id, sold_too.seats), (sold.id.clone(), vec![seat(1, "sold")]));
    }
    // The newest tag is what there is: silence, until something happens, and not everything anew.
    let tag = etag(&world, &concert).await;
    let mut up_to_date = Stream::open(&url(world.address, &concert), Some(&tag)).await;
    let mut unknown = Stream::open(&url(world.address, &concert), Some("0123456789abcdef")).await;
    let all = unknown.event().await;
    assert_eq!((all.kind.as_str(), all.seats.len(), all.id), ("reset", 3, sold.id));
    world.hold(&person, &concert, 2).await;
    let next = up_to_date.event().await;
    assert_eq!((next.kind.as_str(), next.seats), ("seats", vec![seat(2, "reserved")]));
}

#[tokio::test]
async fn a_stream_of_what_does_not_exist_is_none() {
    let world = world().await;
    let nothing = format!("/concerts/{}/seats/events", Uuid::nil());
    world.get(&nothing).send().await.assert_problem(404, "not_found");
    world.get("/concerts/x/seats/events").send().await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_process() {
    let world = world_with(Options { settings: vec![("CORE_API_MAX_STREAMS", "2")], ..Options::default() }).await;
    let concert = world.concert(1, "10").await;
    let address = url(world.address, &concert);
    let mut first = Stream::open(&address, None).await;
    let second = Stream::open(&address, None).await;
    let path = format!("{}/events", path(&concert));
    world.get(&path).send().await.assert_problem(503, "overloaded");
    assert_eq!(world.get(&format!("/concerts/{}/seats", concert.id)).send().await.status, 200);
    drop(second);
    let mut third = eventually("a place", async || {
        let response = reqwest::get(&address).await.unwrap();
        (response.status() == 200).then_some(Stream { response, text: String::new() })
    })
    .await;
    for stream in [&mut first, &mut third] {
        assert_eq!(stream.event().await.kind, "reset");
    }
    world.stop();
    for stream in [&mut first, &mut third] {
        assert_eq!(stream.block().await.unwrap(), ": stopping\nretry: 2000\n\n");
        assert_eq!(stream.block().await, None);
    }
}

#[tokio::test]
async fn many_streams_cost_no_more_readings_than_one() {
    let world = world().await;
    let concert = world.concert(600, "10").await;
    let scans =
        || world.sql("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'seats'");
    let before: i64 = scans().await.parse().unwrap();
    let started = Instant::now();
    let opened = (0..60).map(|_| async {
        let mut stream = Stream::open(&url(world.address, &concert), None).await;
        stream.event().await;
        stream
    });
    let mut streams = futures_util::future::join_all(opened).await;
    let person = world.user("0").await;
    world.hold(&person, &concert, 7).await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.seats, [(concert.seats[7], "reserved".to_owned())]);
    }
    drop(streams);
    // The statistics come late, so this waits for them: the hold's own access shows when they are there.
    let readings = started.elapsed().as_millis() / 300 + 2;
    let after =
        eventually("statistics", async || scans().await.parse::<i64>().ok().filter(|after| *after > before)).await;
    // Holding and the counts of the list of concerts touch the table a few times as well.
    let most = i64::try_from(readings).unwrap() * 3 + 12;
    assert!(after - before <= most, "{} scans for 60 streams in {readings} readings", after - before);
}

/// Checks that another process' list and stream show a seat as free once `free` is done, and that it can be held there.
async fn becomes_free(world: &World, free: impl AsyncFnOnce(&World, Uuid)) {
    let other = world.start_another().await;
    // Larger than what is read again after every change.
    let concert = world.concert(1_000, "10").await;
    let (person, next) = (world.user("0").await, world.user("0").await);
    let id = world.hold(&person, &concert, 3).await;
    let status = async |address| world.get_from(address, &path(&concert)).await.json[3]["status"].clone();
    eventually("the hold shows elsewhere", async || (status(other).await == "reserved").then_some(())).await;
    let mut stream = Stream::open(&url(other, &concert), None).await;
    assert_eq!(stream.event().await.seats[3].1, "reserved");
    free(world, id).await;
    assert_eq!(stream.event().await.seats, [(concert.seats[3], "available".to_owned())]);
    for address in [other, world.address] {
        eventually("the seat is free", async || (status(address).await == "available").then_some(())).await;
    }
    let pass = world.admit(&next, &concert).await;
    let body = json!({ "concertId": concert.id, "seatId": concert.seats[3] });
    let held = world.post_to(other, "/reservation", &body).by(&next).pass(&pass).send().await;
    assert_eq!(held.status, 200, "{}", held.text);
}

#[tokio::test]
async fn a_seat_given_back_is_free_everywhere() {
    let world = world().await;
    becomes_free(&world, async |world, id| {
        let owner: Uuid =
            world.sql(&format!("SELECT user_id FROM reservations WHERE id = '{id}'")).await.parse().unwrap();
        let owner = crate::support::Person { id: owner.into(), session: world.session(owner.into()) };
        assert_eq!(world.delete(&format!("/reservation/{id}")).by(&owner).send().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_seat_not_paid_for_is_free_everywhere() {
    let world = world().await;
    becomes_free(&world, async |world, id| {
        world.execute(&format!("UPDATE reservations SET payment_deadline = now_utc() WHERE id = '{id}'")).await;
    })
    .await;
}
