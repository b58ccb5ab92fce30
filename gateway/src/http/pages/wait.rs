//! Waiting without scripts: pages that come again by themselves, as often as the room says, and plain forms.

use std::fmt::Write as _;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse as _, Response};
use common::http::{PathId, SignedIn};
use common::ids::ConcertId;
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use http::request::Parts;

use super::brand::Branding;
use super::error_page::{self, refresh_after};
use super::language::switch_of;
use super::origin::check_same_origin;
use super::template::escape;
use super::{NO_STORE, html, language};
use crate::http::answer::QueueAnswer;
use crate::http::presented::Presented;
use crate::http::rate_limit::{Joining, Leaving, Polling};
use crate::http::telling::{Person, standing_of, tell};
use crate::http::{AppState, queue};

/// How many concerts the list without scripts has.
const LISTED: usize = 100;

/// `GET /wait`: the concerts.
pub(super) async fn list(State(state): State<AppState>, request: Request) -> Response {
    shown(&state, request, async |state, _, words| {
        let _slot = state.proxied.enter()?;
        let mut list = state.rooms.list_concerts(1, LISTED).await?;
        let mut main = format!("<h1>{}</h1>\n<ul class=\"cards\">\n", words.say("title.home"));
        for concert in list.entries() {
            let field = |name: &str| escape(concert[name].as_str().unwrap_or_default()).into_owned();
            let (id, name, date, venue) = (field("id"), field("name"), field("date"), field("venue"));
            let _ = writeln!(main, "<li><a href=\"/wait/{id}\">{name}</a> <span>{date} · {venue}</span></li>");
        }
        main += "</ul>";
        words.page("title.home", "", &main)
    })
    .await
}

/// `GET /wait/{concertId}`: where the visitor stands, and what they can do.
pub(super) async fn look(State(state): State<AppState>, request: Request) -> Response {
    shown(&state, request, stand).await
}

/// `POST /wait/{concertId}`: a place in line.
pub(super) async fn join(State(state): State<AppState>, request: Request) -> Response {
    done(&state, request, async |state, parts, language| {
        let Joining(user) = Joining::from_request_parts(parts, state).await?;
        let PathId(concert) = PathId::<ConcertId>::from_request_parts(parts, state).await?;
        let presented = Presented::from_request_parts(parts, state).await.ok();
        let answer = queue::joined(state, user, presented, concert, language).await?;
        Ok(state.config.cookies.queue_token(&answer.token))
    })
    .await
}

/// `POST /wait/{concertId}/leave`: out of the line.
pub(super) async fn leave(State(state): State<AppState>, request: Request) -> Response {
    done(&state, request, async |state, parts, language| {
        let Leaving(presented) = Leaving::from_request_parts(parts, state).await?;
        queue::left(state, presented, language).await?;
        Ok(state.config.cookies.clear_queue_token())
    })
    .await
}

/// A page, or what kept it from being one.
async fn shown(
    state: &AppState,
    request: Request,
    page: impl AsyncFnOnce(&AppState, &mut Parts, Words<'_>) -> Result<Response, Problem>,
) -> Response {
    if let Some(switched) = switch_of(state, request.uri()) {
        return switched;
    }
    let language = language::of(request.headers());
    let (mut parts, _) = request.into_parts();
    let answer = page(state, &mut parts, Words { state, language }).await;
    answer.unwrap_or_else(|problem| error_page::tell(state, language, &problem, parts.uri.path(), true))
}

/// What a form asked for, and back to the page, with the cookie that came of it.
async fn done(
    state: &AppState,
    request: Request,
    action: impl AsyncFnOnce(&AppState, &mut Parts, Language) -> Result<HeaderValue, Problem>,
) -> Response {
    let language = language::of(request.headers());
    let (mut parts, _) = request.into_parts();
    let back = parts.uri.path().trim_end_matches("/leave").to_owned();
    let answer = match check_same_origin(&parts.headers) {
        Ok(()) => action(state, &mut parts, language).await,
        Err(refusal) => Err(refusal),
    };
    match (answer, HeaderValue::try_from(&back)) {
        (Ok(cookie), Ok(location)) => {
            let headers = [(LOCATION, location), (SET_COOKIE, cookie), (CACHE_CONTROL, NO_STORE)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        (Ok(_), Err(_)) => error_page::tell(state, language, &ErrorCode::InvalidRequest.into(), "/wait", false),
        (Err(problem), _) => error_page::tell(state, language, &problem, &back, false),
    }
}

async fn stand(state: &AppState, parts: &mut Parts, words: Words<'_>) -> Result<Response, Problem> {
    let PathId(concert) = PathId::<ConcertId>::from_request_parts(parts, state).await?;
    let room = state.rooms.room(concert).await?;
    let told = state.rooms.describe(concert).await?.ok_or(ErrorCode::NotFound)?;
    let branding = Branding::of(&told);
    let style = branding.style(state.pages, words.language);
    let heading = format!(
        "{}<h1>{}</h1>\n<p>{} · {}</p>\n{}",
        branding.logo(),
        escape(told["name"].as_str().unwrap_or_default()),
        escape(told["date"].as_str().unwrap_or_default()),
        escape(told["venue"].as_str().unwrap_or_default()),
        branding.message(state.pages, words.language),
    );
    let Ok(signed_in) = SignedIn::from_request_parts(parts, state).await else {
        return words.page("title.sale", &style, &(heading + &words.sign_in(concert)));
    };
    // A token of another concert, or of somebody who was signed in here before, is not about this.
    let presented = Presented::from_request_parts(parts, state).await.ok();
    if presented.is_none_or(|presented| presented.user() != signed_in.user || presented.concert() != concert) {
        return words.page("title.sale", &style, &(heading + &words.ask_to_join(concert)));
    }
    let Polling(presented) = Polling::from_request_parts(parts, state).await?;
    let standing = standing_of(state, &room, presented.token).await?;
    let answer = tell(state, &room, &Person::bearing(presented), standing, words.language).await?;
    let seconds = answer.poll_after_ms().div_ceil(1_000).max(1);
    let again = if matches!(answer.status, "waiting" | "admitted") { refresh_after(seconds) } else { String::new() };
    let mut page = words.page("title.wait", &(style + &again), &(heading + &words.standing(concert, &answer)))?;
    page.headers_mut().insert(SET_COOKIE, state.config.cookies.queue_token(&answer.token));
    Ok(page)
}

/// What a page says, in the visitor's language.
struct Words<'a> {
    state: &'a AppState,
    language: Language,
}

impl Words<'_> {
    fn say(&self, name: &str) -> String {
        escape(self.state.pages.text(self.language, name).unwrap_or_default()).into_owned()
    }

    fn page(&self, title: &str, head: &str, main: &str) -> Result<Response, Problem> {
        let title = self.state.pages.text(self.language, title).unwrap_or_default();
        let text = self.state.pages.framed(self.language, title, head, main);
        text.map(|text| html(StatusCode::OK, text)).map_err(|error| Problem::new(ErrorCode::Internal).because(error))
    }

    fn sign_in(&self, concert: ConcertId) -> String {
        format!(
            "<p>{}</p>\n<form class=\"panel\" method=\"post\" action=\"/forms/login\">\n\
             <input type=\"hidden\" name=\"next\" value=\"/wait/{concert}\">\n\
             <label>{} <input name=\"email\" autocomplete=\"username\" required></label>\n\
             <label>{} <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\n\
             <button>{}</button>\n</form>\n<p><a href=\"/login\">{}</a></p>",
            self.say("wait.sign_in_first"),
            self.say("login.email"),
            self.say("login.password"),
            self.say("login.submit"),
            self.say("login.sign_up"),
        )
    }

    fn ask_to_join(&self, concert: ConcertId) -> String {
        format!(
            "<p>{}</p>\n<form method=\"post\" action=\"/wait/{concert}\"><button>{}</button></form>",
            self.say("wait.explain"),
            self.say("sale.join"),
        )
    }

    fn standing(&self, concert: ConcertId, answer: &QueueAnswer) -> String {
        let info = &answer.queue_info;
        let leave = format!(
            "<form method=\"post\" action=\"/wait/{concert}/leave\"><button class=\"quiet\">{}</button></form>",
            self.say("wait.leave")
        );
        match answer.status {
            "waiting" => {
                let range = self.range(info.wait_seconds_low, info.wait_seconds_high);
                let row = |name: &str, value: &str| format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", self.say(name));
                let number = if info.drawn.is_some() { "wait.entry" } else { "wait.number" };
                format!(
                    "<p class=\"notice\">{}</p>\n<dl class=\"facts\">\n{}{}{}</dl>\n<p>{}</p>\n<p>{}</p>\n{leave}",
                    if info.paused.is_some() { self.say("wait.paused") } else { self.say("wait.waiting") },
                    row(number, &info.position.to_string()),
                    row("wait.ahead", &info.ahead.to_string()),
                    row("wait.expected", &range),
                    self.say("wait.next"),
                    self.say("wait.kept"),
                )
            }
            "admitted" => {
                let left = answer.admission.as_ref().map_or(0, |admission| admission.expires_in_seconds);
                format!(
                    "<p class=\"notice good\" role=\"status\">{}</p>\n<p>{}: {}</p>\n\
                     <p><a class=\"button\" href=\"/sale/{concert}/seats\">{}</a></p>\n<p>{}</p>\n{leave}",
                    self.say("wait.admitted"),
                    self.say("wait.time_left"),
                    escape(&self.language.duration(left)),
                    self.say("sale.choose"),
                    self.say("seats.need_scripts"),
                )
            }
            status => {
                let text = format!("wait.{status}");
                format!("<p class=\"notice\">{}</p>\n{}", self.say(&text), self.ask_to_join(concert))
            }
        }
    }

    /// How long it may take, in plain words.
    fn range(&self, low: u64, high: u64) -> String {
        if low == 0 && high > 0 {
            return self.say("wait.up_to").replace("{high}", &escape(&self.language.duration(high)));
        }
        let (low, high) = (self.language.duration(low), self.language.duration(high));
        if low == high {
            return escape(&high).into_owned();
        }
        self.say("wait.range").replace("{low}", &escape(&low)).replace("{high}", &escape(&high))
    }
}
