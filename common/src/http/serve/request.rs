//! Reading the plainest of requests. What is not quite plain is hyper's to read, and to refuse.

use std::mem::MaybeUninit;
use std::ops::Range;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Uri};

/// More header lines than browsers and proxies send.
const MAX_LINES: usize = 64;
/// The longest body that is plain.
const MAX_BODY: usize = 16 * 1024;

/// A request that has come as a whole.
pub(super) struct Plain {
    pub(super) request: Request,
    /// Whether its sender asks for nothing after it.
    pub(super) is_last: bool,
}

/// Takes the request that `buffer` begins with, if all of it is there and it is plain: HTTP/1.1, a path, a short body of
/// known length or none, nothing asked of the connection. Otherwise `buffer` stays as it is.
pub(super) fn take(buffer: &mut BytesMut) -> Option<Plain> {
    let head = Head::read(buffer)?;
    let framing = Framing::of(&head, buffer)?;
    let length = head.length.checked_add(framing.body).filter(|length| *length <= buffer.len())?;
    let whole = buffer.split_to(length).freeze();
    let Some(request) = request(&head, &whole) else {
        let rest = std::mem::replace(buffer, BytesMut::from(whole.as_ref()));
        buffer.extend_from_slice(&rest);
        return None;
    };
    Some(Plain { request, is_last: framing.is_last })
}

/// A request's head, and where in it what lies.
struct Head {
    length: usize,
    method: Method,
    target: Range<usize>,
    lines: Vec<(HeaderName, Range<usize>)>,
}

impl Head {
    fn read(buffer: &[u8]) -> Option<Self> {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut parsed = httparse::Request::new(&mut []);
        let httparse::Status::Complete(length) = parsed.parse_with_uninit_headers(buffer, &mut lines).ok()? else {
            return None;
        };
        let target = parsed.path.filter(|target| target.starts_with('/'))?;
        let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        // An answer to HEAD has the length of a body that it has not.
        if parsed.version != Some(1) || method == Method::HEAD || method == Method::CONNECT {
            return None;
        }
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().checked_sub(buffer.as_ptr().addr())?;
            Some(start..start + part.len())
        };
        let line = |line: &httparse::Header<'_>| {
            Some((HeaderName::from_bytes(line.name.as_bytes()).ok()?, place(line.value)?))
        };
        let lines = parsed.headers.iter().map(line).collect::<Option<_>>()?;
        Some(Self { length, method, target: place(target.as_bytes())?, lines })
    }
}

/// Where a request ends, and whether another one may follow.
struct Framing {
    body: usize,
    is_last: bool,
}

impl Framing {
    fn of(head: &Head, buffer: &[u8]) -> Option<Self> {
        let (mut body, mut is_last) = (None, false);
        for (name, place) in &head.lines {
            let value = buffer.get(place.clone())?;
            if *name == CONTENT_LENGTH {
                // Twice is once too often, even if it is the same.
                body = Some(length(value).filter(|_| body.is_none())?);
            } else if *name == CONNECTION {
                is_last |= value.eq_ignore_ascii_case(b"close");
                if !is_last && !value.eq_ignore_ascii_case(b"keep-alive") && !value.is_empty() {
                    return None;
                }
            } else if *name == TRANSFER_ENCODING || *name == UPGRADE || *name == EXPECT {
                return None;
            }
        }
        Some(Self { body: body.unwrap_or(0), is_last })
    }
}

/// A length in digits and nothing else, that is no more than a plain body may have.
fn length(text: &[u8]) -> Option<usize> {
    const MAX_DIGITS: usize = 5;
    let is_plain = (1..=MAX_DIGITS).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()?;
    (length <= MAX_BODY).then_some(length)
}

/// The request, whose parts share the bytes that it came in.
fn request(head: &Head, whole: &Bytes) -> Option<Request> {
    let mut headers = HeaderMap::with_capacity(head.lines.len() + SET_ON_THE_WAY);
    for (name, place) in &head.lines {
        headers.append(name, HeaderValue::from_maybe_shared(whole.slice(place.clone())).ok()?);
    }
    let body = whole.slice(head.length..);
    let mut request = Request::new(if body.is_empty() { Body::empty() } else { Body::from(body) });
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_maybe_shared(whole.slice(head.target.clone())).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// Room for the headers that layers add.
const SET_ON_THE_WAY: usize = 2;
