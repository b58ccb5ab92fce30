//! Property: whatever is done in whatever order, and whatever fails in between, seats, money and the waitlist are as a
//! small model of them says, and everything holds that must always hold.
//!
//! Two real core-apis with a real PostgreSQL and Redis are asked by turns. Between and in the middle of requests a core-api
//! is killed, Redis loses everything, PostgreSQL restarts, the clock jumps.
//!
//! With `ONSALE_MODEL_CASES` so many new cases are tried, else always the same few; a failure prints its steps, and
//! proptest shrinks them.

#![expect(clippy::indexing_slicing, reason = "numbers of people, seats and core-apis are drawn below their count")]

mod model;
mod site;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::site::Answer;
use http::Method;
use model::{Expected, Model, PRICE, SEATS, Seat, USERS, User};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use serde_json::json;
use site::{APIS, Concert, Site, eventually};
use stack::wait::PATIENCE;
use uuid::Uuid;

const CASES: u32 = 24;

/// Something that is done to the site. Reservations are named by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Hold {
        user: User,
        seats: Vec<Seat>,
        api: usize,
    },
    /// Two people want the same seat at the same moment, at two core-apis.
    Race {
        users: [User; 2],
        seat: Seat,
    },
    Extend {
        user: User,
        nth: usize,
        api: usize,
    },
    Release {
        user: User,
        nth: usize,
        api: usize,
    },
    Pay {
        user: User,
        nth: usize,
        api: usize,
    },
    /// The same payment at two core-apis at the same moment.
    PayTwice {
        nth: usize,
    },
    Charge {
        user: User,
        api: usize,
    },
    Join {
        user: User,
        api: usize,
    },
    Leave {
        user: User,
        api: usize,
    },
    /// Long enough for some deadlines to pass.
    Wait,
    /// The clock is set back and forth by turns.
    Wobble,
    Kill {
        api: usize,
    },
    /// A core-api is killed in the middle of a payment, or of giving back.
    KillInPay {
        nth: usize,
        api: usize,
        after_ms: u64,
    },
    KillInRelease {
        nth: usize,
        api: usize,
        after_ms: u64,
    },
    FlushRedis,
    RestartPostgres,
}

fn step() -> impl Strategy<Value = Step> {
    let (user, seat, api, nth) =
        (0..USERS, 0..SEATS, 0..APIS, any::<prop::sample::Index>().prop_map(|i| i.index(1 << 16)));
    let seats = prop_oneof![
        3 => seat.clone().prop_map(|seat| vec![seat]),
        1 => prop::sample::subsequence((0..SEATS).collect::<Vec<_>>(), 2),
    ];
    prop_oneof![
        8 => (user.clone(), seats, api.clone()).prop_map(|(user, seats, api)| Step::Hold { user, seats, api }),
        2 => (user.clone(), 1..USERS, seat)
            .prop_map(|(first, by, seat)| Step::Race { users: [first, (first + by) % USERS], seat }),
        2 => (user.clone(), nth.clone(), api.clone()).prop_map(|(user, nth, api)| Step::Extend { user, nth, api }),
        4 => (user.clone(), nth.clone(), api.clone()).prop_map(|(user, nth, api)| Step::Release { user, nth, api }),
        6 => (user.clone(), nth.clone(), api.clone()).prop_map(|(user, nth, api)| Step::Pay { user, nth, api }),
        2 => nth.clone().prop_map(|nth| Step::PayTwice { nth }),
        4 => (user.clone(), api.clone()).prop_map(|(user, api)| Step::Charge { user, api }),
        3 => (user.clone(), api.clone()).prop_map(|(user, api)| Step::Join { user, api }),
        1 => (user, api.clone()).prop_map(|(user, api)| Step::Leave { user, api }),
        3 => Just(Step::Wait),
        1 => Just(Step::Wobble),
        1 => api.clone().prop_map(|api| Step::Kill { api }),
        1 => (nth.clone(), api.clone(), 0_u64..12).prop_map(|(nth, api, after_ms)| Step::KillInPay { nth, api, after_ms }),
        1 => (nth, api, 0_u64..12).prop_map(|(nth, api, after_ms)| Step::KillInRelease { nth, api, after_ms }),
        2 => Just(Step::FlushRedis),
        1 => Just(Step::RestartPostgres),
    ]
}

/// One case under way.
struct Case<'a> {
    concert: Concert<'a>,
    model: Model,
    /// The reservations of the model, as the site names them.
    ids: Vec<Uuid>,
    wobble: i64,
}

fn check(what: &str, answer: &Answer, expected: &Expected) -> Result<()> {
    let error = answer.body["error"].as_str().unwrap_or_default();
    let fits = answer.status == expected.status && (expected.errors.is_empty() || expected.errors.contains(&error));
    ensure!(fits, "{what}: {} {}, expected {expected:?}", answer.status, answer.body);
    Ok(())
}

fn is_ok(answer: &Answer) -> bool {
    answer.status == 200
}

impl<'a> Case<'a> {
    async fn new(site: &'a Site, now: i64) -> Result<Self> {
        let concert = site.concert().await?;
        Ok(Self { concert, model: Model::new(now), ids: Vec::new(), wobble: 0 })
    }

    /// Whose reservation is meant, and which; `None` while there is none.
    fn meant(&self, nth: usize) -> Option<(usize, Uuid)> {
        let index = nth.checked_rem(self.ids.len())?;
        Some((index, self.ids[index]))
    }

    async fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Hold { user, seats, api } => self.hold(*user, seats, *api).await,
            Step::Race { users, seat } => self.race(*users, *seat).await,
            Step::Extend { user, nth, api } => self.extend(*user, *nth, *api).await,
            Step::Release { user, nth, api } => self.release(*user, *nth, *api).await,
            Step::Pay { user, nth, api } => self.pay(*user, *nth, *api).await,
            Step::PayTwice { nth } => self.pay_twice(*nth).await,
            Step::Charge { user, api } => self.charge(*user, *api).await,
            Step::Join { user, api } => self.join(*user, *api).await,
            Step::Leave { user, api } => self.leave(*user, *api).await,
            Step::Wait => self.wait().await,
            Step::Wobble => self.wobble().await,
            Step::Kill { api } => self.concert.site.kill(*api),
            Step::KillInPay { nth, api, after_ms } => self.kill_in_pay(*nth, *api, *after_ms).await,
            Step::KillInRelease { nth, api, after_ms } => self.kill_in_release(*nth, *api, *after_ms).await,
            Step::FlushRedis => self.concert.site.flush_redis(),
            Step::RestartPostgres => self.concert.site.restart_postgres().await,
        }
    }

    async fn hold(&mut self, user: User, seats: &[Seat], api: usize) -> Result<()> {
        let expected = self.model.may_hold(user, seats);
        let begun = std::time::Instant::now();
        let answer = loop {
            let answer = self.concert.hold(user, seats, api).await?;
            // What came free at the other core-api may be unknown here for a moment.
            let is_stale = expected.status == 200 && answer.body["error"] == "seat_taken";
            if !is_stale || begun.elapsed() > PATIENCE {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        check("hold", &answer, &expected)?;
        if is_ok(&answer) {
            self.held(user, seats, &answer)?;
        }
        Ok(())
    }

    /// Notes what was held.
    fn held(&mut self, user: User, seats: &[Seat], answer: &Answer) -> Result<()> {
        let reservations = answer.body["reservations"].as_array().context("no reservations")?;
        ensure!(reservations.len() == seats.len(), "{}", answer.body);
        for (seat, reservation) in seats.iter().zip(reservations) {
            self.model.hold(user, *seat);
            self.ids.push(reservation["reservationId"].as_str().context("no id")?.parse()?);
        }
        Ok(())
    }

    async fn race(&mut self, [first, second]: [User; 2], seat: Seat) -> Result<()> {
        let (before, wanted) = (self.model.clone(), [seat]);
        let (one, two) = tokio::join!(self.concert.hold(first, &wanted, 0), self.concert.hold(second, &wanted, 1));
        let (one, two) = (one?, two?);
        ensure!(!(is_ok(&one) && is_ok(&two)), "both have seat {seat}");
        for (user, answer) in [(first, &one), (second, &two)] {
            let mut expected = before.may_hold(user, &[seat]);
            if is_ok(answer) {
                check("race", answer, &expected)?;
                self.held(user, &[seat], answer)?;
            } else {
                // Whoever was faster held the lock for a moment at least.
                expected.status = 409;
                expected.errors.push("seat_taken");
                check("race", answer, &expected)?;
            }
        }
        Ok(())
    }

    async fn extend(&mut self, user: User, nth: usize, api: usize) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let expected = self.model.extend(user, index);
        let path = format!("/reservation/{id}/extend");
        check("extend", &self.concert.ask(user, api, Method::POST, &path, None).await?, &expected)
    }

    async fn release(&mut self, user: User, nth: usize, api: usize) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let (expected, freed) = self.model.release(user, index);
        let path = format!("/reservation/{id}");
        check("release", &self.concert.ask(user, api, Method::DELETE, &path, None).await?, &expected)?;
        self.offered(&freed).await
    }

    async fn pay(&mut self, user: User, nth: usize, api: usize) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let expected = self.model.may_pay(user, index);
        let answer = self.concert.pay(user, id, api).await?;
        check("pay", &answer, &expected)?;
        if is_ok(&answer) {
            self.model.pay(index);
        }
        Ok(())
    }

    async fn pay_twice(&mut self, nth: usize) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let user = self.model.reservations[index].user;
        let expected = self.model.may_pay(user, index);
        let (one, two) = tokio::join!(self.concert.pay(user, id, 0), self.concert.pay(user, id, 1));
        let (one, two) = (one?, two?);
        if expected.status == 200 {
            ensure!(
                is_ok(&one) != is_ok(&two),
                "paid once: {} {} and {} {}",
                one.status,
                one.body,
                two.status,
                two.body
            );
            let other = if is_ok(&one) { &two } else { &one };
            check("pay twice", other, &Expected { status: 409, errors: vec!["already_paid"] })?;
            self.model.pay(index);
            return Ok(());
        }
        check("pay twice", &one, &expected)?;
        check("pay twice", &two, &expected)
    }

    async fn charge(&mut self, user: User, api: usize) -> Result<()> {
        self.model.balances[user] += PRICE;
        let answer = self.concert.ask(user, api, Method::POST, "/balance", Some(json!({ "amount": PRICE }))).await?;
        ensure!(answer.body["balance"].as_f64() == Some(as_float(self.model.balances[user])), "{}", answer.body);
        Ok(())
    }

    async fn join(&mut self, user: User, api: usize) -> Result<()> {
        let expected = self.model.join_waitlist(user);
        let path = self.concert.waitlist();
        check("join", &self.concert.ask(user, api, Method::POST, &path, Some(json!({}))).await?, &expected)
    }

    async fn leave(&mut self, user: User, api: usize) -> Result<()> {
        let (expected, freed) = self.model.leave_waitlist(user);
        let path = self.concert.waitlist();
        check("leave", &self.concert.ask(user, api, Method::DELETE, &path, None).await?, &expected)?;
        self.offered(&freed).await
    }

    async fn wait(&mut self) -> Result<()> {
        let freed = self.model.wait();
        self.concert.site.set_clock(self.model.now + self.wobble).await?;
        self.offered(&freed).await?;
        self.settled().await
    }

    async fn wobble(&mut self) -> Result<()> {
        self.wobble = if self.wobble == 0 { 30 } else { 0 };
        self.concert.site.set_clock(self.model.now + self.wobble).await
    }

    /// Whoever is to be offered one of these seats is, and nobody else; which of several seats is whose is not said.
    async fn offered(&mut self, freed: &[Seat]) -> Result<()> {
        let mut left = freed.to_vec();
        for user in self.model.offered(freed.len()) {
            let path = self.concert.waitlist();
            let id: Uuid = eventually(&format!("an offer to {user}"), async || {
                let standing = self.concert.ask(user, 0, Method::GET, &path, None).await?;
                Ok(standing.body["offer"]["reservationId"].as_str().map(str::parse).transpose()?)
            })
            .await?;
            let seat: Uuid = sqlx::query_scalar("SELECT seat_id FROM reservations WHERE id = $1")
                .bind(id)
                .fetch_one(&self.concert.site.pool)
                .await?;
            let seat = self.concert.seats.iter().position(|one| *one == seat).context("a seat of another concert")?;
            ensure!(left.contains(&seat), "{user} was offered seat {seat}, free were {freed:?}");
            left.retain(|one| *one != seat);
            self.model.offer(user, seat);
            self.ids.push(id);
        }
        Ok(())
    }

    /// A core-api dies while somebody pays: it is done once or not at all, and asking again settles it.
    async fn kill_in_pay(&mut self, nth: usize, api: usize, after_ms: u64) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let user = self.model.reservations[index].user;
        let mut expected = self.model.may_pay(user, index);
        let (answer, ()) = tokio::join!(self.concert.pay(user, id, api), async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            self.concert.site.kill_now(api);
        });
        self.concert.site.kill(api)?;
        if let Ok(answer) = &answer {
            check("pay, and die", answer, &expected)?;
        }
        let pays = expected.status == 200;
        let again = self.concert.pay(user, id, (api + 1) % APIS).await?;
        if pays && !is_ok(&again) {
            // The first one was written.
            expected = Expected { status: 409, errors: vec!["already_paid"] };
        }
        ensure!(!(pays && answer.is_ok() && is_ok(&again)), "paid twice");
        check("pay again", &again, &expected)?;
        if pays {
            self.model.pay(index);
        }
        Ok(())
    }

    /// A core-api dies while somebody gives a reservation back; asking again settles it.
    async fn kill_in_release(&mut self, nth: usize, api: usize, after_ms: u64) -> Result<()> {
        let Some((index, id)) = self.meant(nth) else { return Ok(()) };
        let user = self.model.reservations[index].user;
        let path = format!("/reservation/{id}");
        let (first, ()) = tokio::join!(self.concert.ask(user, api, Method::DELETE, &path, None), async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            self.concert.site.kill_now(api);
        });
        self.concert.site.kill(api)?;
        let (expected, freed) = self.model.release(user, index);
        if let Ok(first) = first {
            check("release, and die", &first, &expected)?;
        }
        let again = self.concert.ask(user, (api + 1) % APIS, Method::DELETE, &path, None).await?;
        check("release again", &again, &expected)?;
        self.offered(&freed).await
    }

    /// Everything is as the model has it: what is told, what is kept, and what is locked.
    async fn settled(&self) -> Result<()> {
        let seats: Vec<String> = (0..SEATS).map(|seat| self.model.seat(seat).to_owned()).collect();
        for api in 0..APIS {
            let told = eventually_is(&seats, async || self.concert.seats_at(api).await).await?;
            ensure!(told == seats, "core-api {api} tells {told:?} of the seats, not {seats:?}");
        }
        for seat in (0..SEATS).filter(|seat| seats[*seat] == "available") {
            eventually("the lock of a free seat is gone", async || Ok((!self.concert.is_locked(seat)?).then_some(())))
                .await?;
        }
        self.same_reservations().await?;
        self.same_people().await?;
        self.concert.site.check_invariants().await
    }

    async fn same_reservations(&self) -> Result<()> {
        let kept: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT id, status FROM reservations WHERE concert_id = $1 ORDER BY id")
                .bind(self.concert.id.as_uuid())
                .fetch_all(&self.concert.site.pool)
                .await?;
        let statuses = self.model.reservations.iter().map(|one| one.status.as_str().to_owned());
        let mut expected: Vec<(Uuid, String)> = self.ids.iter().copied().zip(statuses).collect();
        expected.sort_unstable();
        ensure!(kept == expected, "reservations are {kept:?}, not {expected:?}");
        Ok(())
    }

    async fn same_people(&self) -> Result<()> {
        for (user, balance) in self.model.balances.iter().enumerate() {
            let answer = self.concert.ask(user, 1, Method::GET, "/balance", None).await?;
            ensure!(answer.body["balance"].as_f64() == Some(as_float(*balance)), "{user} has {}", answer.body);
        }
        let waiting: Vec<Uuid> = sqlx::query_scalar(
            "SELECT user_id FROM waitlist WHERE concert_id = $1 AND left_at IS NULL AND reservation_id IS NULL ORDER BY id",
        )
        .bind(self.concert.id.as_uuid())
        .fetch_all(&self.concert.site.pool)
        .await?;
        let expected: Vec<Uuid> = self.model.waiting.iter().map(|user| self.concert.users[*user].as_uuid()).collect();
        ensure!(waiting == expected, "waiting are {waiting:?}, not {expected:?}");
        Ok(())
    }
}

/// The first answer that is as expected; else the last before patience ended.
async fn eventually_is(expected: &[String], mut ask: impl AsyncFnMut() -> Result<Vec<String>>) -> Result<Vec<String>> {
    let begun = std::time::Instant::now();
    loop {
        let found = ask().await?;
        if found == expected || begun.elapsed() > PATIENCE {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand won")]
fn as_float(won: i64) -> f64 {
    won as f64
}

/// Runs one case; the clock is where it left it then.
async fn run(site: &Site, now: i64, steps: &[Step]) -> (i64, Result<()>) {
    let mut case = match Case::new(site, now).await {
        Ok(case) => case,
        Err(error) => return (now, Err(error)),
    };
    for (number, step) in steps.iter().enumerate() {
        if let Err(error) = case.take(step).await {
            return (case.model.now, Err(error.context(format!("step {number}, {step:?}"))));
        }
    }
    let settled = case.settled().await;
    (case.model.now, settled.context("at the end"))
}

/// How many new ones are asked for.
fn cases() -> Option<u32> {
    std::env::var("ONSALE_MODEL_CASES").ok().and_then(|cases| cases.parse().ok())
}

#[test]
fn whatever_fails_seats_money_and_the_waitlist_are_as_the_model_says() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let site = runtime.block_on(Site::start())?;
    let now = std::cell::Cell::new(0_i64);
    let mut config = Config { cases: CASES, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    match cases() {
        Some(cases) => config.cases = cases,
        // The same steps each time: a run that fails can be run again.
        None => config.rng_seed = RngSeed::Fixed(1),
    }
    let mut runner = TestRunner::new(config);
    let steps = proptest::collection::vec(step(), 6..28);
    let outcome = runner.run(&steps, |steps| {
        let (after, result) = runtime.block_on(run(&site, now.get(), &steps));
        // Each case goes on from where the clock is: it never goes far back.
        now.set(after);
        result.map_err(|error| TestCaseError::fail(format!("{error:#}\n{steps:?}")))
    });
    // proptest's own error tells the steps once more, a line for each number.
    outcome.map_err(|error| match error {
        TestError::Fail(reason, _) => anyhow::anyhow!("{reason}"),
        TestError::Abort(reason) => anyhow::anyhow!("given up: {reason}"),
    })
}
