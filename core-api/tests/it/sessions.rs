//! Sessions: how they go on, and how they end, here and in every other process.

use std::net::SocketAddr;

use chrono::TimeDelta;
use common::tokens::SessionKeys;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{Options, World, eventually, world, world_with};

const PASSWORD: &str = "correct horse battery";
const EMAIL: &str = "a@example.com";

/// Tokens as a client keeps them.
#[derive(Debug, Clone)]
struct Tokens {
    token: String,
    refresh: String,
}

impl Tokens {
    #[track_caller]
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap().to_owned();
        Self { token: text("token"), refresh: text("refreshToken") }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

async fn sign_up(world: &World) -> Tokens {
    let body = json!({ "username": "a", "email": EMAIL, "password": PASSWORD });
    Tokens::of(&world.post("/auth/signup", &body).send().await)
}

async fn log_in(world: &World) -> Tokens {
    Tokens::of(&world.post("/auth/login", &json!({ "userId": EMAIL, "password": PASSWORD })).send().await)
}

async fn refresh(world: &World, token: &str) -> Answer {
    world.post("/auth/refresh", &json!({ "refreshToken": token })).send().await
}

async fn balance(world: &World, tokens: &Tokens) -> Answer {
    world.get("/balance").header("authorization", &tokens.bearer()).send().await
}

#[track_caller]
fn is_refused(answer: &Answer) {
    answer.assert_problem(401, "invalid_session");
}

async fn log_out(world: &World, tokens: &Tokens) -> Answer {
    world.request(reqwest::Method::POST, "/auth/logout").header("authorization", &tokens.bearer()).send().await
}

async fn change_password(world: &World, tokens: &Tokens, current: &str, new: &str) -> Answer {
    let body = json!({ "currentPassword": current, "newPassword": new });
    world.post("/auth/password", &body).header("authorization", &tokens.bearer()).send().await
}

async fn list(world: &World, tokens: &Tokens) -> Vec<Value> {
    let answer = world.get("/auth/sessions").header("authorization", &tokens.bearer()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["data"].as_array().unwrap().clone()
}

async fn end_reasons(world: &World) -> String {
    world.sql("SELECT string_agg(coalesce(end_reason, 'open'), ' ' ORDER BY created_at, id) FROM sessions").await
}

async fn at(world: &World, address: SocketAddr, tokens: &Tokens) -> u16 {
    world.get_at(address, "/balance").header("authorization", &tokens.bearer()).send().await.status.as_u16()
}

/// Ids of the sessions in the log that gateways follow.
async fn logged(redis: &redis::aio::ConnectionManager) -> Vec<String> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(lua::sessions::LOG).arg(0).arg(-1);
    command.query_async(&mut redis.clone()).await.unwrap()
}

fn compact(id: &str) -> String {
    common::ids::SessionId::from(id.parse::<uuid::Uuid>().unwrap()).compact()
}

#[tokio::test]
async fn signing_in_hands_over_both_tokens_as_cookies_and_in_the_body() {
    let world = world().await;
    let made = sign_up(&world).await;
    let opened = world.post("/auth/login", &json!({ "userId": EMAIL, "password": PASSWORD })).send().await;
    let tokens = Tokens::of(&opened);
    assert!(tokens.token.len() <= 255 && tokens.refresh.len() == 86, "{}", tokens.token.len());
    assert_ne!((&tokens.token, &tokens.refresh), (&made.token, &made.refresh), "each session is a new one");
    let cookies: Vec<_> = opened.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let cookie = format!("RefreshToken={}; HttpOnly; SameSite=Strict; Path=/auth; Max-Age=", tokens.refresh);
    assert!(cookies.len() == 2 && cookies[1].starts_with(&cookie), "{cookies:?}");
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    // Nothing in the database opens anything.
    let all = world.sql("SELECT string_agg(s::text, ';') FROM sessions s").await;
    assert!(!all.contains(&tokens.refresh) && !all.contains(&tokens.token));
}

#[tokio::test]
async fn a_refresh_token_gives_the_next_by_body_or_cookie() {
    let world = world().await;
    let first = sign_up(&world).await;
    let second = Tokens::of(&refresh(&world, &first.refresh).await);
    assert_ne!(first.refresh, second.refresh);
    let by_cookie = world
        .request(reqwest::Method::POST, "/auth/refresh")
        .header("cookie", &format!("RefreshToken={}", second.refresh))
        .send()
        .await;
    let third = Tokens::of(&by_cookie);
    assert_eq!(balance(&world, &third).await.status, 200);
    assert_eq!(list(&world, &third).await.len(), 1, "it is one session all the time");
    // The body wins; one without a token leaves it to the cookie.
    let cookie = format!("RefreshToken={}", third.refresh);
    let body = json!({ "refreshToken": "nonsense" });
    let wrong = world.post("/auth/refresh", &body).header("cookie", &cookie).send().await;
    wrong.assert_problem(401, "invalid_refresh_token");
    assert_eq!(world.post("/auth/refresh", &json!({})).header("cookie", &cookie).send().await.status, 200);
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let world = world().await;
    let tokens = sign_up(&world).await;
    let forged = format!("{}{}", &tokens.refresh[..22], "A".repeat(64));
    for bad in ["", "x", &tokens.token, &"A".repeat(86), &forged, &"A".repeat(5_000)] {
        refresh(&world, bad).await.assert_problem(401, "invalid_refresh_token");
    }
    let nothing = world.request(reqwest::Method::POST, "/auth/refresh");
    nothing.send().await.assert_problem(401, "invalid_refresh_token");
    world.post("/auth/refresh", &json!({ "refreshToken": 7 })).send().await.assert_problem(400, "invalid_request");
    let malformed = world.request(reqwest::Method::POST, "/auth/refresh").body("{");
    malformed.send().await.assert_problem(400, "malformed_json");
    let form = world.request(reqwest::Method::POST, "/auth/refresh").header("content-type", "text/plain");
    form.raw(b"x".to_vec()).send().await.assert_problem(415, "unsupported_media_type");
    // Knowing which session it is does not suffice to end it: the forgery has changed nothing.
    assert_eq!(refresh(&world, &tokens.refresh).await.status, 200);
}

#[tokio::test]
async fn whoever_asks_again_at_once_is_answered_the_same() {
    let world = world().await;
    let first = sign_up(&world).await;
    let second = Tokens::of(&refresh(&world, &first.refresh).await);
    let again = Tokens::of(&refresh(&world, &first.refresh).await);
    assert_eq!(second.refresh, again.refresh, "the answer may have been lost");
    // Many tabs at once, held at the session's row so that they meet there.
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM sessions FOR UPDATE").execute(&mut *held).await.unwrap();
    let many = futures_util::future::join_all((0..6).map(|_| refresh(&world, &second.refresh)));
    let (answers, ()) = tokio::join!(many, async {
        eventually("they wait", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (world.sql(waiting).await == "3").then_some(())
        })
        .await;
        held.rollback().await.unwrap();
    });
    let mut given: Vec<_> = answers.iter().map(|answer| Tokens::of(answer).refresh).collect();
    given.dedup();
    assert_eq!(given.len(), 1, "one follows, whoever is first");
    assert_eq!(refresh(&world, &given[0]).await.status, 200);
    assert_eq!(end_reasons(&world).await, "open");
}

#[tokio::test]
async fn a_refresh_token_that_was_used_long_before_ends_the_session() {
    let world = world().await;
    let (stolen, elsewhere) = (sign_up(&world).await, log_in(&world).await);
    let second = Tokens::of(&refresh(&world, &stolen.refresh).await);
    world.shift_database_clock("29 seconds").await;
    assert_eq!(refresh(&world, &stolen.refresh).await.status, 200);
    world.shift_database_clock("31 seconds").await;
    refresh(&world, &stolen.refresh).await.assert_problem(401, "invalid_refresh_token");
    refresh(&world, &second.refresh).await.assert_problem(401, "invalid_refresh_token");
    is_refused(&balance(&world, &second).await);
    is_refused(&balance(&world, &stolen).await);
    assert_eq!(balance(&world, &elsewhere).await.status, 200, "another session of theirs");
    assert_eq!(end_reasons(&world).await, "reuse open");
}

#[tokio::test]
async fn of_the_token_before_the_last_the_thief_is_found_out_at_once() {
    let world = world().await;
    let first = sign_up(&world).await;
    let second = Tokens::of(&refresh(&world, &first.refresh).await);
    let third = Tokens::of(&refresh(&world, &second.refresh).await);
    refresh(&world, &first.refresh).await.assert_problem(401, "invalid_refresh_token");
    is_refused(&balance(&world, &third).await);
}

#[tokio::test]
async fn a_session_ends_however_often_it_is_refreshed() {
    let settings = vec![("SESSION_LIFETIME_SECONDS", "3600"), ("SESSION_TTL_SECONDS", "3000")];
    let world = world_with(Options { settings, ..Options::default() }).await;
    let first = sign_up(&world).await;
    world.shift_database_clock("3000 seconds").await;
    world.clock.advance(TimeDelta::seconds(3_000));
    is_refused(&balance(&world, &first).await);
    let answer = refresh(&world, &first.refresh).await;
    let second = Tokens::of(&answer);
    let ends = |field: &str| answer.json[field].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(ends("expiresAt"), ends("refreshExpiresAt"), "no token outlives its session");
    world.shift_database_clock("3601 seconds").await;
    refresh(&world, &second.refresh).await.assert_problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest() {
    let settings = vec![("SESSIONS_PER_USER", "2"), ("LOGINS_PER_MINUTE_PER_ACCOUNT", "0")];
    let world = world_with(Options { settings, ..Options::default() }).await;
    let (first, second, third) = (sign_up(&world).await, log_in(&world).await, log_in(&world).await);
    is_refused(&balance(&world, &first).await);
    assert_eq!((balance(&world, &second).await.status, list(&world, &third).await.len()), (200.try_into().unwrap(), 2));
    // However many log in at once.
    let many = (0..6).map(|_| log_in(&world));
    futures_util::future::join_all(many).await;
    assert_eq!(world.sql("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, "2");
}

#[tokio::test]
async fn logging_out_ends_the_session_once_and_for_all() {
    let world = world().await;
    let (here, elsewhere) = (sign_up(&world).await, log_in(&world).await);
    for _ in 0..2 {
        let answer = log_out(&world, &here).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{\"status\":\"OK\"}"), "again is fine");
        let cleared: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cleared[0], "Authorization=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
        assert_eq!(cleared[1], "RefreshToken=; HttpOnly; SameSite=Strict; Path=/auth; Max-Age=0");
        is_refused(&balance(&world, &here).await);
    }
    refresh(&world, &here.refresh).await.assert_problem(401, "invalid_refresh_token");
    // By the refresh token's cookie alone, as where the token has expired.
    let cookie = format!("RefreshToken={}", elsewhere.refresh);
    for _ in 0..2 {
        let by_cookie = world.request(reqwest::Method::POST, "/auth/logout").header("cookie", &cookie).send().await;
        assert_eq!(by_cookie.status, 200, "{}", by_cookie.text);
    }
    is_refused(&balance(&world, &elsewhere).await);
    let forged = format!("RefreshToken={}{}", &elsewhere.refresh[..22], "A".repeat(64));
    let by_forgery = world.request(reqwest::Method::POST, "/auth/logout").header("cookie", &forged).send().await;
    by_forgery.assert_problem(401, "unauthenticated");
    let garbage = world.request(reqwest::Method::POST, "/auth/logout").header("authorization", "Bearer a.b.c");
    garbage.send().await.assert_problem(401, "invalid_session");
}

#[tokio::test]
async fn another_password_ends_all_other_sessions_and_keeps_this_one() {
    let world = world().await;
    let (here, elsewhere) = (sign_up(&world).await, log_in(&world).await);
    let changed = change_password(&world, &here, PASSWORD, "another battery staple").await;
    let fresh = Tokens::of(&changed);
    assert_eq!(changed.headers.get_all("set-cookie").iter().count(), 2);
    is_refused(&balance(&world, &elsewhere).await);
    refresh(&world, &elsewhere.refresh).await.assert_problem(401, "invalid_refresh_token");
    for tokens in [&here, &fresh] {
        assert_eq!(balance(&world, tokens).await.status, 200);
    }
    refresh(&world, &here.refresh).await.assert_problem(401, "invalid_refresh_token");
    assert_eq!(refresh(&world, &fresh.refresh).await.status, 200, "only what was handed over with it goes on");
    assert_eq!(end_reasons(&world).await, "open password");
    let old = world.post("/auth/login", &json!({ "userId": EMAIL, "password": PASSWORD })).send().await;
    old.assert_problem(401, "invalid_credentials");
    let new = world.post("/auth/login", &json!({ "userId": EMAIL, "password": "another battery staple" })).send().await;
    assert_eq!(new.status, 200);
}

#[tokio::test]
async fn a_password_is_changed_only_by_who_knows_it_and_tried_only_so_often() {
    let settings = vec![("LOGINS_PER_MINUTE_PER_ACCOUNT", "3")];
    let world = world_with(Options { settings, ..Options::default() }).await;
    let tokens = sign_up(&world).await;
    change_password(&world, &tokens, "wrong", "another battery staple").await.assert_problem(403, "wrong_password");
    for (current, new) in
        [("", "long enough"), (PASSWORD, "short"), (PASSWORD, &"x".repeat(129)), (PASSWORD, "nul\0nul1")]
    {
        change_password(&world, &tokens, current, new).await.assert_problem(400, "invalid_request");
    }
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "long enough" });
    world.post("/auth/password", &body).send().await.assert_problem(401, "unauthenticated");
    for _ in 0..2 {
        change_password(&world, &tokens, "wrong", "long enough").await.assert_problem(403, "wrong_password");
    }
    change_password(&world, &tokens, PASSWORD, "long enough").await.assert_problem(429, "too_many_requests");
    // Logging in by the id has the same quota: this is no way around it.
    let user = world.sql("SELECT id FROM users").await;
    let login = json!({ "userId": user, "password": PASSWORD });
    world.post("/auth/login", &login).send().await.assert_problem(429, "too_many_requests");
}

#[tokio::test]
async fn a_login_that_a_change_of_the_password_overtakes_opens_nothing() {
    let world = world().await;
    let here = sign_up(&world).await;
    // Its password is verified; it is held before it opens the session.
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM credentials FOR UPDATE").execute(&mut *held).await.unwrap();
    let body = json!({ "userId": EMAIL, "password": PASSWORD });
    let (overtaken, ()) = tokio::join!(world.post("/auth/login", &body).send(), async {
        eventually("it waits", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (world.sql(waiting).await == "1").then_some(())
        })
        .await;
        sqlx::query("UPDATE credentials SET password_hash = 'another', generation = generation + 1")
            .execute(&mut *held)
            .await
            .unwrap();
        held.commit().await.unwrap();
    });
    overtaken.assert_problem(401, "invalid_credentials");
    assert_eq!(list(&world, &here).await.len(), 1);
}

#[tokio::test]
async fn somebody_sees_their_own_sessions_and_ends_one_of_them() {
    let world = world().await;
    let (here, elsewhere) = (sign_up(&world).await, log_in(&world).await);
    let sessions = list(&world, &here).await;
    let current: Vec<_> = sessions.iter().map(|session| session["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [false, true], "the newest first");
    for field in ["createdAt", "lastUsedAt", "expiresAt"] {
        assert!(sessions[0][field].as_str().unwrap().ends_with('Z'), "{}", sessions[0]);
    }
    let path = format!("/auth/sessions/{}", sessions[0]["id"].as_str().unwrap());
    let stranger = world.user("0").await;
    world.delete(&path).by(&stranger).send().await.assert_problem(404, "not_found");
    let end = |path: &str| world.delete(path).header("authorization", &here.bearer()).send();
    let ended = end(&path).await;
    assert_eq!((ended.status.as_u16(), ended.header("set-cookie")), (200, None));
    is_refused(&balance(&world, &elsewhere).await);
    end(&path).await.assert_problem(404, "not_found");
    end("/auth/sessions/7").await.assert_problem(400, "invalid_request");
    let own = end(&format!("/auth/sessions/{}", sessions[1]["id"].as_str().unwrap())).await;
    assert_eq!(own.headers.get_all("set-cookie").iter().count(), 2, "that is logging out");
    is_refused(&end(&path).await);
    world.delete(&path).send().await.assert_problem(401, "unauthenticated");
    world.get("/auth/sessions").send().await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn another_role_ends_the_sessions_that_say_the_old_one() {
    let world = world().await;
    let user = sign_up(&world).await;
    world.execute("UPDATE users SET username = 'b'").await;
    assert_eq!(balance(&world, &user).await.status, 200);
    let db = core_api::store::postgres::Db::new(&world.database_url, 1).unwrap();
    let email = common_login(EMAIL);
    assert!(db.set_role(&email, common::tokens::Role::Admin).await.unwrap().is_some());
    eventually("it is known", async || (balance(&world, &user).await.status == 401).then_some(())).await;
    is_refused(&balance(&world, &user).await);
    refresh(&world, &user.refresh).await.assert_problem(401, "invalid_refresh_token");
    let admin = log_in(&world).await;
    let role = SessionKeys::new(&["a-session-secret-for-tests-of-core-api"]).unwrap();
    let said = role.verify(&admin.token, chrono::Utc::now()).unwrap().role;
    assert_eq!((said, end_reasons(&world).await.as_str()), (common::tokens::Role::Admin, "role open"));
    assert!(db.set_role(&common_login("b@example.com"), common::tokens::Role::Admin).await.unwrap().is_none());
}

fn common_login(name: &str) -> core_api::domain::account::Login {
    core_api::domain::account::Login::from(&core_api::domain::text::Text::parse(name).unwrap())
}

#[tokio::test]
async fn a_session_that_ends_here_ends_in_every_other_process() {
    let world = world().await;
    let tokens = sign_up(&world).await;
    let other = world.start_another().await;
    assert_eq!(at(&world, other, &tokens).await, 200);
    let id = list(&world, &tokens).await[0]["id"].as_str().unwrap().to_owned();
    log_out(&world, &tokens).await;
    eventually("the other knows", async || (at(&world, other, &tokens).await == 401).then_some(())).await;
    // One that is started later, too.
    let later = world.start_another().await;
    eventually("the later one knows", async || (at(&world, later, &tokens).await == 401).then_some(())).await;
    let is_logged =
        async || logged(&world.redis).await.iter().any(|entry| entry.starts_with(&compact(&id))).then_some(());
    eventually("gateways can know", is_logged).await;
}

#[tokio::test]
async fn a_session_ends_without_redis_and_the_log_is_filled_again() {
    let redis = tokio::task::spawn_blocking(|| stack::redis::Redis::start(&stack::redis::RedisOptions::default()))
        .await
        .unwrap()
        .unwrap();
    let world = world_with(Options { redis_url: Some(redis.url()), ..Options::default() }).await;
    let other = world.start_another().await;
    let (first, second) = (sign_up(&world).await, log_in(&world).await);
    let ids: Vec<String> =
        list(&world, &first).await.iter().map(|session| compact(session["id"].as_str().unwrap())).collect();
    log_out(&world, &first).await;
    eventually("the first is logged", async || (logged(&world.redis).await.len() == 1).then_some(())).await;
    redis.stop();
    assert_eq!(log_out(&world, &second).await.status, 200);
    is_refused(&balance(&world, &second).await);
    eventually("the other knows", async || (at(&world, other, &second).await == 401).then_some(())).await;
    // It comes back with nothing: it keeps nothing on a disk.
    redis.restart().unwrap();
    let all = async || {
        let key = world.redis(&["ZCARD", lua::sessions::LOG]).await;
        (key.as_deref() == Some("2")).then_some(())
    };
    eventually("both are logged", all).await;
    let entries = logged(&world.redis).await;
    assert!(ids.iter().all(|id| entries.iter().any(|entry| entry.starts_with(id))), "{entries:?}");
}

#[tokio::test]
async fn sessions_that_nobody_can_use_are_removed_and_no_others() {
    let world = world().await;
    let (ended, open) = (sign_up(&world).await, log_in(&world).await);
    log_out(&world, &ended).await;
    let db = core_api::store::postgres::Db::new(&world.database_url, 1).unwrap();
    let purge = async |days| {
        world.shift_database_clock(&format!("{days} days")).await;
        db.purge_sessions(chrono::Utc::now() + TimeDelta::days(days), 10).await.unwrap()
    };
    assert_eq!(purge(0).await, 0);
    assert_eq!(purge(2).await, 1, "its tokens have expired");
    assert_eq!(refresh(&world, &open.refresh).await.status, 200);
    assert_eq!(purge(32).await, 1);
}
