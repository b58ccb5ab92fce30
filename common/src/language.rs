//! Which language human sentences are in: Korean where it is asked for or nothing is, English otherwise.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use http::request::Parts;

/// A language that sentences are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// 한국어.
    Korean,
    /// English.
    English,
}

impl Language {
    /// What `Accept-Language` (RFC 9110, 12.5.4) asks for: the known language with the highest weight, Korean first
    /// among equals; `*` is anything, so Korean.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut best: Option<(u16, Self)> = None;
        let mut asked = false;
        for range in
            headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','))
        {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            if tag.is_empty() {
                continue;
            }
            asked = true;
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
            let language = match tag.split('-').next().map(str::to_ascii_lowercase).as_deref() {
                Some("ko" | "*") => Self::Korean,
                Some("en") => Self::English,
                _ => continue,
            };
            let better = best.is_none_or(|(w, l)| weight > w || (weight == w && l == Self::English));
            if weight > 0 && better {
                best = Some((weight, language));
            }
        }
        match best {
            Some((_, language)) => language,
            None if asked => Self::English,
            None => Self::Korean,
        }
    }

    /// The tag for `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Korean => "ko",
            Self::English => "en",
        }
    }

    /// A span of time in words, rounded up: `5분` or `5 minutes`, seconds below one minute, hours from 120 minutes.
    pub fn duration(self, seconds: u64) -> String {
        let (count, ko, en) = match seconds {
            0..60 => (seconds, "초", "second"),
            60..7_200 => (seconds.div_ceil(60), "분", "minute"),
            _ => (seconds.div_ceil(3_600), "시간", "hour"),
        };
        match self {
            Self::Korean => format!("{count}{ko}"),
            Self::English if count == 1 => format!("1 {en}"),
            Self::English => format!("{count} {en}s"),
        }
    }
}

/// A weight (`1`, `0.85`) in thousandths; 0, which is "not wanted", for what is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    match (whole, format!("{fraction:0<3}").parse::<u16>()) {
        ("0", Ok(thousandths @ 0..1_000)) => thousandths,
        ("1", Ok(0)) => 1_000,
        _ => 0,
    }
}

impl<S: Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// One sentence in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// 한국어.
    pub ko: Cow<'static, str>,
    /// English.
    pub en: Cow<'static, str>,
}

impl Text {
    /// A sentence from both its forms.
    pub fn new(ko: impl Into<Cow<'static, str>>, en: impl Into<Cow<'static, str>>) -> Self {
        Self { ko: ko.into(), en: en.into() }
    }

    /// The form in `language`.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::Korean => &self.ko,
            Language::English => &self.en,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, value.parse().unwrap());
        Language::from_headers(&headers)
    }

    #[test]
    fn korean_where_asked_for_or_nothing_is() {
        assert_eq!(Language::from_headers(&HeaderMap::new()), Language::Korean);
        for (value, language) in [
            ("ko", Language::Korean),
            ("ko-KR,en;q=0.8", Language::Korean),
            ("*", Language::Korean),
            ("", Language::Korean),
            ("en", Language::English),
            ("en-US,ko;q=0.5", Language::English),
            ("en;q=0.3, ko;q=0.9", Language::Korean),
            ("fr-FR", Language::English),
            ("de, ko;q=0.1", Language::Korean),
            ("ko;q=0", Language::English),
            ("en;q=x", Language::English),
            ("en, *;q=0.1", Language::English),
        ] {
            assert_eq!(asked(value), language, "{value}");
        }
    }

    #[test]
    fn durations_read_well() {
        for (seconds, ko, en) in [
            (0, "0초", "0 seconds"),
            (1, "1초", "1 second"),
            (60, "1분", "1 minute"),
            (299, "5분", "5 minutes"),
            (300, "5분", "5 minutes"),
            (7_200, "2시간", "2 hours"),
        ] {
            assert_eq!(Language::Korean.duration(seconds), ko);
            assert_eq!(Language::English.duration(seconds), en);
        }
    }
}
