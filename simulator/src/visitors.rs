//! Visitors: each comes, waits, goes in and goes away as chance has it, and asks as people and their browsers do.

use std::sync::Arc;
use std::time::Duration;

use crate::observer::{Answer, Answered, Asked};
use crate::requests::{Reading, request};
use crate::rng::Rng;
use crate::site;
use crate::world::World;

/// How long a browser waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure it asks again, in ms.
const AGAIN_MS: (u64, u64) = (1_000, 2_000);
/// Tokens that a visitor keeps to show again.
const KEPT_TOKENS: usize = 6;

/// A visitor.
pub(crate) struct Visitor {
    world: Arc<World>,
    number: u32,
    session: String,
    rng: Rng,
    /// The gateway that they asked last: a load balancer keeps people where they are, mostly.
    gateway: usize,
    token: Option<Token>,
    /// Tokens from before.
    kept: Vec<Token>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    position: u32,
}

impl Visitor {
    /// Visitor `number` of a world.
    pub(crate) fn new(world: Arc<World>, number: u32) -> Self {
        let session = site::session(site::user(number));
        let rng = Rng::new(world.plan.seed).fork(100_000 + u64::from(number));
        Self { world, number, session, rng, gateway: 0, token: None, kept: Vec::new() }
    }

    /// Lives until `ends_at_ms` of the world's time; then is asked where they stand.
    pub(crate) async fn live(mut self, arrives_ms: u64, ends_at_ms: u64) {
        let life = async {
            sleep_ms(arrives_ms).await;
            self.gateway = self.rng.below(self.world.plan.gateways);
            loop {
                if !self.come_and_go().await {
                    break;
                }
            }
        };
        let ends = tokio::time::Instant::now() + Duration::from_millis(ends_at_ms);
        let _ = tokio::time::timeout_at(ends, life).await;
        tokio::time::sleep_until(ends).await;
        self.answer_the_roll().await;
    }

    /// One stay, from joining to the end; whether there will be another one.
    async fn come_and_go(&mut self) -> bool {
        let shows_old = self.rng.percent(30);
        if !shows_old {
            self.token = None;
        }
        let mut answer = self.join().await;
        loop {
            answer = match answer {
                Answer::Waiting { poll_after_ms, .. } => match self.wait(poll_after_ms).await {
                    Some(answer) => answer,
                    None => return self.rng.percent(50),
                },
                Answer::Admitted { .. } => {
                    self.be_inside().await;
                    return self.rests_and_returns(40).await;
                }
                Answer::Left | Answer::Expired => return self.rests_and_returns(30).await,
                _ => {
                    let pause_ms = self.rng.between(AGAIN_MS.0, AGAIN_MS.1);
                    sleep_ms(pause_ms).await;
                    if self.token.is_some() { self.ask(Asked::Poll).await } else { self.join().await }
                }
            };
        }
    }

    async fn rests_and_returns(&mut self, percent: u64) -> bool {
        self.show_old_token().await;
        let pause_ms = self.rng.between(500, 8_000);
        sleep_ms(pause_ms).await;
        self.show_old_token().await;
        self.rng.percent(percent)
    }

    /// Waits for the next poll, or does something else; `None` where they left.
    async fn wait(&mut self, poll_after_ms: i64) -> Option<Answer> {
        let poll_after_ms = poll_after_ms.unsigned_abs();
        match self.rng.between(0, 99) {
            0..3 => {
                self.close(1_000, 40_000).await;
            }
            3..5 => {
                sleep_ms(poll_after_ms / 2).await;
                if self.leave().await {
                    return None;
                }
            }
            5..8 => self.use_second_device().await,
            8..10 => self.show_old_token().await,
            10..13 => {
                for _ in 0..5 {
                    sleep_ms(100).await;
                    self.ask(Asked::Poll).await;
                }
            }
            _ => sleep_ms(poll_after_ms).await,
        }
        Some(self.ask(Asked::Poll).await)
    }

    /// Uses the admission for a while; then leaves or lets it run out.
    async fn be_inside(&mut self) {
        let session_ms = self.world.plan.room.session_ms;
        let stays_ms = self.rng.between(500, session_ms + session_ms / 4);
        let leaves = self.rng.percent(60);
        let mut stayed_ms = 0;
        while stayed_ms < stays_ms {
            let pause_ms = self.rng.between(500, 6_000).min(stays_ms - stayed_ms).max(1);
            sleep_ms(pause_ms).await;
            stayed_ms += pause_ms;
            let asked = if self.rng.percent(40) { Asked::Enter } else { Asked::Poll };
            if matches!(self.ask(asked).await, Answer::Left | Answer::Expired) {
                return;
            }
        }
        if leaves {
            self.leave().await;
        }
    }

    /// Closes everything for a while.
    async fn close(&mut self, least_ms: u64, most_ms: u64) {
        let for_ms = self.rng.between(least_ms, most_ms);
        self.world.observer().goes_away(self.number);
        self.world.log.visitor(self.number, format_args!("closes the tab for {for_ms} ms"));
        sleep_ms(for_ms).await;
    }

    /// The same account on another device, through another gateway: the same place.
    async fn use_second_device(&mut self) {
        let (gateway, token) = (self.gateway, self.token.take());
        self.gateway = self.rng.below(self.world.plan.gateways);
        self.join().await;
        self.gateway = gateway;
        if self.token.is_none() {
            self.token = token;
        }
    }

    async fn show_old_token(&mut self) {
        let Some(old) = self.rng.pick(&self.kept).cloned() else { return };
        let current = self.token.replace(old);
        self.ask(Asked::Poll).await;
        if current.is_some() {
            self.token = current;
        }
    }

    async fn join(&mut self) -> Answer {
        self.world.observer().joins();
        self.ask(Asked::Join).await
    }

    /// Leaves; asks again until it is answered, for some time.
    async fn leave(&mut self) -> bool {
        for _ in 0..8 {
            if self.ask(Asked::Leave).await == Answer::Left {
                return true;
            }
            sleep_ms(1_500).await;
        }
        false
    }

    /// At the end: who was answered a place and has not left asks once more.
    async fn answer_the_roll(&mut self) {
        if self.token.is_none() || !self.world.observer().holds_place(self.number) {
            return;
        }
        for _ in 0..5 {
            if !matches!(self.ask(Asked::Poll).await, Answer::Unavailable | Answer::Nothing) {
                return;
            }
            sleep_ms(1_000).await;
        }
        self.world.observer().called_in(self.number, false);
    }

    /// Asks a gateway, and shows the observer what comes back.
    async fn ask(&mut self, asked: Asked) -> Answer {
        let sent_ms = self.world.clock.now_ms();
        let shown = self.token.clone();
        if asked == Asked::Leave {
            self.world.observer().asks_to_leave(self.number);
        }
        let (reading, process, from_old_master) = self.send(asked).await;
        let answered = Answered {
            visitor: self.number,
            process,
            asked,
            sent_ms,
            shown: shown.as_ref().map_or(0, |token| token.position),
            clock_ms: self.world.master_clock_ms(),
            from_old_master,
            answer: reading.answer,
        };
        self.world.log.visitor(
            self.number,
            format_args!(
                "{asked:?}({}) g{}: {:?}, ahead {}",
                answered.shown, self.gateway, reading.answer, reading.ahead
            ),
        );
        let now_ms = self.world.clock.now_ms();
        {
            let record = self.world.plan.recorded.then(|| self.world.record());
            self.world.observer().answered(&answered, now_ms, record.as_deref());
        }
        self.take(reading)
    }

    fn take(&mut self, reading: Reading) -> Answer {
        let (Answer::Waiting { position, .. } | Answer::Admitted { position, .. }) = reading.answer else {
            return reading.answer;
        };
        if let Some(text) = reading.token {
            let token = Token { text, position };
            if self.rng.percent(30) {
                if self.kept.len() == KEPT_TOKENS {
                    self.kept.remove(0);
                }
                self.kept.push(token.clone());
            }
            self.token = Some(token);
        }
        reading.answer
    }

    /// Sends a request to the gateway that they are at, or to another one where that refuses the connection.
    async fn send(&mut self, asked: Asked) -> (Reading, u32, bool) {
        if self.rng.percent(25) {
            self.gateway = self.rng.below(self.world.plan.gateways);
        }
        let gateways = self.world.plan.gateways;
        for _ in 0..gateways {
            let process = self.world.process(self.gateway).filter(|process| !process.conditions().hidden);
            let Some(process) = process else {
                self.gateway = (self.gateway + 1) % gateways;
                continue;
            };
            let token = self.token.as_ref().map(|token| token.text.as_str());
            let Some(request) = request(asked, &self.session, token) else { break };
            let response = tokio::time::timeout(PATIENCE, process.request(request)).await.ok().flatten();
            let from_old_master = process.conditions().server != self.world.servers().master();
            return (Reading::of(response).await, process.number, from_old_master);
        }
        (Reading::NOTHING, 0, false)
    }
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
