//! Failures as clients see them: `application/problem+json` (RFC 9457), one catalogue of stable codes.
//!
//! A handler returns a [`Problem`]. It becomes a response that carries it as an extension and no body; the outermost
//! layer ([`crate::http::finish`]) writes the body, since only there the request's id and language are known.

use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::language::{Language, Text};

macro_rules! codes {
    ($($name:ident $status:ident $code:literal $title:literal $ko:literal $en:literal;)*) => {
        /// Every failure there is, by the code that clients may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $en] $name,)*
        }

        impl ErrorCode {
            /// All of them, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, the `error` field: `seat_taken`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The same few words whenever this code is answered.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The sentence for people, unless the occasion has a better one.
            pub fn sentence(self) -> Text {
                match self { $(Self::$name => Text::new($ko, $en),)* }
            }
        }
    };
}

codes! {
    MalformedJson BAD_REQUEST "malformed_json" "Malformed JSON"
        "요청 본문이 올바른 JSON이 아닙니다." "The request body is not valid JSON.";
    InvalidRequest BAD_REQUEST "invalid_request" "Invalid request"
        "요청 값이 올바르지 않습니다." "A value in the request is missing or not valid.";
    TicketInvalid BAD_REQUEST "ticket_invalid" "Ticket not valid"
        "올바른 티켓이 아닙니다." "This is no ticket of ours.";
    InsufficientBalance BAD_REQUEST "insufficient_balance" "Insufficient balance"
        "잔액이 부족합니다. 충전한 뒤 다시 결제해 주세요." "The balance does not cover the amount. Charge it and pay again.";
    PaymentMethodUnavailable BAD_REQUEST "payment_method_unavailable" "Payment method not available"
        "사용할 수 없는 결제 수단입니다." "Payments can't be made that way here.";
    Unauthenticated UNAUTHORIZED "unauthenticated" "Not signed in"
        "로그인이 필요합니다." "Sign in first.";
    InvalidSession UNAUTHORIZED "invalid_session" "Session not valid"
        "로그인이 만료되었거나 올바르지 않습니다. 다시 로그인해 주세요." "The session has expired or is not valid. Sign in again.";
    InvalidCredentials UNAUTHORIZED "invalid_credentials" "Wrong credentials"
        "아이디 또는 비밀번호가 올바르지 않습니다." "The user or the password is wrong.";
    InvalidRefreshToken UNAUTHORIZED "invalid_refresh_token" "Refresh token not valid"
        "로그인 갱신 토큰이 올바르지 않거나 로그인이 종료되었습니다. 다시 로그인해 주세요." "The refresh token is missing or not valid, or the session has ended. Sign in again.";
    InvalidSignature UNAUTHORIZED "invalid_signature" "Signature not valid"
        "서명이 올바르지 않거나 오래되었습니다." "The signature is missing, not valid or too old.";
    PaymentDeclined PAYMENT_REQUIRED "payment_declined" "Payment declined"
        "결제가 승인되지 않았습니다. 좌석은 결제 기한까지 유지되니 다시 시도하거나 다른 결제 수단을 이용해 주세요." "The payment was not accepted. The seats stay held until their deadline: try again, or pay another way.";
    MissingQueueToken UNAUTHORIZED "missing_queue_token" "No queue token"
        "대기열 토큰이 필요합니다. 먼저 대기열에 입장해 주세요." "A queue token is needed. Join the queue first.";
    InvalidQueueToken UNAUTHORIZED "invalid_queue_token" "Queue token not valid"
        "대기열 토큰이 올바르지 않습니다. 대기열에 다시 입장해 주세요." "The queue token is not valid. Join the queue again.";
    NotAdmitted FORBIDDEN "not_admitted" "Not admitted"
        "아직 입장 순서가 아니거나 입장 시간이 끝났습니다." "It is not your turn yet, or your admission has ended.";
    Forbidden FORBIDDEN "forbidden" "Not allowed"
        "이 작업을 할 권한이 없습니다." "You are not allowed to do this.";
    WrongPassword FORBIDDEN "wrong_password" "Wrong password"
        "현재 비밀번호가 올바르지 않습니다." "The current password is wrong.";
    NotFound NOT_FOUND "not_found" "Not found"
        "찾을 수 없습니다." "There is nothing here.";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed"
        "지원하지 않는 요청 방식입니다." "This path does not support that method; the Allow header names those it does.";
    RequestTimeout REQUEST_TIMEOUT "request_timeout" "Request timed out"
        "요청을 제때 받지 못했습니다." "The request did not arrive in time.";
    SeatTaken CONFLICT "seat_taken" "Seat taken"
        "이미 다른 사람이 선택한 좌석입니다. 다른 좌석을 골라 주세요." "Somebody else has this seat. Choose another one.";
    SeatLimit CONFLICT "seat_limit" "Seat limit reached"
        "한 사람이 예약할 수 있는 좌석 수를 넘었습니다." "That is more seats than one person may have.";
    NoSeatsTogether CONFLICT "no_seats_together" "No such seats left"
        "조건에 맞는 좌석이 지금은 없습니다. 수량이나 조건을 바꿔 주세요." "No seats that fit are free right now. Ask for fewer, or for others.";
    AlreadyPaid CONFLICT "already_paid" "Already paid"
        "이미 결제된 예약입니다." "This reservation is paid already.";
    NotPaid CONFLICT "not_paid" "Not paid yet"
        "아직 결제되지 않은 예약입니다. 결제한 뒤 티켓을 받을 수 있습니다." "This reservation is not paid for yet. Its ticket comes with the payment.";
    AlreadyCheckedIn CONFLICT "already_checked_in" "Already checked in"
        "이미 입장 처리된 티켓입니다." "This ticket has been checked in already.";
    WrongConcert CONFLICT "wrong_concert" "Another concert"
        "다른 공연의 티켓입니다." "This is a ticket for another concert.";
    PaymentInProgress CONFLICT "payment_in_progress" "Payment in progress"
        "이 예약의 결제가 아직 처리 중입니다. 잠시 후 다시 시도해 주세요." "A payment for this reservation is still under way. Try again in a moment.";
    WaitlistFull CONFLICT "waitlist_full" "Waitlist full"
        "대기자 명단이 가득 찼습니다." "As many people wait for seats as may.";
    AlreadyExtended CONFLICT "already_extended" "Already extended"
        "결제 시간은 한 번만 연장할 수 있습니다." "The time to pay can be extended once only.";
    NotExtendable CONFLICT "not_extendable" "Can't be extended"
        "결제 시간을 연장할 수 없습니다." "The time to pay is not extended here.";
    RefundClosed CONFLICT "refund_closed" "Refunds closed"
        "환불 기한이 지난 예약입니다." "It is too late to give this reservation back for its money.";
    BalanceLimit CONFLICT "balance_limit" "Balance too high"
        "잔액은 99,999,999.99를 넘을 수 없습니다." "The balance would be more than 99,999,999.99. Spend some of it first.";
    IdempotencyInProgress CONFLICT "idempotency_in_progress" "Still in progress"
        "같은 요청이 아직 처리 중입니다. 잠시 후 다시 시도해 주세요." "The same request is still being processed. Try again in a moment.";
    EmailTaken CONFLICT "email_taken" "Email taken"
        "이미 가입된 이메일입니다." "An account with this email exists already.";
    SalesClosed CONFLICT "sales_closed" "Sales closed"
        "판매가 종료되었습니다." "Sales for this concert are closed.";
    NotOnSale CONFLICT "not_on_sale" "Not on sale yet"
        "아직 판매가 시작되지 않았습니다." "Sales for this concert have not opened yet.";
    SettingsChanged CONFLICT "settings_changed" "Settings changed meanwhile"
        "그 사이에 설정이 변경되었습니다. 다시 조회한 뒤 시도해 주세요." "Somebody else has changed these settings meanwhile. Read them again first.";
    SectionExists CONFLICT "section_exists" "Section exists"
        "이미 있는 구역입니다." "The concert has a section of this name already.";
    DrawNotPossible CONFLICT "draw_not_possible" "No draw possible"
        "지금은 추첨 순서를 설정할 수 없는 대기열입니다." "This room can't be drawn: it has begun, or opens at no time that is still to come.";
    WebhookLimit CONFLICT "webhook_limit" "Too many webhooks"
        "웹훅은 10개까지 등록할 수 있습니다." "There are as many webhooks as may be. Remove one first.";
    SoldOut GONE "sold_out" "Sold out"
        "매진되었습니다." "This concert is sold out.";
    ReservationExpired GONE "reservation_expired" "Reservation expired"
        "결제 시간이 지나 예약이 취소되었습니다." "The time to pay has passed and the reservation has ended.";
    TicketRevoked GONE "ticket_revoked" "Ticket revoked"
        "환불되어 더 이상 쓸 수 없는 티켓입니다." "This ticket was given back for its money and lets nobody in any more.";
    PayloadTooLarge PAYLOAD_TOO_LARGE "payload_too_large" "Body too large"
        "요청 본문이 너무 큽니다." "The request body is too large.";
    UriTooLong URI_TOO_LONG "uri_too_long" "URI too long"
        "요청 주소가 너무 깁니다." "The request's address is too long.";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported content type"
        "요청 본문은 application/json 이어야 합니다." "The request body must be sent as application/json.";
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused" "Idempotency key reused"
        "이 Idempotency-Key는 다른 요청에 이미 사용되었습니다." "This Idempotency-Key was used for another request already.";
    TooManyRequests TOO_MANY_REQUESTS "too_many_requests" "Too many requests"
        "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요." "Too many requests. Try again after the time in Retry-After.";
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "Headers too large"
        "요청 헤더가 너무 큽니다." "The request's headers are too large.";
    Internal INTERNAL_SERVER_ERROR "internal_error" "Internal error"
        "처리 중 오류가 발생했습니다." "Something went wrong on our side.";
    RecordNotConfigured NOT_IMPLEMENTED "record_not_configured" "No record configured"
        "기록용 데이터베이스가 설정되지 않았습니다." "This needs the database of the record, and none is configured.";
    WebhooksNotConfigured NOT_IMPLEMENTED "webhooks_not_configured" "No webhooks configured"
        "웹훅 비밀 키를 암호화할 키가 설정되지 않았습니다." "Secrets of webhooks need a key to be kept under, and none is configured.";
    Unhealthy INTERNAL_SERVER_ERROR "unhealthy" "Unhealthy"
        "의존 서비스에 연결할 수 없습니다." "A service this one depends on can't be reached.";
    ServiceUnavailable SERVICE_UNAVAILABLE "service_unavailable" "Service unavailable"
        "서비스를 일시적으로 이용할 수 없습니다. 잠시 후 다시 시도해 주세요." "The service is away for a moment. Try again after the time in Retry-After.";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Overloaded"
        "접속자가 많아 지금은 처리할 수 없습니다. 잠시 후 다시 시도해 주세요." "There is more to do than can be done now. Try again after the time in Retry-After.";
}

impl ErrorCode {
    /// What to answer where something else than our own code refused with `status`.
    pub fn for_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::URI_TOO_LONG => Self::UriTooLong,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadersTooLarge,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Self::ServiceUnavailable
            }
            status if status.is_server_error() => Self::Internal,
            _ => Self::InvalidRequest,
        }
    }
}

/// One failure: its code and what this occasion adds to it.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    sentence: Option<Text>,
    retry_after: Option<Duration>,
    cause: Option<String>,
    more: Map<String, Value>,
}

impl Problem {
    /// A failure told by its code's own sentence.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, sentence: None, retry_after: None, cause: None, more: Map::new() }
    }

    /// Tells it with a sentence that fits the occasion.
    #[must_use]
    pub fn saying(
        mut self,
        ko: impl Into<std::borrow::Cow<'static, str>>,
        en: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        self.sentence = Some(Text::new(ko, en));
        self
    }

    /// 400 `invalid_request`, told with a sentence that says what is wrong.
    pub fn invalid(
        ko: impl Into<std::borrow::Cow<'static, str>>,
        en: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorCode::InvalidRequest).saying(ko, en)
    }

    /// Says when to come back. 429 and 503 say "in a second" where nothing better is known.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a field of its own to the body (RFC 9457, 3.2), for programs to read; `name` is none of the others'.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Notes for the log, and only there, what was behind it.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What was behind it, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What people are told.
    pub fn sentence(&self, language: Language) -> String {
        self.sentence.clone().unwrap_or_else(|| self.code.sentence()).in_language(language).to_owned()
    }

    /// The body, in `language`, for the request with this id.
    pub fn body(&self, language: Language, request_id: &str) -> ProblemBody {
        let sentence = self.sentence(language);
        ProblemBody {
            kind: format!("urn:onsale:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: sentence.clone(),
            code: self.code.status().as_u16(),
            message: sentence,
            error: self.code.as_str(),
            request_id: request_id.to_owned(),
            more: self.more.clone(),
        }
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

/// The fields of a problem, as they stand in the body.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: u16,
    message: String,
    error: &'static str,
    request_id: String,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after.or_else(|| self.code.default_retry_after()) {
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from(wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)),
            );
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"onsale\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl ErrorCode {
    fn default_retry_after(self) -> Option<Duration> {
        matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            .then_some(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_snake_case_and_said_in_both_languages() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(code.sentence().ko.chars().any(|c| ('가'..='힣').contains(&c)), "{}", code.as_str());
            assert!(code.sentence().en.is_ascii() && code.status().as_u16() >= 400);
        }
    }

    #[test]
    fn refusals_for_now_say_when_to_come_back() {
        for code in ErrorCode::ALL {
            let response = Problem::new(*code).into_response();
            let for_now = matches!(code.status().as_u16(), 429 | 503);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), for_now, "{}", code.as_str());
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), code.status().as_u16() == 401);
        }
        let response = Problem::new(ErrorCode::Overloaded).retry_after(Duration::from_millis(2_100)).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }
}
