//! A core-api in this process, on a port and a database of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::clock::{Clock as _, ShiftedClock};
use common::config::Reader;
use common::ids::{ConcertId, UserId};
use common::lifecycle::Lifecycle;
use common::tokens::{Pass, PassId, PassSigner, Role, Session, SessionKeys, TicketKeys, generate_pass_key};
use core_api::App;
use core_api::config::Config;
use core_api::service::{Catalogue, HandingOn, Holding, Logins, Passwords, Reserving, Returns};
use core_api::store::postgres::Db;
use core_api::store::redis::Holds;
use reqwest::Method;
use serde_json::Value;
use sqlx::{PgPool, Row as _};
use stack::postgres::{Database, PostgresServer};
use stack::wait::PATIENCE;
use uuid::Uuid;

use crate::client::{Answer, Request};

const SESSION_SECRET: &str = "a-session-secret-for-tests-of-core-api";
/// What signs tickets, a seed.
pub(crate) const ENTRY_TICKET_KEY: &str = "dGlja2V0cy1vZi10ZXN0cy1zaWduZWQtYnktdGhpcyE";

/// What differs from the ordinary.
#[derive(Default)]
pub(crate) struct Options {
    /// Settings, over the defaults.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    /// A Redis other than the shared one.
    pub(crate) redis_url: Option<String>,
    /// A cluster instead of one Redis.
    pub(crate) cluster: bool,
    /// A PostgreSQL other than the shared one.
    pub(crate) postgres: Option<PostgresServer>,
    /// As whom core-api connects, instead of the tables' owner; that server must have such a role.
    pub(crate) role: Option<&'static str>,
}

/// A running core-api and everything a test does behind its back.
pub(crate) struct World {
    pub(crate) clock: Arc<ShiftedClock>,
    pub(crate) pool: PgPool,
    pub(crate) redis: redis::aio::ConnectionManager,
    pub(crate) address: SocketAddr,
    pub(crate) database_url: String,
    sessions: SessionKeys,
    passes: PassSigner,
    config: Config,
    client: reqwest::Client,
    lifecycles: std::sync::Mutex<Vec<Lifecycle>>,
    // Dropped last: the pool's connections are closed before.
    _database: Database,
}

impl Drop for World {
    fn drop(&mut self) {
        for lifecycle in self.lifecycles.lock().unwrap().iter() {
            lifecycle.stop();
        }
    }
}

/// A core-api with default settings.
pub(crate) async fn world() -> World {
    world_with(Options::default()).await
}

/// A core-api that differs.
pub(crate) async fn world_with(options: Options) -> World {
    let postgres = options.postgres.clone();
    let (database, redis_urls) = tokio::task::spawn_blocking(move || {
        let server = postgres.map_or_else(stack::shared::postgres, Ok).unwrap();
        let database = server.fresh_database("core_api", migrate).unwrap();
        let redis = match (options.redis_url, options.cluster) {
            (Some(url), _) => url,
            (None, true) => stack::shared::redis_cluster_urls().unwrap(),
            (None, false) => stack::shared::redis_url().unwrap(),
        };
        (database, redis)
    })
    .await
    .unwrap();
    let (seed, public) = generate_pass_key().unwrap();
    let url = database.url();
    let mut settings = vec![
        (
            "DATABASE_URL".to_owned(),
            options.role.map_or(url.clone(), |role| url.replace("//onsale@", &format!("//{role}@"))),
        ),
        ("REDIS_URL".to_owned(), redis_urls.clone()),
        ("REDIS_MODE".to_owned(), if options.cluster { "cluster" } else { "standalone" }.to_owned()),
        ("SESSION_SECRET".to_owned(), SESSION_SECRET.to_owned()),
        ("PASS_PUBLIC_KEYS".to_owned(), public),
        ("ENTRY_TICKET_PRIVATE_KEYS".to_owned(), ENTRY_TICKET_KEY.to_owned()),
        ("CORE_API_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    settings.extend(options.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let config = Config::read(Reader::new(settings)).unwrap();
    let clock = Arc::new(ShiftedClock::default());
    let first_url = redis_urls.split(',').next().unwrap();
    let manager = redis::Client::open(first_url).unwrap().get_connection_manager().await.unwrap();
    let mut world = World {
        clock,
        pool: PgPool::connect(&database.url()).await.unwrap(),
        redis: manager,
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: database.url(),
        sessions: SessionKeys::new(&[SESSION_SECRET]).unwrap(),
        passes: PassSigner::new(&[seed]).unwrap(),
        config,
        client: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
        lifecycles: std::sync::Mutex::default(),
        _database: database,
    };
    world.address = world.start_another().await;
    world
}

fn migrate(url: &str) -> anyhow::Result<()> {
    // Called where no runtime is, or on a thread that may block.
    let url = url.to_owned();
    let migration = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(Db::migrate(&url))
    });
    migration.join().unwrap()
}

impl World {
    /// Another core-api over the same stores; its address.
    pub(crate) async fn start_another(&self) -> SocketAddr {
        self.start_and_watch().await.0
    }

    /// The same, and its count of logins.
    pub(crate) async fn start_and_watch(&self) -> (SocketAddr, Logins) {
        let (address, logins, _) = self.start_in_full_view().await;
        (address, logins)
    }

    /// The same, and its pool for passwords.
    pub(crate) async fn start_in_full_view(&self) -> (SocketAddr, Logins, Passwords) {
        let lifecycle = Lifecycle::default();
        let clock: Arc<ShiftedClock> = Arc::clone(&self.clock);
        let app = App::new(&self.config, clock, lifecycle.clone()).unwrap();
        let listener = tokio::net::TcpListener::bind(self.config.listen).await.unwrap();
        let (address, logins, passwords) = (listener.local_addr().unwrap(), app.logins(), app.passwords());
        self.lifecycles.lock().unwrap().push(lifecycle);
        tokio::spawn(app.serve(listener));
        (address, logins, passwords)
    }

    /// Another one of those who look for seats that a crash left in the middle of being handed on.
    pub(crate) fn handing_on(&self) -> HandingOn {
        let config = &self.config;
        let db = Db::new(&config.database_url, 2).unwrap();
        let holds = Holds::new(&config.redis, config.hold_grace).unwrap();
        let (holding, _) = Holding::new(db.clone(), config.hold_rules);
        let reserving = Reserving::new(db.clone(), holds.clone(), holding);
        let offer_seconds = config.waitlist_offer_seconds;
        let returns = Returns::new(db.clone(), holds.clone(), reserving, Catalogue::new(db.clone()), offer_seconds);
        HandingOn::new(db, holds, returns)
    }

    /// Asks every core-api to stop.
    pub(crate) fn stop(&self) {
        self.lifecycles.lock().unwrap().iter().for_each(Lifecycle::stop);
    }

    /// What another instance answers everybody.
    pub(crate) async fn get_from(&self, address: SocketAddr, path: &str) -> Answer {
        Request::new(self.client.get(format!("http://{address}{path}"))).send().await
    }

    /// A request to be filled in.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.client.request(method, format!("http://{}{path}", self.address)))
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Request {
        self.request(Method::PATCH, path).json(body)
    }

    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    pub(crate) fn get_at(&self, address: SocketAddr, path: &str) -> Request {
        Request::new(self.client.get(format!("http://{address}{path}")))
    }

    /// A request to another instance.
    pub(crate) fn post_to(&self, address: SocketAddr, path: &str, body: &Value) -> Request {
        Request::new(self.client.post(format!("http://{address}{path}"))).json(body)
    }

    pub(crate) fn delete_at(&self, address: SocketAddr, path: &str) -> Request {
        Request::new(self.client.delete(format!("http://{address}{path}")))
    }

    /// A user without a password, with this balance, charged properly.
    pub(crate) async fn user(&self, balance: &str) -> Person {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let user = UserId::generate();
        let email = format!("user{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed));
        sqlx::query("INSERT INTO users (id, username, email) VALUES ($1, 'Test', $2)")
            .bind(user.as_uuid())
            .bind(email)
            .execute(&self.pool)
            .await
            .unwrap();
        let person = Person { id: user, session: self.session(user) };
        if balance != "0" {
            let amount: Value = serde_json::from_str(balance).unwrap();
            let charged = self.post("/balance", &serde_json::json!({ "amount": amount })).by(&person).send().await;
            assert_eq!(charged.status, 200, "{}", charged.text);
        }
        person
    }

    /// Somebody with another role.
    pub(crate) async fn colleague(&self, role: Role) -> Person {
        let person = self.user("0").await;
        let name = if role == Role::Admin { "admin" } else { "staff" };
        self.execute(&format!("UPDATE users SET role = '{name}' WHERE id = '{}'", person.id)).await;
        let issued_at = self.clock.now();
        let expires_at = issued_at + TimeDelta::hours(1);
        let session = self.sessions.sign(&Session { id: None, user: person.id, role, issued_at, expires_at });
        Person { session, ..person }
    }

    /// An administrator.
    pub(crate) async fn administrator(&self) -> Person {
        self.colleague(Role::Admin).await
    }

    /// A valid session.
    pub(crate) fn session(&self, user: UserId) -> String {
        self.session_until(user, self.clock.now() + TimeDelta::hours(1))
    }

    /// A session that ends then.
    pub(crate) fn session_until(&self, user: UserId, expires_at: DateTime<Utc>) -> String {
        let issued_at = expires_at - TimeDelta::hours(1);
        self.sessions.sign(&Session { id: None, user, role: Role::User, issued_at, expires_at })
    }

    /// A concert on sale, with this many seats of one section, at this price.
    pub(crate) async fn concert(&self, seats: i32, price: &str) -> Concert {
        self.concert_with(seats, price, "now_utc()::date + 30", "NULL", "NULL").await
    }

    /// A concert with its times as SQL.
    pub(crate) async fn concert_with(&self, seats: i32, price: &str, date: &str, opens: &str, closes: &str) -> Concert {
        let id = ConcertId::generate();
        let sql = format!(
            "INSERT INTO concerts (id, name, venue, concert_date, sale_opens_at, sale_closed_at)
             VALUES ($1, '콘서트', 'Hall', {date}, {opens}, {closes})"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.as_uuid()).execute(&self.pool).await.unwrap();
        let sql = format!(
            "INSERT INTO seats (id, concert_id, section, seat_number, price)
             SELECT gen_random_uuid(), $1, CASE WHEN $2 <= 50 THEN 'A' ELSE lpad(((n - 1) / 50)::text, 3, '0') END,
                    (n - 1) % 50 + 1, {price}
             FROM generate_series(1, $2) AS n"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.as_uuid()).bind(seats).execute(&self.pool).await.unwrap();
        let rows = sqlx::query("SELECT id FROM seats WHERE concert_id = $1 ORDER BY section, seat_number")
            .bind(id.as_uuid())
            .fetch_all(&self.pool)
            .await
            .unwrap();
        Concert { id, seats: rows.iter().map(|row| row.get(0)).collect() }
    }

    /// Admits a person to a concert: a live lease in Redis and the pass that goes with it.
    pub(crate) async fn admit(&self, person: &Person, concert: &Concert) -> String {
        let id = PassId { position: 7, nonce: 3 };
        let lease_end = Utc::now() + TimeDelta::minutes(10);
        self.lease(person, concert, id, lease_end).await;
        self.pass(person.id, concert.id, id, self.clock.now() + TimeDelta::minutes(10))
    }

    /// A lease, as the gateway would keep it.
    pub(crate) async fn lease(&self, person: &Person, concert: &Concert, id: PassId, end: DateTime<Utc>) {
        let key = |name: &str| format!("wr:v1:{{{}}}:{name}", concert.id);
        let (user, end) = (person.id.compact(), end.timestamp_millis().to_string());
        self.redis(&["HSET", &key("room"), "epoch", "1"]).await;
        self.redis(&["ZADD", &key("leases"), &end, &user]).await;
        self.redis(&["HSET", &key("passes"), &user, &id.to_string()]).await;
    }

    /// One command; again where the connection has just been broken.
    pub(crate) async fn redis(&self, words: &[&str]) -> Option<String> {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        let answer = eventually("Redis answers the test", async || {
            command.query_async::<redis::Value>(&mut self.redis.clone()).await.ok()
        });
        redis::from_redis_value(answer.await).unwrap()
    }

    /// A signed pass.
    pub(crate) fn pass(&self, user: UserId, concert: ConcertId, id: PassId, expires_at: DateTime<Utc>) -> String {
        self.passes.sign(&Pass { user, concert, id, expires_at })
    }

    /// Holds one seat for somebody; the reservation's id.
    pub(crate) async fn hold(&self, person: &Person, concert: &Concert, seat: usize) -> Uuid {
        let pass = self.admit(person, concert).await;
        let body = serde_json::json!({ "concertId": concert.id, "seatId": concert.seats[seat] });
        // A concert that was only just made is known within a second.
        let answer = eventually("the concert is known", async || {
            let answer = self.post("/reservation", &body).by(person).pass(&pass).send().await;
            (answer.status != 404).then_some(answer)
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.uuid("reservationId")
    }

    /// One value from SQL, as text.
    pub(crate) async fn sql(&self, query: &str) -> String {
        let query = format!("SELECT ({query})::text");
        let value: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&self.pool).await.unwrap();
        value.unwrap_or_else(|| "NULL".to_owned())
    }

    /// Waits until so many transactions wait for a lock.
    pub(crate) async fn waiting_for_locks(&self, count: &str) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("transactions wait for a lock", async || (self.sql(waiting).await == count).then_some(())).await;
    }

    /// Runs SQL.
    pub(crate) async fn execute(&self, statement: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Moves the database's clock of decisions.
    pub(crate) async fn shift_database_clock(&self, interval: &str) {
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION now_utc() RETURNS TIMESTAMP LANGUAGE sql VOLATILE PARALLEL SAFE
             AS $$ SELECT clock_timestamp() AT TIME ZONE 'UTC' + interval '{interval}' $$"
        ))
        .await;
    }

    /// The lock of a seat.
    pub(crate) async fn lock(&self, concert: &Concert, seat: usize) -> Option<String> {
        let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[seat]);
        self.redis(&["GET", &key]).await
    }

    /// Everything that business decides, as one text: to see that nothing was changed.
    pub(crate) async fn everything(&self) -> String {
        let tables = ["users", "seats", "reservations", "payments", "ledger_entries", "check_ins"];
        let mut all = String::new();
        for table in tables {
            let rows = format!("SELECT coalesce(string_agg(t::text, ';' ORDER BY t::text), '') FROM {table} t");
            all.push_str(&self.sql(&rows).await);
        }
        all
    }

    /// Waits until so many wait for locks in the database.
    pub(crate) async fn locks_waited_for(&self, count: usize) {
        eventually("they wait for the lock", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (self.sql(waiting).await.parse::<usize>().unwrap() >= count).then_some(())
        })
        .await;
    }

    /// Holds and pays for one seat; the reservation.
    pub(crate) async fn buy(&self, person: &Person, concert: &Concert, seat: usize) -> Uuid {
        let reservation = self.hold(person, concert, seat).await;
        let body = serde_json::json!({ "reservationId": reservation });
        let paid = self.post("/payment", &body).by(person).send().await;
        assert_eq!(paid.status, 200, "{}", paid.text);
        reservation
    }

    /// That everything holds that must always hold.
    pub(crate) async fn assert_invariants(&self) {
        for check in &invariants::CHECKS {
            let broken: Vec<(i64, String)> = sqlx::query_as(check.sql).fetch_all(&self.pool).await.unwrap();
            assert!(broken.is_empty(), "{}: {broken:?}", check.title);
        }
    }
}

/// Somebody signed in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) session: String,
}

/// A concert and its seats in order.
pub(crate) struct Concert {
    pub(crate) id: ConcertId,
    pub(crate) seats: Vec<Uuid>,
}

/// Asks again and again until `probe` is content.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A ticket of some waiting room.
pub(crate) fn ticket(user: UserId, concert: ConcertId) -> String {
    let ticket = common::tokens::Ticket { user, concert, position: 9, epoch: 1, issued_at: 1, ahead: Some(3) };
    TicketKeys::new(&["a-ticket-secret-that-core-api-never-has"]).unwrap().sign(&ticket)
}
