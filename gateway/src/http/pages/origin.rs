//! Whether a form comes from a page of ours. Cookies are `SameSite=Strict`, so that other sites can't send them; but a
//! form of theirs could sign a visitor in as somebody else, which takes no cookie.

use common::problem::{ErrorCode, Problem};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses with 403 what another site sent: a form whose browser says so, or does not say where it is from.
pub(super) fn check_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site_fits = text(&FETCH_SITE).is_none_or(|site| site == "same-origin");
    let origin = text(&ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let is_ours = origin.is_some() && origin == text(&HOST);
    if site_fits && is_ours {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden).saying(
        "다른 사이트에서 보낸 요청은 처리하지 않습니다. 이 사이트에서 다시 시도해 주세요.",
        "Requests that another site sent are not served. Try again from a page of this site.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forms_of_our_own_pass() {
        for (origin, site, passes) in [
            (Some("http://localhost:8080"), Some("same-origin"), true),
            (Some("https://localhost:8080"), None, true),
            (Some("http://localhost:8080"), Some("cross-site"), false),
            (Some("http://localhost:8080"), Some("same-site"), false),
            (Some("http://evil.example"), None, false),
            (Some("http://localhost:8080.evil.example"), None, false),
            (Some("null"), Some("same-origin"), false),
            (None, Some("same-origin"), false),
            (None, None, false),
        ] {
            let mut headers: HeaderMap = [(HOST, "localhost:8080".parse().unwrap())].into_iter().collect();
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            if let Some(site) = site {
                headers.insert(FETCH_SITE, site.parse().unwrap());
            }
            assert_eq!(check_same_origin(&headers).is_ok(), passes, "{origin:?} {site:?}");
        }
    }
}
