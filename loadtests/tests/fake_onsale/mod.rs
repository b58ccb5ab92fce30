//! An Onsale in memory that keeps the contract, or breaks it in a way that a real one can't be made to.

#![allow(dead_code, reason = "not every test needs every fault")]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use uuid::Uuid;

const PRICE: u32 = 30;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The first of every two requests to pay is told to come back in a second.
    BusyPayments,
    /// As that, without `Retry-After`.
    BusyPaymentsWithoutAdvice,
    /// A taken seat can be reserved again.
    SellsTwice,
    /// The first to join is never let in, the others are.
    Overtakes,
    /// Paying answers 500.
    BrokenPayments,
    /// `ahead` rises from poll to poll.
    PushesBack,
    /// The position changes from poll to poll.
    Renumbers,
    /// The first poll of everyone is told to come back in a second.
    BusyPolls,
    /// Everyone is told to wait for an hour, and let in as usual.
    Misleads,
    /// Nobody is ever let in.
    LetsNobodyIn,
    /// One seat is never shown as available.
    HidesASeat,
    /// Whoever wants a certain seat is told that it is taken.
    ChosenIsTaken,
    /// Those in line are told that nothing is left, and to wait.
    SaysNothingIsLeft,
    /// The concert is never found by its id.
    HidesTheConcert,
}

#[derive(Debug)]
struct Hall {
    fault: Fault,
    seats: Vec<(Uuid, &'static str)>,
    users: HashMap<String, Uuid>,
    reservations: HashMap<Uuid, Uuid>,
    next_position: u64,
    polls: HashMap<String, u64>,
    left: u64,
    /// Whose poll was turned away.
    busy: HashSet<u64>,
    payments_refused: HashMap<String, bool>,
}

type Shared = Arc<Mutex<Hall>>;

/// Serves it for the rest of the process; one concert with `seats` seats.
pub(crate) async fn start(seats: usize, fault: Fault) -> Result<SocketAddr> {
    let hall = Hall {
        fault,
        seats: (0..seats).map(|_| (Uuid::new_v4(), "available")).collect(),
        users: HashMap::new(),
        reservations: HashMap::new(),
        next_position: 0,
        polls: HashMap::new(),
        left: 0,
        busy: HashSet::new(),
        payments_refused: HashMap::new(),
    };
    let app = Router::new()
        .route("/admin/concerts", post(make_concert))
        .route("/admin/queues/{id}", put(set_up_room))
        .route("/concerts", get(concerts))
        .route("/concerts/{id}", get(concert))
        .route("/concerts/{id}/seats", get(list_seats))
        .route("/auth/signup", post(signup))
        .route("/auth/login", post(login))
        .route("/balance", post(charge))
        .route("/queue/token", post(join).delete(leave))
        .route("/queue/status", get(status))
        .route("/reservation", post(reserve))
        .route("/payment", post(pay))
        .with_state(Arc::new(Mutex::new(hall)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

fn lock(hall: &Shared) -> MutexGuard<'_, Hall> {
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

fn problem(status: u16, error: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "error": error, "code": status.as_u16() }))).into_response()
}

fn describe(hall: &Hall) -> Value {
    let available = hall.seats.iter().filter(|(_, status)| *status == "available").count();
    json!({
        "id": Uuid::from_u128(7), "name": "fake", "totalSeats": hall.seats.len(),
        "availableSeats": available, "status": "on_sale", "joined": hall.next_position, "left": hall.left,
    })
}

/// There is one already, of as many seats as the test said.
async fn make_concert(State(hall): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let sections = body["sections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let seats: u64 = sections.iter().filter_map(|section| section["seats"].as_u64()).sum();
    let hall = lock(&hall);
    match u64::try_from(hall.seats.len()) {
        Ok(there) if there == seats && headers.contains_key("authorization") => Json(describe(&hall)).into_response(),
        _ => problem(400, "invalid_request"),
    }
}

async fn set_up_room(Path(_): Path<Uuid>, Json(body): Json<Value>) -> Response {
    if body["admitPerSecond"].as_f64() == Some(40.5) {
        Json(body).into_response()
    } else {
        problem(400, "invalid_request")
    }
}

async fn concerts(State(hall): State<Shared>) -> Json<Value> {
    Json(json!({ "data": [describe(&lock(&hall))], "pagination": { "totalPages": 1 } }))
}

async fn concert(State(hall): State<Shared>, Path(_): Path<Uuid>) -> Response {
    let hall = lock(&hall);
    if hall.fault == Fault::HidesTheConcert {
        return problem(404, "not_found");
    }
    Json(describe(&hall)).into_response()
}

async fn list_seats(State(hall): State<Shared>) -> Json<Value> {
    let hall = lock(&hall);
    let seat = |(id, status): &(Uuid, &str)| json!({ "seatId": id, "price": PRICE, "status": status });
    let hidden = usize::from(hall.fault == Fault::HidesASeat);
    Json(hall.seats.iter().skip(hidden).map(seat).collect())
}

async fn signup(State(hall): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let id = Uuid::new_v4();
    lock(&hall).users.insert(body["email"].to_string(), id);
    Json(json!({ "userId": id, "token": "first" }))
}

async fn login(State(hall): State<Shared>, Json(body): Json<Value>) -> Response {
    match lock(&hall).users.get(&body["userId"].to_string()) {
        Some(id) => Json(json!({ "userId": id, "token": id.to_string(), "expiresAt": "" })).into_response(),
        None => problem(401, "invalid_credentials"),
    }
}

async fn charge(headers: HeaderMap, Json(body): Json<Value>) -> Response {
    match (headers.get("idempotency-key"), body["amount"].as_f64()) {
        (Some(_), Some(amount)) if amount >= f64::from(PRICE) => Json(json!({ "balance": amount })).into_response(),
        _ => problem(400, "invalid_request"),
    }
}

fn queue_answer(hall: &mut Hall, position: u64) -> Json<Value> {
    let polls = hall.polls.entry(position.to_string()).or_default();
    *polls += 1;
    // Everybody waits for two polls, the first to join for ever if that is the fault.
    let waits = *polls < 3 || (hall.fault == Fault::Overtakes && position == 1) || hall.fault == Fault::LetsNobodyIn;
    let ahead = if hall.fault == Fault::PushesBack { *polls } else { 0 };
    let shown = if hall.fault == Fault::Renumbers { position + *polls } else { position };
    let wait = if hall.fault == Fault::Misleads { 3_600 } else { 1 };
    Json(json!({
        "token": position.to_string(),
        "status": if waits { "waiting" } else { "admitted" },
        "queueInfo": {
            "position": shown, "ahead": ahead, "pollAfterMs": 30,
            "waitSeconds": wait, "waitSecondsLow": wait - 1, "waitSecondsHigh": wait + 1,
            "outlook": if hall.fault == Fault::SaysNothingIsLeft { "none" } else { "likely" },
        },
    }))
}

async fn join(State(hall): State<Shared>) -> Json<Value> {
    let mut hall = lock(&hall);
    hall.next_position += 1;
    let position = hall.next_position;
    queue_answer(&mut hall, position)
}

async fn status(State(hall): State<Shared>, headers: HeaderMap) -> Response {
    let mut hall = lock(&hall);
    match token(&headers) {
        Some(position) if hall.fault == Fault::BusyPolls && hall.busy.insert(position) => {
            ([("retry-after", "1")], problem(503, "overloaded")).into_response()
        }
        Some(position) => queue_answer(&mut hall, position).into_response(),
        None => problem(401, "missing_queue_token"),
    }
}

async fn leave(State(hall): State<Shared>, headers: HeaderMap) -> Response {
    lock(&hall).left += 1;
    match token(&headers) {
        Some(_) => Json(json!({ "status": "left" })).into_response(),
        None => problem(401, "missing_queue_token"),
    }
}

fn token(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-queue-token")?.to_str().ok()?.parse().ok()
}

async fn reserve(State(hall): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let hall = &mut *lock(&hall);
    if token(&headers).is_none() {
        return problem(403, "not_admitted");
    }
    let wanted = body["seatId"].as_str().unwrap_or_default();
    let twice = hall.fault == Fault::SellsTwice;
    let best = body["quantity"] == 1;
    if hall.fault == Fault::ChosenIsTaken && !best {
        return problem(409, "seat_taken");
    }
    let is_wanted = |(id, status): &&mut (Uuid, &str)| {
        if best { *status == "available" } else { id.to_string() == wanted }
    };
    let hidden = usize::from(hall.fault == Fault::HidesASeat);
    let Some(seat) = hall.seats.iter_mut().skip(hidden).find(is_wanted) else {
        return if best { problem(409, "no_seats_together") } else { problem(404, "not_found") };
    };
    if seat.1 != "available" && !twice {
        return problem(409, "seat_taken");
    }
    if !twice {
        seat.1 = "reserved";
    }
    let id = Uuid::new_v4();
    hall.reservations.insert(id, seat.0);
    let seats = json!([{ "seatId": seat.0, "price": PRICE }]);
    Json(json!({ "reservationId": id, "amount": PRICE, "expiresAt": "2030-01-01T00:00:00Z", "seats": seats }))
        .into_response()
}

async fn pay(State(hall): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut hall = lock(&hall);
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    let first = hall.payments_refused.insert(key.unwrap_or_default(), true).is_none();
    match hall.fault {
        Fault::BrokenPayments => return problem(500, "internal_error"),
        Fault::BusyPayments if first => {
            return ([("retry-after", "1")], problem(429, "too_many_requests")).into_response();
        }
        Fault::BusyPaymentsWithoutAdvice if first => return problem(429, "too_many_requests"),
        _ => {}
    }
    let reservation = body["reservationId"].as_str().and_then(|id| id.parse::<Uuid>().ok()).unwrap_or_default();
    if !hall.reservations.contains_key(&reservation) {
        return problem(404, "not_found");
    }
    let answer =
        json!({ "paymentId": Uuid::new_v4(), "reservationId": reservation, "status": "success", "amount": PRICE });
    Json(answer).into_response()
}
