//! The wait as a stream of events: what polls would tell, pushed. All streams of a room live from the one view that this
//! process keeps of it; Redis is asked only where a poll would ask it too, once somebody's turn has come.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use common::language::Language;
use common::problem::Problem;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::QueueAnswer;
use super::presented::{Presented, QueueToken};
use super::rate_limit::Polling;
use super::state::AppState;
use super::stream::{OpenStream, RETRY_AFTER, answer, last_event_id, stopping};
use super::telling::{Person, standing_of, tell};
use crate::domain::Standing;
use crate::worker::Turning;

/// The time between two positions at the front of a line; further back it is the time that a poll is told to wait.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often one inside is looked after: they may have left, or their admission ended.
const INSIDE: Duration = Duration::from_secs(10);

/// `GET /queue/events`: `position` while in line, `admitted` with the pass once it is one's turn, `closed` when there is
/// nothing more to come; each with the JSON of `GET /queue/status`. An event's id is what it said, so who resumes with
/// `Last-Event-ID` is told only what is new.
pub(super) async fn events(
    State(state): State<AppState>,
    Polling(presented): Polling,
    language: Language,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let slot = OpenStream::new(state.streams.enter()?);
    // A place that can't be told now is told as a poll would: with a status, before the stream begins.
    let room = state.rooms.room(presented.concert()).await?;
    let turning = room.turning();
    room.view().await?;
    let last_id = last_event_id(&headers).map(str::to_owned);
    let wait = Wait {
        person: Person::bearing(presented.clone()),
        token: presented.token,
        state,
        language,
        last_id,
        next: Instant::now(),
        turning,
        is_over: false,
        _slot: slot,
    };
    Ok(answer(stream(wait)))
}

/// One person's wait.
struct Wait {
    state: AppState,
    person: Person,
    token: QueueToken,
    language: Language,
    /// The id of the last event that they got.
    last_id: Option<String>,
    /// When they are told next.
    next: Instant,
    /// What they are told at once.
    turning: watch::Receiver<Option<Turning>>,
    is_over: bool,
    _slot: OpenStream,
}

fn stream(wait: Wait) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(wait, |mut wait| async move {
        let event = wait.next_event().await?;
        Some((Ok(event), wait))
    })
}

impl Wait {
    /// The next thing to tell; `None` once the stream is over, as it is when this process stops.
    async fn next_event(&mut self) -> Option<Event> {
        let draining = self.state.draining();
        while !self.is_over {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                // The room lives as long as the process.
                Ok(()) = self.turning.changed() => {}
                () = draining.cancelled() => {
                    self.is_over = true;
                    // They come back to another gateway, or to this one when it is back.
                    return Some(stopping());
                }
            }
            match self.look().await {
                Ok(answer) => {
                    if let Some(event) = self.event(&answer) {
                        return Some(event);
                    }
                }
                // Nothing is made up: silence, and another try.
                Err(problem) => {
                    tracing::debug!(error = problem.code().as_str(), cause = problem.cause(), "a stream waits");
                    self.next = Instant::now() + RETRY_AFTER;
                }
            }
        }
        None
    }

    async fn look(&mut self) -> Result<QueueAnswer, Problem> {
        let room = self.state.rooms.room(self.person.concert).await?;
        let standing = standing_of(&self.state, &room, self.token).await?;
        let answer = tell(&self.state, &room, &self.person, standing, self.language).await?;
        self.next = Instant::now()
            + match standing {
                // Whoever could be next looks at every new view; who is far back is told as often as they would ask, and
                // what concerns everybody at once.
                Standing::Waiting { .. } | Standing::Gathering { .. } => {
                    Duration::from_millis(answer.poll_after_ms()).mul_f64(0.7).max(SHORTEST)
                }
                Standing::Admitted(_) => INSIDE,
                Standing::Left | Standing::Expired | Standing::SoldOut | Standing::Closed => Duration::ZERO,
            };
        Ok(answer)
    }

    /// What is new in an answer, and the token that goes on from here.
    fn event(&mut self, answer: &QueueAnswer) -> Option<Event> {
        let name = match answer.status {
            "waiting" => "position",
            "admitted" => "admitted",
            _ => "closed",
        };
        self.is_over = name == "closed";
        let id = answer.summary();
        let is_new = self.last_id.as_ref() != Some(&id);
        self.last_id = Some(id.clone());
        if let Ok(presented) = Presented::from_text(answer.token.clone(), &self.state) {
            self.token = presented.token;
            self.person = Person::bearing(presented);
        }
        let data = serde_json::to_string(answer).ok()?;
        // The end is told even to someone who has heard of it: they came back to ask.
        (is_new || self.is_over).then(|| Event::default().event(name).id(id).retry(RETRY_AFTER).data(data))
    }
}
