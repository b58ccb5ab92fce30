//! Cookies and the tokens they carry.

use cookie::{Cookie, SameSite};
use http::HeaderMap;
use http::header::{COOKIE, HeaderName, HeaderValue};

use crate::config::Setting;

/// The header that carries a queue token where no cookie does.
pub const QUEUE_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-queue-token");

/// The name of the cookie that carries the queue token.
const QUEUE_TOKEN_COOKIE: &str = "QueueToken";
/// The name of the cookie that carries the session, as `Bearer <JWT>`.
const SESSION_COOKIE: &str = "Authorization";
/// The name of the cookie that carries the refresh token, and the only path that it is sent to.
const REFRESH_TOKEN_COOKIE: &str = "RefreshToken";
const REFRESH_TOKEN_PATH: &str = "/auth";

/// A cookie's value, unquoted and percent-decoded. Of several with the name the first counts, as browsers send the
/// most specific first (RFC 6265, 5.4).
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        // Other people's cookies may hold anything; one that is no ASCII must not hide ours.
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .flat_map(Cookie::split_parse_encoded)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value_trimmed().to_owned())
}

/// The queue token that a request presents: the header where there is one, else the cookie.
pub fn queue_token(headers: &HeaderMap) -> Option<String> {
    let header =
        headers.get(QUEUE_TOKEN_HEADER).and_then(|value| value.to_str().ok()).map(|text| text.trim().to_owned());
    let given = |token: &String| !token.is_empty();
    header.filter(given).or_else(|| cookie(headers, QUEUE_TOKEN_COOKIE).filter(given))
}

/// The session token that a request presents: `Authorization: Bearer …`, else the cookie of that name.
pub fn session_token(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(bearer).or_else(|| bearer(&cookie(headers, SESSION_COOKIE)?))
}

/// The refresh token in its cookie.
pub fn refresh_token(headers: &HeaderMap) -> Option<String> {
    cookie(headers, REFRESH_TOKEN_COOKIE).filter(|token| !token.is_empty())
}

/// The token in `Bearer <token>`.
fn bearer(credentials: &str) -> Option<String> {
    let (scheme, token) = credentials.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// How users reach the site.
pub const PUBLIC_URL: Setting = Setting {
    name: "PUBLIC_URL",
    default: Some("http://localhost:8080"),
    unit: "URL",
    meaning: "How users reach the site; unless it is plain http, cookies are `Secure`.",
};

/// Writes our cookies: `HttpOnly; SameSite=Strict; Path=/` (`/auth` for the refresh token), and `Secure` unless the public
/// URL is plain http.
#[derive(Debug, Clone, Copy)]
pub struct SetCookie {
    secure: bool,
}

impl SetCookie {
    /// For a site that its users reach at `public_url`.
    pub fn for_site(public_url: &str) -> Self {
        Self { secure: !public_url.starts_with("http://") }
    }

    /// Hands over a queue token.
    pub fn queue_token(self, token: &str) -> HeaderValue {
        self.write(QUEUE_TOKEN_COOKIE, token, "/", None)
    }

    /// Takes the queue token back.
    pub fn clear_queue_token(self) -> HeaderValue {
        self.write(QUEUE_TOKEN_COOKIE, "", "/", Some(0))
    }

    /// Hands over a session for `max_age_seconds`.
    pub fn session(self, token: &str, max_age_seconds: i64) -> HeaderValue {
        self.write(SESSION_COOKIE, &format!("Bearer {token}"), "/", Some(max_age_seconds))
    }

    /// Ends the session in this browser.
    pub fn clear_session(self) -> HeaderValue {
        self.write(SESSION_COOKIE, "", "/", Some(0))
    }

    /// Hands over a refresh token for `max_age_seconds`. It is sent to where it is of use and nowhere else.
    pub fn refresh_token(self, token: &str, max_age_seconds: i64) -> HeaderValue {
        self.write(REFRESH_TOKEN_COOKIE, token, REFRESH_TOKEN_PATH, Some(max_age_seconds))
    }

    /// Takes the refresh token back.
    pub fn clear_refresh_token(self) -> HeaderValue {
        self.write(REFRESH_TOKEN_COOKIE, "", REFRESH_TOKEN_PATH, Some(0))
    }

    /// Remembers a choice of this browser's owner for a year, such as their language. It is nobody's secret.
    pub fn preference(self, name: &'static str, value: &str) -> HeaderValue {
        const YEAR_SECONDS: i64 = 365 * 24 * 60 * 60;
        self.write(name, value, "/", Some(YEAR_SECONDS))
    }

    fn write(self, name: &'static str, value: &str, path: &'static str, max_age_seconds: Option<i64>) -> HeaderValue {
        let mut cookie = Cookie::new(name, value);
        cookie.set_http_only(true);
        cookie.set_same_site(SameSite::Strict);
        cookie.set_path(path);
        if self.secure {
            cookie.set_secure(true);
        }
        if let Some(seconds) = max_age_seconds {
            cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        }
        // Our tokens are base64url and dots: always a valid header.
        HeaderValue::try_from(cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_session_is_read_in_every_form_that_clients_send() {
        for pair in [
            ("authorization", "Bearer a.b.c"),
            ("authorization", "bearer a.b.c"),
            ("cookie", "Authorization=Bearer a.b.c"),
            ("cookie", "x=1; Authorization=Bearer%20a.b.c; y=2"),
            ("cookie", "Authorization=\"Bearer a.b.c\""),
            ("cookie", "Authorization=%22Bearer%20a.b.c%22"),
        ] {
            assert_eq!(session_token(&headers(&[pair])).as_deref(), Some("a.b.c"), "{pair:?}");
        }
        for pair in [
            ("authorization", "Basic a.b.c"),
            ("authorization", "Bearer "),
            ("authorization", "a.b.c"),
            ("cookie", "Authorization="),
            ("cookie", ";;=;"),
        ] {
            assert_eq!(session_token(&headers(&[pair])), None, "{pair:?}");
        }
    }

    #[test]
    fn the_queue_token_is_the_header_s_first() {
        let both = headers(&[("x-queue-token", "h"), ("cookie", "QueueToken=c")]);
        assert_eq!(queue_token(&both).as_deref(), Some("h"));
        assert_eq!(queue_token(&headers(&[("cookie", "a=b; QueueToken=c")])).as_deref(), Some("c"));
        assert_eq!(queue_token(&headers(&[("x-queue-token", ""), ("cookie", "QueueToken=c")])).as_deref(), Some("c"));
        assert_eq!(queue_token(&HeaderMap::new()), None);
    }

    #[test]
    fn what_others_put_into_a_request_does_not_hide_our_tokens() {
        let korean: HeaderMap =
            [(COOKIE, HeaderValue::from_bytes("theme=한국; QueueToken=c; Authorization=Bearer s".as_bytes()).unwrap())]
                .into_iter()
                .collect();
        assert_eq!(queue_token(&korean).as_deref(), Some("c"));
        assert_eq!(session_token(&korean).as_deref(), Some("s"));
        let basic = headers(&[("authorization", "Basic eDp5"), ("cookie", "Authorization=Bearer s")]);
        assert_eq!(session_token(&basic).as_deref(), Some("s"));
    }

    #[test]
    fn cookies_are_strict_and_secure_unless_the_site_is_plain_http() {
        let local = SetCookie::for_site("http://localhost:8080").session("a.b.c", 60);
        assert_eq!(local, "Authorization=Bearer a.b.c; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        let public = SetCookie::for_site("https://tickets.example").queue_token("t");
        assert_eq!(public, "QueueToken=t; HttpOnly; SameSite=Strict; Secure; Path=/");
        let refresh = SetCookie::for_site("https://tickets.example").refresh_token("r", 60);
        assert_eq!(refresh, "RefreshToken=r; HttpOnly; SameSite=Strict; Secure; Path=/auth; Max-Age=60");
    }
}
