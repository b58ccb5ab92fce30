//! Signing up, in and out.

use common::tokens::Role;
use core_api::service::{HashCost, Passwords};
use serde_json::{Value, json};

use crate::support::{Options, World, world, world_with};

const PASSWORD: &str = "correct horse battery";
/// Where one account is tried on purpose more often than people do.
const NO_LIMIT: (&str, &str) = ("LOGINS_PER_MINUTE_PER_ACCOUNT", "0");

#[tokio::test]
async fn only_administrators_learn_whose_an_email_is() {
    let world = world().await;
    let (admin, user) = (world.administrator().await, world.user("0").await);
    let email = world.sql(&format!("SELECT email FROM users WHERE id = '{}'", user.id)).await;
    let ask = |body: Value| world.post("/admin/users/find", &body);
    let wanted = json!({ "email": format!(" {} ", email.to_uppercase()) });
    ask(wanted.clone()).send().await.assert_problem(401, "unauthenticated");
    for refused in [&user, &world.colleague(Role::Staff).await] {
        ask(wanted.clone()).by(refused).send().await.assert_problem(403, "forbidden");
    }
    let found = ask(wanted).by(&admin).send().await;
    assert_eq!((found.status.as_u16(), &found.json), (200, &json!({ "userId": user.id })), "{}", found.text);
    // Exactly that one: no part of it, no pattern.
    for nobody in ["nobody@example.test".to_owned(), format!("x{email}"), "%@%".to_owned(), "_@_".to_owned()] {
        ask(json!({ "email": nobody })).by(&admin).send().await.assert_problem(404, "not_found");
    }
    for wrong in [json!({}), json!({ "email": "x" }), json!({ "email": null }), json!({ "email": email, "all": true })]
    {
        let refused = ask(wrong).by(&admin).send().await;
        refused.assert_problem(400, "invalid_request");
        assert!(!refused.text.contains(&email), "an email is not said back");
    }
}

#[tokio::test]
async fn an_account_is_made_and_opens_sessions_by_id_and_by_email() {
    let world = world().await;
    let body = json!({ "username": "김하늘", "email": " Haneul@Example.com", "password": PASSWORD });
    let made = world.post("/auth/signup", &body).send().await;
    assert_eq!(made.status, 200, "{}", made.text);
    let user = made.uuid("userId").to_string();
    for login in [user.as_str(), "haneul@example.com", "HANEUL@EXAMPLE.COM", " haneul@example.com "] {
        let opened = world.post("/auth/login", &json!({ "userId": login, "password": PASSWORD })).send().await;
        assert_eq!(opened.status, 200, "{login}: {}", opened.text);
        assert_eq!(opened.json["userId"], user.as_str());
        let token = opened.json["token"].as_str().unwrap();
        let expires = opened.json["expiresAt"].as_str().unwrap();
        let hours = expires.parse::<chrono::DateTime<chrono::Utc>>().unwrap() - chrono::Utc::now();
        assert_eq!(hours.num_minutes() / 10, 71, "{expires}");
        assert!(expires.ends_with('Z'));
        let cookie = opened.header("set-cookie").unwrap();
        assert_eq!(cookie, format!("Authorization=Bearer {token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"));
        for (name, value) in
            [("authorization", format!("Bearer {token}")), ("cookie", format!("Authorization=Bearer%20{token}"))]
        {
            let balance = world.get("/balance").header(name, &value).send().await;
            assert_eq!((balance.status.as_u16(), balance.text.as_str()), (200, "{\"balance\":0.00}"));
        }
    }
    let hash = world.sql("SELECT password_hash FROM credentials").await;
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}

#[tokio::test]
async fn an_email_has_one_account_whatever_its_case() {
    let world = world().await;
    let body = |email: &str| json!({ "username": "a", "email": email, "password": PASSWORD });
    assert_eq!(world.post("/auth/signup", &body("a@example.com")).send().await.status, 200);
    let before = world.everything().await;
    world.post("/auth/signup", &body("A@EXAMPLE.com")).send().await.assert_problem(409, "email_taken");
    assert_eq!(world.everything().await, before);
    // Of many at once one gets it.
    let many = (0..5).map(|_| world.post("/auth/signup", &body("b@example.com")).send());
    let mut statuses: Vec<_> =
        futures_util::future::join_all(many).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409]);
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_are_the_same_401() {
    let world = world().await;
    let body = json!({ "username": "a", "email": "a@example.com", "password": PASSWORD });
    let user = world.post("/auth/signup", &body).send().await.uuid("userId").to_string();
    let mut answers = Vec::new();
    for (login, password) in [
        (user.as_str(), "wrong password"),
        ("a@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("7d0f6a1e-3c52-4b8e-9a41-2f6f0c8d5b10", PASSWORD),
        ("neither id nor email", PASSWORD),
        ("' OR '1'='1", PASSWORD),
        ("nobody@example.com", "nobody's password"),
    ] {
        let answer = world.post("/auth/login", &json!({ "userId": login, "password": password })).send().await;
        answer.assert_problem(401, "invalid_credentials");
        assert_eq!(answer.header("set-cookie"), None);
        answers.push(answer.json["message"].clone());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn an_unknown_account_costs_the_same_work() {
    let world = world_with(Options { settings: vec![NO_LIMIT], ..Options::default() }).await;
    let (address, _, passwords) = world.start_in_full_view().await;
    let body = json!({ "username": "a", "email": "a@example.com", "password": PASSWORD });
    world.post("/auth/signup", &body).send().await;
    for login in ["a@example.com", "b@example.com", "7d0f6a1e-3c52-4b8e-9a41-2f6f0c8d5b10", "no name of anyone"] {
        let before = passwords.jobs();
        let body = json!({ "userId": login, "password": "wrong password" });
        world.post_to(address, "/auth/login", &body).send().await.assert_problem(401, "invalid_credentials");
        assert_eq!(passwords.jobs() - before, 1, "{login}");
    }
    let costs = |hash: &str| hash.rsplitn(3, '$').last().unwrap().to_owned();
    let known = world.sql("SELECT password_hash FROM credentials").await;
    assert_eq!(costs(&known), costs(passwords.nobodys_hash()), "of the same cost");
}

#[tokio::test]
async fn a_password_is_hashed_anew_where_that_costs_more_by_now() {
    let settings = vec![("PASSWORD_HASH_PASSES", "3"), NO_LIMIT];
    let world = world_with(Options { settings, ..Options::default() }).await;
    let body = json!({ "username": "a", "email": "a@example.com", "password": PASSWORD });
    world.post("/auth/signup", &body).send().await;
    let old = Passwords::new(1, HashCost::LEAST).unwrap().hash(PASSWORD).await.unwrap();
    world.execute(&format!("UPDATE credentials SET password_hash = '{old}'")).await;
    let log_in =
        |password: &str| world.post("/auth/login", &json!({ "userId": "a@example.com", "password": password }));
    log_in("wrong password").send().await.assert_problem(401, "invalid_credentials");
    assert_eq!(world.sql("SELECT password_hash FROM credentials").await, old, "who does not know it can't hash it");
    // Two at once: neither is refused for what the other writes.
    let (one, two) = tokio::join!(log_in(PASSWORD).send(), log_in(PASSWORD).send());
    assert_eq!((one.status, two.status), (http::StatusCode::OK, http::StatusCode::OK));
    let new = world.sql("SELECT password_hash FROM credentials").await;
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=3,p=1$"), "{new}");
    assert_eq!(log_in(PASSWORD).send().await.status, 200);
    assert_eq!(world.sql("SELECT password_hash FROM credentials").await, new, "once is enough");
}

#[tokio::test]
async fn a_rush_of_logins_gets_429_and_nobody_else_waits() {
    let world = world_with(Options { settings: vec![("HASH_QUEUE", "0"), NO_LIMIT], ..Options::default() }).await;
    let person = world.user("10").await;
    let body = json!({ "userId": "nobody@example.com", "password": PASSWORD });
    let rush = (0..40).map(|_| world.post("/auth/login", &body).send());
    let others = (0..10).map(|_| world.get("/balance").by(&person).send());
    let others = tokio::time::timeout(std::time::Duration::from_secs(5), futures_util::future::join_all(others));
    let (answers, others) = tokio::join!(futures_util::future::join_all(rush), others);
    assert!(answers.iter().any(|answer| answer.status == 401));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 401).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        answer.assert_problem(429, "too_many_requests");
    }
    assert!(others.unwrap().iter().all(|answer| answer.status == 200), "who logs in keeps nobody else waiting");
}

#[tokio::test]
async fn logging_out_clears_the_cookie_and_needs_a_session() {
    let world = world().await;
    let person = world.user("0").await;
    let answer = world.request(reqwest::Method::POST, "/auth/logout").by(&person).send().await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{\"status\":\"OK\"}"));
    assert_eq!(answer.header("set-cookie"), Some("Authorization=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"));
    world.request(reqwest::Method::POST, "/auth/logout").send().await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_of_a_user_that_is_gone_is_no_session() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let ghost = common::ids::UserId::generate();
    let person = crate::support::Person { id: ghost, session: world.session(ghost) };
    world.get("/balance").by(&person).send().await.assert_problem(401, "invalid_session");
    let charge = json!({ "amount": 1 });
    world.post("/balance", &charge).by(&person).send().await.assert_problem(401, "invalid_session");
    world.post("/balance", &charge).by(&person).key("k").send().await.assert_problem(401, "invalid_session");
    let pass = world.admit(&person, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    world.post("/reservation", &body).by(&person).pass(&pass).send().await.assert_problem(401, "invalid_session");
    assert_eq!(world.lock(&concert, 0).await, None);
}

/// `core-api set-role` with these words; its exit status and what it says where it fails.
async fn set_role(world: &World, words: [&'static str; 2]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_core-api"));
    command.arg("set-role").args(words).env("DATABASE_URL", &world.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_role_is_set_by_whoever_runs_the_site_and_counts_from_the_next_session() {
    let world = world().await;
    let account = json!({ "username": "Door", "email": "door@example.com", "password": "at the door" });
    assert_eq!(world.post("/auth/signup", &account).send().await.status, 200);
    let try_door = async || {
        let login = json!({ "userId": "door@example.com", "password": "at the door" });
        let token = world.post("/auth/login", &login).send().await.json["token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let check_in = world.post("/admin/check-ins", &json!({ "code": "" })).header("authorization", &bearer);
        let undo = world.delete("/admin/check-ins/7").header("authorization", &bearer);
        (check_in.send().await.status.as_u16(), undo.send().await.status.as_u16())
    };
    // 400: let through, and then refused for what was sent.
    for (role, door) in [("user", (403, 403)), ("staff", (400, 403)), ("admin", (400, 400)), ("user", (403, 403))] {
        let (status, said) = set_role(&world, ["Door@Example.com", role]).await;
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(try_door().await, door, "{role}");
    }
    for (words, why) in [
        (["nobody@example.com", "staff"], "there is no such account"),
        (["door@example.com", "root"], "possible values: user, staff, admin"),
        (["door", "staff"], "there is no such account"),
    ] {
        let (status, said) = set_role(&world, words).await;
        assert!(status != Some(0) && said.contains(why), "{words:?}: {said}");
    }
}
