//! One visitor of the waiting room: joins, polls as told, and goes in, or goes away.

use std::time::Duration;

use common::ids::UserId;
use common::tokens::Role;
use rand::RngExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::accounts::SessionMaker;
use super::ahead::AheadCheck;
use super::queue::{
    QueueAnswer, QueueInfo, Stop, ahead_rose, decode, join_body, join_request, leave_request, ok, poll_request,
    poll_wait, position_changed, queue_ok,
};
use super::requests::{Reply, Sender};
use crate::client::Request;
use crate::stats::waits::{Told, WaitLog};
use crate::stats::{Outcome, Step};

/// Of how many answers a visitor remembers what they said of the wait; at the longest distance between polls, four hours.
const TOLD_MAX: usize = 600;
/// A stay is at most so many times the mean.
const STAY_MAX: f64 = 10.0;

/// What all visitors of a run have in common.
pub(super) struct WaitPlan {
    pub(super) concert: Uuid,
    /// Makes their sessions, so that nobody has to sign up.
    pub(super) sessions: SessionMaker,
    /// How likely someone in line closes the tab instead of waiting to the end.
    pub(super) abandon: f64,
    /// How likely someone who goes says so.
    pub(super) leave: f64,
    /// How long someone stays inside, on average.
    pub(super) stay: Duration,
    /// How late a visitor may be at a poll and still count as present.
    pub(super) poll_slack: Duration,
    /// Where the room can be asked.
    pub(super) ahead: Option<AheadCheck>,
}

/// When someone gives up, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GivesUp {
    /// As soon as no more than so many are in front.
    at_ahead: u64,
    /// They leave; else they are just not there any more.
    properly: bool,
}

/// A visitor on their way.
pub(super) struct Waiter<'a> {
    pub(super) plan: &'a WaitPlan,
    pub(super) log: &'a WaitLog,
    pub(super) sender: Sender<'a>,
    pub(super) user: UserId,
}

/// How waiting ended.
enum Waited {
    /// With this pass.
    Admitted(String),
    GaveUp(Outcome),
}

impl Waiter<'_> {
    /// Does everything, from the moment the visitor was meant to arrive.
    pub(super) async fn visit(mut self, arrival: Instant) -> Outcome {
        match self.wait_and_stay(arrival).await {
            Ok(outcome) => outcome,
            Err(Stop::NoSeatLeft) => Outcome::NoSeatLeft,
            Err(Stop::Failed(why)) => {
                self.sender.recorder.unexpected(why);
                Outcome::Failed
            }
        }
    }

    async fn wait_and_stay(&mut self, arrival: Instant) -> Result<Outcome, Stop> {
        let pass = match self.wait(arrival).await? {
            Waited::Admitted(pass) => pass,
            Waited::GaveUp(outcome) => return Ok(outcome),
        };
        // Exponential: most stay shorter than the mean, some much longer.
        let stay = (-(1.0 - self.sender.rng.random::<f64>()).ln()).min(STAY_MAX);
        tokio::time::sleep(self.plan.stay.mul_f64(stay)).await;
        self.leave(&pass).await?;
        Ok(Outcome::Visited)
    }

    /// Joins, and polls as told until the answer is a pass, or until they have had enough.
    async fn wait(&mut self, arrival: Instant) -> Result<Waited, Stop> {
        let session = self.plan.sessions.session(self.user, Role::User);
        let joined = self.ask(Step::Join, arrival, &join_request(&session, join_body(self.plan.concert))).await?;
        drop(session);
        let Asked { mut answer, mut sent } = joined;
        let gives_up = self.decide(&answer.queue_info);
        let mut told = Vec::new();
        let mut always_on_time = true;
        loop {
            let answered = Instant::now();
            if is_admitted(&answer)? {
                self.sender.recorder.admission(answer.queue_info.position);
                self.sender.recorder.finished(Step::Admission, arrival);
                self.log.admitted(answered - self.sender.recorder.started(), &told);
                return Ok(Waited::Admitted(answer.token));
            }
            let info = &answer.queue_info;
            self.sender.recorder.waiting(sent, info.position, always_on_time);
            self.note_told(answered, info, &mut told);
            let poll_in = poll_wait(Step::Status, info)?;
            if let Some(gives_up) = gives_up.filter(|gives_up| info.ahead <= gives_up.at_ahead) {
                return self.give_up(&answer, gives_up, poll_in).await.map(Waited::GaveUp);
            }
            let intended = answered + poll_in;
            tokio::time::sleep_until(intended).await;
            let rank = self.rank_before().await;
            let next = self.ask(Step::Status, intended, &poll_request(&answer.token)).await?;
            self.compare_rank(rank, &next.answer).await;
            // Late by this program's fault or by retries: the room may take them for absent.
            always_on_time &= next.sent - intended <= self.plan.poll_slack;
            self.compare(&answer.queue_info, &next.answer.queue_info);
            Asked { answer, sent } = next;
        }
    }

    async fn ask(&mut self, step: Step, intended: Instant, request: &Request<'_>) -> Result<Asked, Stop> {
        let Reply { answer, sent, attempt } = self.sender.step(step, intended, request).await?;
        let reply = queue_ok(step, Reply { answer, sent, attempt })?;
        Ok(Asked { answer: decode(step, &reply.answer)?, sent })
    }

    /// Whether this visitor will give up: at a moment that lies anywhere in their wait.
    fn decide(&mut self, joined: &QueueInfo) -> Option<GivesUp> {
        let rng = &mut self.sender.rng;
        // All are drawn, so that one option does not change what another one's share of the seed decides.
        let (gives_up, properly) = (rng.random::<f64>() < self.plan.abandon, rng.random::<f64>() < self.plan.leave);
        let at_ahead = rng.random_range(0..=joined.ahead);
        gives_up.then_some(GivesUp { at_ahead, properly })
    }

    async fn give_up(&mut self, told: &QueueAnswer, how: GivesUp, poll_in: Duration) -> Result<Outcome, Stop> {
        // Not in the moment of a poll, but somewhere before the next one.
        let pause = poll_in.mul_f64(self.sender.rng.random::<f64>());
        tokio::time::sleep(pause).await;
        if !how.properly {
            return Ok(Outcome::ClosedTab);
        }
        self.leave(&told.token).await?;
        Ok(Outcome::LeftLine)
    }

    async fn leave(&mut self, token: &str) -> Result<(), Stop> {
        ok(Step::Leave, self.sender.step(Step::Leave, Instant::now(), &leave_request(token)).await?)?;
        Ok(())
    }

    fn note_told(&self, at: Instant, info: &QueueInfo, told: &mut Vec<Told>) {
        if told.len() < TOLD_MAX {
            told.push(Told {
                // A run lasts a day at most.
                at_ms: u32::try_from((at - self.sender.recorder.started()).as_millis()).unwrap_or(u32::MAX),
                seconds: info.wait_seconds,
                low_seconds: info.wait_seconds_low,
                high_seconds: info.wait_seconds_high,
            });
        }
    }

    async fn rank_before(&self) -> Option<u64> {
        self.plan.ahead.as_ref()?.before(self.log, self.user).await
    }

    async fn compare_rank(&self, before: Option<u64>, told: &QueueAnswer) {
        if let (Some(ahead), Some(before), "waiting") = (&self.plan.ahead, before, told.status.as_str()) {
            ahead.told(self.log, self.user, before, told.queue_info.ahead).await;
        }
    }

    fn compare(&self, before: &QueueInfo, after: &QueueInfo) {
        if let Some(what) = position_changed(before, after) {
            self.log.position_changed(what);
        }
        if let Some(what) = ahead_rose(before, after) {
            self.log.ahead_rose(what);
        }
    }
}

struct Asked {
    answer: QueueAnswer,
    sent: Instant,
}

fn is_admitted(answer: &QueueAnswer) -> Result<bool, Stop> {
    match answer.status.as_str() {
        "admitted" => Ok(true),
        "waiting" => Ok(false),
        "sold_out" => Err(Stop::NoSeatLeft),
        other => Err(Stop::Failed(format!("the status of one who waits is {other:?}"))),
    }
}
