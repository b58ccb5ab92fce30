//! Keys are changed as docs/KEYS.md says, process by process, while people wait, reserve and sign in: nobody notices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::site::{Answer, Visitor};
use http::{Method, StatusCode};
use serde_json::json;
use stack::onsale::{Onsale, OnsaleOptions};
use stack::programs;
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const VISITORS: usize = 30;
const MAX_ACTIVE: u64 = 20;
/// The others wait to the end.
const ROOM: [(&str, &str); 3] = [("ADMIT_PER_SECOND", "2"), ("BURST", "5"), ("MAX_ACTIVE", "20")];
const PAUSE: Duration = Duration::from_millis(150);
/// nginx leaves a gateway that was away alone for two seconds. Only then do people meet processes with the new keys and
/// with the old ones in turn, which is what has to go well.
const NGINX_PAUSE: Duration = Duration::from_millis(2_500);
const KEYS: [&str; 5] =
    ["SESSION_SECRET", "TICKET_SECRET", "PASS_PRIVATE_KEYS", "PASS_PUBLIC_KEYS", "ENTRY_TICKET_PRIVATE_KEYS"];

/// What everybody is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Living,
    /// The sessions of the old key have run out: sign in again.
    SigningInAgain,
    GoingHome,
}

/// Somebody at their concert.
struct Person {
    name: String,
    visitor: Visitor,
    concert: String,
    seat: String,
    position: u64,
    is_admitted: bool,
    /// Whether they also join again and again, which gives a new ticket each time; the others only poll.
    joins_again: bool,
}

impl Person {
    async fn join(site: &str, concert: &str, number: usize, seat: &str) -> Result<Self> {
        let name = format!("visitor{number}");
        let mut visitor = Visitor::new(site)?;
        visitor.sign_up(&name).await?;
        let (concert, seat) = (concert.to_owned(), seat.to_owned());
        let joins_again = number.is_multiple_of(2);
        let mut person = Self { name, visitor, concert, seat, position: 0, is_admitted: false, joins_again };
        let answer = person.visitor.post("/queue/token", json!({ "concertId": person.concert })).await?.ok()?;
        person.position = answer.body["queueInfo"]["position"].as_u64().context("no position")?;
        person.stand(&answer)?;
        Ok(person)
    }

    async fn sign_in(&mut self) -> Result<()> {
        let login = json!({ "userId": format!("{}@example.test", self.name), "password": "a long password" });
        self.visitor.session =
            Some(self.visitor.post_surely("/auth/login", &login, "login").await?.ok()?.text("token")?);
        Ok(())
    }

    /// Whether they were answered; an error where the answer takes something from them.
    async fn poll(&mut self) -> Result<bool> {
        let answer = served(self.visitor.get("/queue/status").await, &[])?;
        answer.map(|answer| self.stand(&answer)).transpose().map(|stood| stood.is_some())
    }

    async fn join_again(&mut self) -> Result<bool> {
        let body = json!({ "concertId": self.concert });
        let answer = served(self.visitor.post("/queue/token", body).await, &[])?;
        answer.map(|answer| self.stand(&answer)).transpose().map(|stood| stood.is_some())
    }

    /// Their place is the one they had, and nobody who was inside is outside.
    fn stand(&mut self, answer: &Answer) -> Result<()> {
        let (status, position) = (answer.body["status"].as_str(), answer.body["queueInfo"]["position"].as_u64());
        ensure!(position == Some(self.position), "{}, who had {}, stands at {position:?}", self.name, self.position);
        match status {
            Some("admitted") => self.is_admitted = true,
            Some("waiting") if !self.is_admitted => {}
            other => bail!("{} is {other:?}: {}", self.name, answer.body),
        }
        self.visitor.queue_token = Some(answer.text("token")?);
        Ok(())
    }

    /// What takes session and pass past gateway and core-api: 409 is a seat that an answer lost on its way has left held.
    async fn reserve_and_release(&self) -> Result<()> {
        let body = json!({ "concertId": self.concert, "seatId": self.seat });
        if let Some(reserved) = served(self.visitor.post("/reservation", body).await, &[409])? {
            let path = format!("/reservation/{}", reserved.text("reservationId")?);
            served(self.visitor.ask(Method::DELETE, &path, None, &[]).await, &[])?;
        }
        Ok(())
    }

    /// Everything that they do, once; whether the line answered.
    async fn live_a_moment(&mut self) -> Result<bool> {
        let answered = self.poll().await? && (!self.joins_again || self.join_again().await?);
        served(self.visitor.get("/balance").await, &[])?;
        if self.is_admitted {
            self.reserve_and_release().await?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(answered)
    }

    /// Lives until told to go home; says so once they have signed in again and gone on with that session.
    async fn live(mut self, stage: watch::Receiver<Stage>, signed_in: mpsc::Sender<()>) -> Result<Self> {
        let mut has_signed_in = false;
        loop {
            let now = *stage.borrow();
            match now {
                Stage::GoingHome => return Ok(self),
                Stage::SigningInAgain if !has_signed_in => {
                    self.sign_in().await?;
                    while !self.live_a_moment().await? {}
                    signed_in.send(()).await?;
                    has_signed_in = true;
                }
                Stage::SigningInAgain | Stage::Living => {
                    self.live_a_moment().await?;
                }
            }
        }
    }
}

/// An answer with 200; `None` where none came, or one that says "not now" or a status of `fine`; an error for the rest.
fn served(answer: Result<Answer>, fine: &[u16]) -> Result<Option<Answer>> {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ok(Some(answer)),
        Ok(answer) if answer.status.is_server_error() || fine.contains(&answer.status.as_u16()) => Ok(None),
        Ok(answer) => bail!("{}: {}", answer.status, answer.body),
        Err(_) => Ok(None),
    }
}

/// An environment file and the site that runs with it.
struct Keys<'a> {
    onsale: &'a Onsale,
    file: String,
}

impl<'a> Keys<'a> {
    fn of(onsale: &'a Onsale) -> Result<Self> {
        let lines: Result<String> =
            KEYS.iter().map(|name| Ok(format!("{name}={}\n", onsale.setup().secrets.get(name)?))).collect();
        Ok(Self { onsale, file: lines? })
    }

    /// Takes a step with the gateway's own command, then restarts every process, each once the one before it is ready.
    fn roll_out(&mut self, step: &str) -> Result<()> {
        self.file = rotate(&self.file, step)?;
        let changes: BTreeMap<String, String> = self
            .file
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for service in [&self.onsale.gateways()[0], &self.onsale.core_apis()[0], &self.onsale.gateways()[1]] {
            service.restart_with(&changes)?;
            std::thread::sleep(NGINX_PAUSE);
        }
        Ok(())
    }
}

fn rotate(file: &str, step: &str) -> Result<String> {
    let mut gateway = programs::command(stack::binary("gateway")?)
        .args(["rotate-keys", step])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    gateway.stdin.take().context("no stdin")?.write_all(file.as_bytes())?;
    let output = gateway.wait_with_output()?;
    ensure!(output.status.success(), "rotate-keys {step}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

async fn published_keys(site: &str) -> Result<BTreeSet<String>> {
    let answer = Visitor::new(site)?.get("/.well-known/jwks.json").await?.ok()?;
    let keys = answer.body["keys"].as_array().context("no keys")?;
    Ok(keys.iter().filter_map(|key| key["x"].as_str()).map(str::to_owned).collect())
}

/// A concert of fifty seats, and its seats.
async fn small_concert(site: &str) -> Result<(String, Vec<String>)> {
    let visitor = Visitor::new(site)?;
    let concerts = visitor.get("/concerts?limit=100").await?.ok()?;
    let small = concerts.body["data"].as_array().and_then(|all| all.iter().find(|concert| concert["totalSeats"] == 50));
    let id = small.and_then(|concert| concert["id"].as_str()).context("no concert of fifty seats")?.to_owned();
    let seats = visitor.available_seats(&id).await?;
    Ok((id, seats))
}

/// Waits until as many are inside as may be: from then on the line stands still, and so does everything that a ticket says
/// but its key.
async fn line_stands_still(site: &str, concert: &str) -> Result<()> {
    let visitor = Visitor::new(site)?;
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        let answer = served(visitor.get(&format!("/queue/{concert}/frontier")).await, &[])?;
        if answer.is_some_and(|answer| answer.body["frontier"].as_u64() >= Some(MAX_ACTIVE)) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{MAX_ACTIVE} are not inside after {PATIENCE:?}")
}

/// Who was away all the time has tokens of a key that is gone: they sign in, join, and are where they were.
async fn comes_back(mut sleeper: Person) -> Result<()> {
    for path in ["/queue/status", "/balance"] {
        assert_eq!(
            sleeper.visitor.get(path).await?.status,
            StatusCode::UNAUTHORIZED,
            "{path} by a key that was dropped"
        );
    }
    sleeper.sign_in().await?;
    assert!(sleeper.join_again().await?, "joining is not served");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_while_people_wait_and_reserve() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = Onsale::start(&OnsaleOptions {
        gateways: 2,
        redis_url: Some(redis.url()),
        gateway_env: ROOM.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..OnsaleOptions::default()
    })?;
    let (concert, seats) = small_concert(&onsale.url()).await?;
    let mut people = Vec::new();
    for (number, seat) in seats.iter().enumerate().take(VISITORS) {
        people.push(Person::join(&onsale.url(), &concert, number, seat).await?);
    }
    let sleeper = Person::join(&onsale.url(), &concert, VISITORS, &seats[VISITORS]).await?;
    ensure!(
        people[0].is_admitted && !people[VISITORS - 1].is_admitted && !sleeper.is_admitted,
        "a room of another size"
    );
    let mut old_pass = Visitor::new(&onsale.url())?;
    old_pass.queue_token.clone_from(&people[0].visitor.queue_token);
    let first_keys = published_keys(&onsale.url()).await?;

    let stage = watch::Sender::new(Stage::Living);
    let (signed_in, mut all_signed_in) = mpsc::channel(VISITORS);
    let mut lives = JoinSet::new();
    for person in people {
        lives.spawn(person.live(stage.subscribe(), signed_in.clone()));
    }

    let mut keys = Keys::of(&onsale)?;
    tokio::task::block_in_place(|| keys.roll_out("add"))?;
    assert!(published_keys(&onsale.url()).await?.is_superset(&first_keys));
    assert_eq!(published_keys(&onsale.url()).await?.len(), 2);
    line_stands_still(&onsale.url(), &concert).await?;
    tokio::task::block_in_place(|| keys.roll_out("use"))?;
    stage.send_replace(Stage::SigningInAgain);
    for _ in 0..VISITORS {
        tokio::select! {
            Some(()) = all_signed_in.recv() => {}
            Some(life) = lives.join_next() => bail!("{} went home", life??.name),
            () = tokio::time::sleep(PATIENCE) => bail!("not all have signed in again in {PATIENCE:?}"),
        }
    }
    stage.send_replace(Stage::Living);
    tokio::task::block_in_place(|| keys.roll_out("drop"))?;
    stage.send_replace(Stage::GoingHome);

    let mut positions = BTreeSet::new();
    let (mut inside, mut waiting) = (0, 0);
    while let Some(life) = lives.join_next().await {
        let mut person = life??;
        assert!(person.poll().await?, "{} is not answered", person.name);
        positions.insert(person.position);
        *if person.is_admitted { &mut inside } else { &mut waiting } += 1;
    }
    assert_eq!(positions.len(), VISITORS, "two have one position");
    assert!(inside > 5 && waiting > 0, "{inside} were admitted, {waiting} wait");
    let last_keys = published_keys(&onsale.url()).await?;
    assert!(last_keys.len() == 1 && last_keys.is_disjoint(&first_keys));
    assert_eq!(old_pass.get("/queue/status").await?.status, StatusCode::UNAUTHORIZED, "a pass of the first key");
    comes_back(sleeper).await
}
