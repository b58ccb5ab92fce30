//! Trying passwords: slowed down for each account by itself.

use chrono::TimeDelta;
use serde_json::json;

use crate::client::Answer;
use crate::support::{Options, World, eventually, world_with};

const PASSWORD: &str = "correct horse battery";
const STRANGER: &str = "nobody@example.com";

/// Two tries at once, then one in half a minute.
async fn world_of_two() -> World {
    world_with(Options { settings: vec![("LOGINS_PER_MINUTE_PER_ACCOUNT", "2")], ..Options::default() }).await
}

async fn sign_up(world: &World, email: &str) -> String {
    let body = json!({ "username": "a", "email": email, "password": PASSWORD });
    world.post("/auth/signup", &body).send().await.uuid("userId").to_string()
}

async fn log_in(world: &World, login: &str, password: &str) -> Answer {
    world.post("/auth/login", &json!({ "userId": login, "password": password })).send().await
}

/// Asserts that it was refused for about half a minute; for how long.
#[track_caller]
fn is_refused(answer: &Answer) -> TimeDelta {
    answer.assert_problem(429, "too_many_requests");
    let told: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&told), "{told} s");
    TimeDelta::seconds(told)
}

#[tokio::test]
async fn an_account_is_tried_only_so_often_however_it_is_written() {
    let world = world_of_two().await;
    sign_up(&world, "a@example.com").await;
    sign_up(&world, "b@example.com").await;
    for login in ["a@example.com", " A@Example.COM "] {
        log_in(&world, login, "wrong password").await.assert_problem(401, "invalid_credentials");
    }
    is_refused(&log_in(&world, "A@example.com", "wrong password").await);
    let wait = is_refused(&log_in(&world, "a@example.com", PASSWORD).await);
    assert_eq!(log_in(&world, "b@example.com", PASSWORD).await.status, 200, "another account");
    world.clock.advance(wait);
    assert_eq!(log_in(&world, "a@example.com", PASSWORD).await.status, 200, "as told");
    is_refused(&log_in(&world, "a@example.com", PASSWORD).await);
}

#[tokio::test]
async fn an_account_that_is_not_there_is_refused_the_same() {
    let world = world_of_two().await;
    let user = sign_up(&world, "a@example.com").await;
    let mut messages = Vec::new();
    for login in ["a@example.com", STRANGER, &user, "7d0f6a1e-3c52-4b8e-9a41-2f6f0c8d5b10", "no name of anyone"] {
        for _ in 0..2 {
            log_in(&world, login, "wrong password").await.assert_problem(401, "invalid_credentials");
        }
        let refused = log_in(&world, login, "wrong password").await;
        is_refused(&refused);
        messages.push(refused.json["message"].clone());
    }
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]));
    // What names nobody counts by itself too.
    log_in(&world, "another name of nobody", PASSWORD).await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn who_is_refused_costs_neither_a_look_up_nor_a_hash() {
    let world = world_of_two().await;
    sign_up(&world, "a@example.com").await;
    for _ in 0..2 {
        assert_eq!(log_in(&world, "a@example.com", PASSWORD).await.status, 200);
    }
    // Whoever looks an account up now, which is before its password's hash can be computed, fails.
    world.execute("ALTER TABLE credentials RENAME TO hidden").await;
    is_refused(&log_in(&world, "a@example.com", PASSWORD).await);
    assert_eq!(log_in(&world, STRANGER, PASSWORD).await.status, 500);
}

#[tokio::test]
async fn who_is_not_tried_any_more_is_forgotten() {
    let world = world_of_two().await;
    let (address, logins) = world.start_and_watch().await;
    for number in 0..3 {
        let body = json!({ "userId": format!("nobody{number}@example.com"), "password": PASSWORD });
        world.post_to(address, "/auth/login", &body).send().await.assert_problem(401, "invalid_credentials");
    }
    assert_eq!(logins.remembered(), 3);
    world.clock.advance(TimeDelta::minutes(2));
    eventually("they are forgotten", async || (logins.remembered() == 0).then_some(())).await;
}
