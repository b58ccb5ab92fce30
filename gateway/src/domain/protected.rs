//! Which requests to a site need admission, and to which room.
//!
//! A rule that looks at a path must see it as the site will: a path that can be read in two ways is refused rather than
//! guessed at, or an encoded letter would be a way around the waiting room.

use std::collections::BTreeSet;
use std::str::FromStr;

use common::ids::ConcertId;
use http::Method;

/// The rules of a site, in order: the first that fits decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProtectedRoutes(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Any, where there is none.
    method: Option<Method>,
    path: Vec<Segment>,
    room: ConcertId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exactly(String),
    /// `*`: any one.
    Any,
    /// `**`, at the end: whatever follows, nothing included.
    Rest,
}

/// What is wrong with a list of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rule of the form METHOD /path ROOM-ID")]
pub struct InvalidRule(String);

/// A path that different servers read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is not in its plain form")]
pub struct AmbiguousPath;

impl FromStr for ProtectedRoutes {
    type Err = InvalidRule;

    /// Reads rules separated by semicolons: `POST /checkout/** 0190…; * /seats/* 0190…`.
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty());
        rules
            .map(|rule| read_rule(rule).ok_or_else(|| InvalidRule(rule.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn read_rule(rule: &str) -> Option<Rule> {
    let mut words = rule.split_whitespace();
    let (method, path, room) = (words.next()?, words.next()?, words.next()?);
    let method = match method {
        "*" => None,
        name => Some(Method::from_bytes(name.as_bytes()).ok()?),
    };
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let ends = |at: usize| at + 1 == segments.len();
    let path = segments.iter().enumerate().map(|(at, segment)| match *segment {
        "*" => Some(Segment::Any),
        "**" => ends(at).then_some(Segment::Rest),
        plain => Some(Segment::Exactly(plain.to_owned())),
    });
    let (path, room) = (path.collect::<Option<_>>()?, room.parse().ok()?);
    words.next().is_none().then_some(Rule { method, path, room })
}

impl ProtectedRoutes {
    /// The room that a request needs admission to; `None` where it needs none.
    pub fn room_of(&self, method: &Method, path: &str) -> Result<Option<ConcertId>, AmbiguousPath> {
        let segments = plain_segments(path)?;
        // HEAD tells of what GET would get.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let fits = |rule: &&Rule| rule.method.as_ref().is_none_or(|wanted| wanted == method) && rule.fits(&segments);
        Ok(self.0.iter().find(fits).map(|rule| rule.room))
    }

    /// All rooms that rules name.
    pub fn rooms(&self) -> BTreeSet<ConcertId> {
        self.0.iter().map(|rule| rule.room).collect()
    }
}

impl Rule {
    fn fits(&self, segments: &[String]) -> bool {
        let fixed = self.path.iter().take_while(|segment| **segment != Segment::Rest).count();
        let long_enough = if fixed < self.path.len() { segments.len() >= fixed } else { segments.len() == fixed };
        long_enough
            && self.path.iter().zip(segments).all(|(wanted, segment)| match wanted {
                Segment::Exactly(exactly) => exactly == segment,
                Segment::Any | Segment::Rest => true,
            })
    }
}

/// A path's segments, decoded, each without what follows a semicolon (servers that know path parameters read it so).
fn plain_segments(path: &str) -> Result<Vec<String>, AmbiguousPath> {
    let rest = path.strip_prefix('/').ok_or(AmbiguousPath)?;
    let count = rest.split('/').count();
    let segments = rest.split('/').enumerate().map(|(at, segment)| {
        let decoded = decode(segment)?;
        let plain = decoded.split(';').next().unwrap_or_default();
        // An empty segment in the middle is a doubled slash; one at the end is a path that ends with a slash.
        let is_odd = (plain.is_empty() && at + 1 < count) || matches!(plain, "." | "..");
        if is_odd { Err(AmbiguousPath) } else { Ok(plain.to_owned()) }
    });
    let mut segments: Vec<String> = segments.collect::<Result<_, _>>()?;
    // `/seats/` is `/seats` to most sites.
    if segments.len() > 1 && segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    Ok(segments)
}

/// Decodes what must be encoded, and refuses what need not be or would be read as something else once decoded.
fn decode(segment: &str) -> Result<String, AmbiguousPath> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'\\' {
            return Err(AmbiguousPath);
        }
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(AmbiguousPath);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        let decoded = u8::try_from(high * 16 + low).map_err(|_| AmbiguousPath)?;
        let is_plain = decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded);
        if is_plain || decoded.is_ascii_control() || b"/\\%;".contains(&decoded) {
            return Err(AmbiguousPath);
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| AmbiguousPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";
    const B: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d21";

    fn room(rules: &str, method: &Method, path: &str) -> Option<String> {
        rules.parse::<ProtectedRoutes>().unwrap().room_of(method, path).unwrap().map(|room| room.to_string())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = format!("POST /checkout/** {A}; * /seats/* {B}; GET /checkout {B}");
        for (method, path, wanted) in [
            (Method::POST, "/checkout", Some(A)),
            (Method::POST, "/checkout/", Some(A)),
            (Method::POST, "/checkout/pay/now", Some(A)),
            (Method::GET, "/checkout", Some(B)),
            (Method::HEAD, "/checkout", Some(B)),
            (Method::PUT, "/checkout", None),
            (Method::DELETE, "/seats/5", Some(B)),
            (Method::GET, "/seats/5;jsessionid=1", Some(B)),
            (Method::GET, "/seats", None),
            (Method::GET, "/seats/5/6", None),
            (Method::GET, "/", None),
            (Method::GET, "/checkouts", None),
        ] {
            assert_eq!(room(&rules, &method, path).as_deref(), wanted, "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        let rules: ProtectedRoutes = format!("* /checkout/** {A}").parse().unwrap();
        for path in [
            "/%63heckout",
            "//checkout",
            "/a/../checkout",
            "/a/./b",
            "/a/%2e%2e/checkout",
            "/a%2fcheckout",
            "/a\\checkout",
            "/a%5ccheckout",
            "/%2563heckout",
            "/a%00b",
            "/a%zz",
            "/a%",
            "*",
            "",
            "/a%3bb",
            "/%ff",
        ] {
            assert_eq!(rules.room_of(&Method::GET, path), Err(AmbiguousPath), "{path}");
        }
        for path in ["/caf%C3%A9", "/a%20b", "/a+b", "/a:b@c", "/%EA%B3%B5%EC%97%B0"] {
            assert_eq!(rules.room_of(&Method::GET, path), Ok(None), "{path}");
        }
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for bad in [
            "POST /a",
            "POST a 0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20",
            "GET /a x",
            &format!("GET /**/a {A}"),
            &format!("GET /a {A} b"),
            &format!("G@T /a {A}"),
        ] {
            assert!(bad.parse::<ProtectedRoutes>().is_err(), "{bad}");
        }
    }
}
