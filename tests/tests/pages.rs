//! The pages, through nginx: what browsers are told, what it weighs, both languages, the way without scripts, and what is for
//! operators.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use e2e::site::Visitor;
use e2e::spec::Spec;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, LOCATION, ORIGIN, RETRY_AFTER, VARY,
};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

const PAGES: [&str; 11] = [
    "/",
    "/sale/{id}",
    "/sale/{id}/seats",
    "/sale/{id}/waitlist",
    "/my",
    "/account",
    "/login",
    "/admin/",
    "/admin/new",
    "/admin/sale/{id}",
    "/admin/sale/{id}/branding",
];
/// What the waiting page may weigh in all, as it comes over the wire.
const WAITING_PAGE_BYTES: usize = 20 * 1024;
/// The largest logo there can be.
const LOGO_BYTES: usize = 3 * 1024;
const NOWHERE: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";

/// One site for all tests here: one person inside each room, the others in line.
fn site() -> &'static Onsale {
    static SITE: OnceLock<(Redis, Onsale)> = OnceLock::new();
    let (_, onsale) = SITE.get_or_init(|| {
        let redis = Redis::start(&RedisOptions::default()).unwrap();
        let gateway_env = [("MAX_ACTIVE".to_owned(), "1".to_owned())].into();
        let options = OnsaleOptions { redis_url: Some(redis.url()), gateway_env, ..OnsaleOptions::default() };
        let onsale = Onsale::start(&options).unwrap();
        (redis, onsale)
    });
    onsale
}

/// A browser without scripts: keeps cookies, says where forms come from, follows nothing by itself.
struct Browser {
    http: reqwest::Client,
    cookies: Vec<(String, String)>,
    language: &'static str,
}

impl Browser {
    fn new(language: &'static str) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, cookies: Vec::new(), language }
    }

    fn url(path: &str) -> String {
        format!("{}{path}", site().url())
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header(ACCEPT_LANGUAGE, self.language).header("cookie", cookies.join("; "));
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }

    async fn get(&mut self, path: &str) -> Response {
        let request = self.http.get(Self::url(path));
        self.send(request).await
    }

    /// The page at a path, read as one that is well.
    async fn page(&mut self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Sends a form of our own, and gives where it leads.
    async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = filled(self.http.post(Self::url(path)).header(ORIGIN, site().url()), fields);
        self.send(request).await
    }
}

/// A request with a filled-in form, as browsers send it.
fn filled(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(pairs.join("&"))
}

#[track_caller]
fn header(response: &Response, name: impl http::header::AsHeaderName) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn a_concert(total_seats: u64) -> String {
    let list: Value = reqwest::get(Browser::url("/concerts?limit=100")).await.unwrap().json().await.unwrap();
    let concerts = list["data"].as_array().unwrap();
    let found = concerts.iter().find(|concert| concert["totalSeats"] == total_seats && concert["status"] == "on_sale");
    found.unwrap_or_else(|| panic!("none in {list}"))["id"].as_str().unwrap().to_owned()
}

/// What the quotes of an attribute hold, wherever it is.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let begins = format!(" {name}=\"");
    page.split(&begins).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    let mut browser = Browser::new("ko");
    let mut files = BTreeSet::new();
    for path in PAGES {
        let response = browser.get(&path.replace("{id}", NOWHERE)).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "same-origin");
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
        for part in ["base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'", "connect-src 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = response.text().await.unwrap();
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" type=\"module\" src=\"/assets/"), "{path}: {script}");
            assert!(script.contains("></script>"), "{path}: {script}");
        }
        assert!(!page.contains("<style") && attributes(&page, "style").is_empty(), "{path}");
        assert!(attributes(&page, "onclick").is_empty(), "{path}");
        for address in attributes(&page, "src").into_iter().chain(attributes(&page, "href")) {
            assert!(address.starts_with(['/', '?', '#']) && !address.starts_with("//"), "{path}: {address}");
            files.extend(Some(address).filter(|address| address.starts_with("/assets/")));
        }
    }
    for file in files {
        let response = browser.get(&file).await;
        assert_eq!(response.status(), 200, "{file}");
        assert_eq!(header(&response, CACHE_CONTROL), "public, max-age=31536000, immutable", "{file}");
        let text = response.text().await.unwrap().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{file}");
        for unsafe_way in ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "setAttribute(\"style\""] {
            assert!(!text.contains(unsafe_way), "{file}: {unsafe_way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waiting_page_is_light_in_both_languages() {
    for language in ["ko", "en"] {
        let mut browser = Browser::new(language);
        let page = browser.page(&format!("/sale/{NOWHERE}")).await;
        assert!(page.contains(&format!("<html lang=\"{language}\">")), "{page}");
        let mut wanted: BTreeSet<String> =
            attributes(&page, "href").into_iter().chain(attributes(&page, "src")).collect();
        wanted.retain(|address| address.starts_with("/assets/"));
        assert!(wanted.len() >= 7, "{wanted:?}");
        wanted.insert(format!("/sale/{NOWHERE}"));
        let colour = wanted.iter().find(|address| address.ends_with("/style.css")).unwrap();
        let colour = browser.page(&colour.replace("style.css", "colour-b3005e.css")).await;
        let mut total = LOGO_BYTES + colour.len();
        for address in &wanted {
            let request = browser.http.get(Browser::url(address)).header(ACCEPT_ENCODING, "gzip");
            let response = browser.send(request).await;
            assert_eq!(header(&response, CONTENT_ENCODING), "gzip", "{address}");
            assert!(header(&response, VARY).contains("accept-encoding"), "{address}");
            total += response.bytes().await.unwrap().len();
        }
        assert!(total <= WAITING_PAGE_BYTES, "{language}: {total} bytes");
        // What a script takes in is loaded with it, not after it.
        for script in wanted.iter().filter(|address| address.rsplit('.').next() == Some("js")) {
            let text = browser.page(script).await;
            for import in text.lines().filter(|line| line.starts_with("import ")) {
                let name = import.rsplit('"').nth(1).unwrap().trim_start_matches("./");
                assert!(wanted.iter().any(|address| address.ends_with(&format!("/{name}"))), "{script}: {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_not_sent_again() {
    let mut browser = Browser::new("en");
    let page = browser.page("/").await;
    let style = attributes(&page, "href").into_iter().find(|address| address.ends_with("style.css")).unwrap();
    for (path, cached) in [("/", "private, no-cache"), (style.as_str(), "public, max-age=31536000, immutable")] {
        let first = browser.get(path).await;
        assert_eq!(header(&first, CACHE_CONTROL), cached);
        let request = browser.http.get(Browser::url(path)).header(IF_NONE_MATCH, header(&first, ETAG));
        let again = browser.send(request).await;
        assert_eq!(again.status(), 304, "{path}");
        assert_eq!(again.text().await.unwrap(), "");
        let request = browser.http.get(Browser::url(path)).header(IF_NONE_MATCH, "\"another\"");
        assert_eq!(browser.send(request).await.status(), 200, "{path}");
    }
    // A page of another version than this process has finds what it needs, and nobody keeps it.
    let mut parts: Vec<&str> = style.split('/').collect();
    parts[2] = "0123456789abcdef";
    let older = browser.get(&parts.join("/")).await;
    assert_eq!((older.status().as_u16(), header(&older, CACHE_CONTROL).as_str()), (200, "no-store"));
    assert!(header(&browser.get("/").await, VARY).contains("accept-language"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_asked_for_or_switched() {
    for (language, said, other) in [("ko", "공연", "en"), ("en-US", "Concerts", "ko")] {
        let mut browser = Browser::new(language);
        assert!(browser.page("/").await.contains(&format!("<h1>{said}</h1>")));
        let switched = browser.get(&format!("/login?next=/my&lang={other}")).await;
        assert_eq!((switched.status().as_u16(), header(&switched, LOCATION).as_str()), (303, "/login?next=/my"));
        assert!(browser.page("/").await.contains(&format!("<html lang=\"{other}\">")));
    }
    let mut browser = Browser::new("ko");
    assert_eq!(browser.get("/?lang=xx").await.status(), 200, "another language than there is changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_no_operations_and_the_api_is_as_it_was() {
    let mut browser = Browser::new("en");
    for path in ["/sale", "/nothing", "/assets", "/assets/x/ko/none.js", "/assets/x/fr/ui.js", "/assets/x/ko/..%2f"] {
        let response = browser.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(header(&response, CONTENT_TYPE), "application/problem+json", "{path}");
    }
    for path in ["/", "/my", "/login", "/wait"] {
        let request = browser.http.post(Browser::url(path));
        let response = browser.send(request).await;
        assert_eq!((response.status().as_u16(), header(&response, ALLOW).as_str()), (405, "GET,HEAD"), "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"], "method_not_allowed");
    }
    assert_eq!(header(&browser.get("/concerts").await, CONTENT_TYPE), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_one_signs_up_waits_and_is_let_in() {
    let concert = a_concert(50).await;
    let wait = format!("/wait/{concert}");
    let mut inside = Visitor::new(&site().url()).unwrap();
    inside.sign_up("inside-pages").await.unwrap();
    let token = inside.post("/queue/token", serde_json::json!({ "concertId": concert })).await.unwrap();
    assert_eq!(token.body["status"], "admitted", "the only place inside");
    inside.queue_token = token.body["token"].as_str().map(ToOwned::to_owned);

    let mut browser = Browser::new("en");
    let sale = browser.page(&format!("/sale/{concert}")).await;
    assert!(sale.contains("<noscript><meta http-equiv=\"refresh\" content=\"0;url=?plain\"></noscript>"));
    let plain = browser.get(&format!("/sale/{concert}?plain")).await;
    assert_eq!((plain.status().as_u16(), header(&plain, LOCATION)), (303, wait.clone()));
    assert!(browser.page("/wait").await.contains(&format!("href=\"{wait}\"")));
    assert!(browser.page(&wait).await.contains("action=\"/forms/login\""), "signing in comes first");

    let account = [("username", "<b>Plain</b>"), ("email", "plain@example.test"), ("password", "a long password")];
    let next = [&account[..], &[("next", wait.as_str())]].concat();
    let signed_up = browser.submit("/forms/signup", &next).await;
    assert_eq!((signed_up.status().as_u16(), header(&signed_up, LOCATION)), (303, wait.clone()));
    assert!(browser.page(&wait).await.contains(&format!("<form method=\"post\" action=\"{wait}\">")), "to be joined");

    let joined = browser.submit(&wait, &[]).await;
    assert_eq!((joined.status().as_u16(), header(&joined, LOCATION)), (303, wait.clone()));
    let waiting = browser.page(&wait).await;
    let refresh = attributes(&waiting, "content").into_iter().find_map(|content| content.parse::<u64>().ok());
    assert!(refresh.is_some_and(|seconds| (1..=30).contains(&seconds)), "{waiting}");
    assert!(waiting.contains("People ahead of you</dt><dd>0</dd>"), "{waiting}");
    assert!(waiting.contains("your place is kept"));

    assert!(inside.ask(http::Method::DELETE, "/queue/token", None, &[]).await.unwrap().ok().is_ok());
    let deadline = std::time::Instant::now() + PATIENCE;
    while !browser.page(&wait).await.contains("It is your turn!") {
        assert!(std::time::Instant::now() < deadline, "never let in");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(
        browser.cookies.iter().any(|(name, value)| name == "QueueToken" && value.len() > 150),
        "the pass is theirs"
    );

    assert_eq!(browser.submit(&format!("{wait}/leave"), &[]).await.status(), 303);
    assert!(browser.page(&wait).await.contains(&format!("<form method=\"post\" action=\"{wait}\">")), "out again");
}

/// One pixel, as a file in base64.
const LOGO: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_concert_shows_its_organiser_s_colour_logo_and_message() {
    let mut admin = Visitor::new(&site().url()).unwrap();
    let login = json!({ "userId": "admin@example.com", "password": "onsale-demo" });
    admin.session = Some(admin.post("/auth/login", login).await.unwrap().ok().unwrap().text("token").unwrap());
    let concert = json!({ "name": "Branded", "date": "2999-01-01", "venue": "Park",
                          "sections": [{ "name": "A", "price": 10, "seats": 3 }] });
    let made = admin.post("/admin/concerts", concert).await.unwrap().ok().unwrap().body;
    let id = made["id"].as_str().unwrap();
    let branding = format!("/admin/concerts/{id}/branding");
    let spec = Spec::load().unwrap();
    let before = admin.get(&branding).await.unwrap().ok().unwrap().body;
    spec.check("AdminBranding", &before).unwrap();
    let message = json!({ "ko": "<b>문</b>은 6시에 \"열립니다\".", "en": "<script>alert(1)</script>" });
    let change = json!({ "colour": "#B3005E", "message": message, "logo": LOGO });
    let changed = admin.ask(http::Method::PATCH, &branding, Some(change), &[]).await.unwrap().ok().unwrap().body;
    spec.check("AdminBranding", &changed).unwrap();
    // core-api's list is a second old at most, at each of its replicas.
    let deadline = std::time::Instant::now() + PATIENCE;
    let told = loop {
        let told: Value = reqwest::get(Browser::url(&format!("/concerts/{id}"))).await.unwrap().json().await.unwrap();
        if told["branding"]["logo"].is_object() {
            break told;
        }
        assert!(std::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    spec.check("ConcertDetail", &told).unwrap();

    let mut browser = Browser::new("ko");
    let page = browser.page(&format!("/wait/{id}")).await;
    let url = told["branding"]["logo"]["url"].as_str().unwrap();
    assert!(page.contains(&format!("<img class=\"logo\" src=\"{url}\" alt=\"\" width=\"1\" height=\"1\">")), "{page}");
    assert!(page.contains("&lt;b&gt;문&lt;/b&gt;은 6시에 &quot;열립니다&quot;."), "{page}");
    let sheets: Vec<String> =
        attributes(&page, "href").into_iter().filter(|address| address.contains(".css")).collect();
    assert!(
        sheets.last().is_some_and(|sheet| sheet.ends_with("/ko/colour-b3005e.css")),
        "after all others: {sheets:?}"
    );
    let sheet = browser.get(sheets.last().unwrap()).await;
    assert_eq!(header(&sheet, CONTENT_TYPE), "text/css; charset=utf-8");
    assert_eq!(header(&sheet, CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert!(sheet.text().await.unwrap().starts_with(":root{--main:#b3005e;"));
    let picture = browser.get(url).await;
    assert_eq!((picture.status().as_u16(), header(&picture, CONTENT_TYPE).as_str()), (200, "image/png"));
    assert_eq!(header(&picture, "x-content-type-options"), "nosniff");
    let mut english = Browser::new("en");
    let english = english.page(&format!("/wait/{id}")).await;
    assert!(english.contains("From the organiser:</strong> &lt;script&gt;alert(1)&lt;/script&gt;"), "{english}");
    assert!(!english.contains("<script>alert"), "{english}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_pages_that_say_what_to_do() {
    let mut browser = Browser::new("ko");
    let nowhere = browser.get(&format!("/wait/{NOWHERE}")).await;
    assert_eq!(nowhere.status(), 404);
    assert_eq!(header(&nowhere, CONTENT_TYPE), "text/html; charset=utf-8");
    assert!(nowhere.text().await.unwrap().contains("공연을 찾을 수 없습니다."));
    assert_eq!(browser.get("/wait/7").await.status(), 400);

    let wrong = [("email", "alice@example.com"), ("password", "not this one")];
    let refused = browser.submit("/forms/login", &wrong).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.text().await.unwrap().contains("아이디 또는 비밀번호가 올바르지 않습니다."));
    assert!(browser.cookies.is_empty());
    assert_eq!(browser.submit("/forms/login", &[("email", "x")]).await.status(), 400, "a field is missing");
    let large = "x".repeat(100_000);
    assert_eq!(browser.submit("/forms/login", &[("email", &large), ("password", "x")]).await.status(), 413);

    let elsewhere = [("email", "alice@example.com"), ("password", "onsale-demo"), ("next", "//evil.example/")];
    let signed_in = browser.submit("/forms/login", &elsewhere).await;
    assert_eq!((signed_in.status().as_u16(), header(&signed_in, LOCATION).as_str()), (303, "/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_sites_are_refused() {
    let concert = a_concert(50).await;
    let mut browser = Browser::new("en");
    let account = [("email", "alice@example.com"), ("password", "onsale-demo")];
    for path in [
        "/forms/login".to_owned(),
        "/forms/signup".to_owned(),
        format!("/wait/{concert}"),
        format!("/wait/{concert}/leave"),
    ] {
        for origin in ["https://evil.example", "null", ""] {
            let request = filled(browser.http.post(Browser::url(&path)), &account);
            let request = if origin.is_empty() { request } else { request.header(ORIGIN, origin) };
            let refused = browser.send(request).await;
            assert_eq!(refused.status(), 403, "{path} from {origin:?}");
            assert!(browser.cookies.is_empty(), "{path}");
            assert!(refused.headers().get(RETRY_AFTER).is_none());
        }
    }
}

/// An event stream's first event, as JSON.
async fn first_event(response: &mut Response) -> Value {
    let mut read = String::new();
    while !read.contains("\n\n") {
        let part = response.chunk().await.unwrap().expect("an event before the end");
        read.push_str(std::str::from_utf8(&part).unwrap());
    }
    let data = read.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(data).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_pages_are_empty_and_what_fills_them_is_for_administrators() {
    let mut browser = Browser::new("en");
    let desk = browser.get("/admin").await;
    assert_eq!((desk.status().as_u16(), header(&desk, LOCATION).as_str()), (308, "/admin/"));
    let concert = a_concert(1_000).await;
    let page = browser.page(&format!("/admin/sale/{concert}")).await;
    assert!(page.contains("<div id=\"desk\" hidden>") && !page.contains(&concert), "the same for everybody");
    assert_eq!(page, browser.page(&format!("/admin/sale/{NOWHERE}")).await);
    for path in ["/admin/sale", "/admin/sale/", "/admin/queues/new"] {
        assert_ne!(browser.get(path).await.status(), 200, "{path}");
    }
    // Its operations are where they were.
    for path in ["/admin/queues", "/admin/concerts", "/admin/audit", &format!("/admin/queues/{concert}/live")] {
        let refused = browser.get(path).await;
        assert_eq!(
            (refused.status().as_u16(), header(&refused, CONTENT_TYPE).as_str()),
            (401, "application/problem+json")
        );
    }
    // What a browser sends by itself is enough for a stream and for a file.
    let account = [("email", "admin@example.com"), ("password", "onsale-demo"), ("next", "/admin/")];
    let signed_in = browser.submit("/forms/login", &account).await;
    assert_eq!((signed_in.status().as_u16(), header(&signed_in, LOCATION).as_str()), (303, "/admin/"));
    let mut live = browser.get(&format!("/admin/queues/{concert}/live")).await;
    assert_eq!(header(&live, CONTENT_TYPE), "text/event-stream");
    let event = first_event(&mut live).await;
    Spec::load().unwrap().check("QueueLive", &event).unwrap();
    assert_eq!((&event["queue"]["maxActive"], &event["sale"]["status"]), (&Value::from(1), &Value::from("on_sale")));
    for (file, kind) in [("sales.csv", "text/csv"), ("orders.csv", "text/csv"), ("sales", "application/json")] {
        let report = browser.get(&format!("/admin/concerts/{concert}/{file}")).await;
        assert_eq!(report.status(), 200, "{file}");
        assert!(header(&report, CONTENT_TYPE).starts_with(kind), "{file}");
        assert_eq!(header(&report, CONTENT_DISPOSITION).starts_with("attachment"), kind == "text/csv", "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_do_not_load_what_is_for_operators() {
    let mut browser = Browser::new("ko");
    for path in PAGES.iter().filter(|path| !path.starts_with("/admin")) {
        assert!(!browser.page(&path.replace("{id}", NOWHERE)).await.contains("/admin"), "{path}");
    }
    let page = browser.page("/admin/").await;
    assert!(page.contains("<h1>운영</h1>") && page.contains("/admin-texts.js\""), "{page}");
}
