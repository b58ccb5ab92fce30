//! Whatever is sent, the answer is a 4xx problem and nothing has changed.

use chrono::TimeDelta;
use common::clock::Clock as _;
use reqwest::Method;
use serde_json::json;

use crate::client::Answer;
use crate::support::{Person, World, world};

const UUID: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";
const WRITES: [&str; 5] = ["/auth/signup", "/auth/login", "/reservation", "/balance", "/payment"];

async fn send(world: &World, person: &Person, pass: &str, path: &str, body: &str) -> Answer {
    world.request(Method::POST, path).body(body).by(person).pass(pass).send().await
}

#[tokio::test]
async fn bodies_of_every_wrong_kind() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let person = world.user("5").await;
    let held = world.hold(&person, &concert, 2).await;
    let pass = world.admit(&person, &concert).await;
    let before = world.everything().await;
    for path in WRITES {
        for body in [
            "",
            "{",
            "nonsense",
            "{\"amount\":NaN}",
            "{\"amount\":Infinity}",
            "{\"amount\":01}",
            "{'a':1}",
            "{\"a\":1}}",
            "\u{feff}{}",
        ] {
            send(&world, &person, &pass, path, body).await.assert_problem(400, "malformed_json");
        }
        for body in ["[]", "null", "7", "\"text\"", "{}", "[{}]"] {
            send(&world, &person, &pass, path, body).await.assert_problem(400, "invalid_request");
        }
    }
    let c = concert.id;
    let seat = concert.seats[0];
    let too_many: Vec<_> = (0..21).map(|_| uuid::Uuid::now_v7()).collect();
    for (path, body) in [
        ("/auth/signup", json!({ "username": "", "email": "a@b", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "x".repeat(256), "email": "a@b", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a\u{0}b", "email": "a@b", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a", "email": "ab", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a", "email": "a@b@c", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a", "email": "a\u{0}@b", "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a", "email": format!("{}@b", "a".repeat(254)), "password": "12345678" })),
        ("/auth/signup", json!({ "username": "a", "email": "a@b", "password": "1234567" })),
        ("/auth/signup", json!({ "username": "a", "email": "a@b", "password": "x".repeat(129) })),
        ("/auth/signup", json!({ "username": 1, "email": "a@b", "password": "12345678" })),
        ("/auth/login", json!({ "userId": "", "password": "x" })),
        ("/auth/login", json!({ "userId": "a\u{0}", "password": "x" })),
        ("/auth/login", json!({ "userId": 7, "password": "x" })),
        ("/auth/login", json!({ "userId": UUID, "password": null })),
        ("/auth/login", json!({ "userId": UUID, "password": "x".repeat(129) })),
        ("/auth/login", json!({ "userId": UUID })),
        ("/reservation", json!({ "concertId": "1", "seatId": seat })),
        ("/reservation", json!({ "concertId": c })),
        ("/reservation", json!({ "seatId": seat })),
        ("/reservation", json!({ "concertId": c, "seatId": seat, "seatNumber": 1 })),
        ("/reservation", json!({ "concertId": c, "seatId": seat, "seatIds": [seat] })),
        ("/reservation", json!({ "concertId": c, "seatIds": [] })),
        ("/reservation", json!({ "concertId": c, "seatIds": [seat, seat] })),
        ("/reservation", json!({ "concertId": c, "seatIds": too_many })),
        ("/reservation", json!({ "concertId": c, "seatIds": seat })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 0 })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 51 })),
        ("/reservation", json!({ "concertId": c, "seatNumber": -1 })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 1.5 })),
        ("/reservation", json!({ "concertId": c, "seatNumber": "1" })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 1, "section": "" })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 1, "section": "x".repeat(21) })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 1, "section": "\u{0}" })),
        ("/reservation", json!({ "concertId": c, "seatNumber": 1, "seatId": null })),
        ("/balance", json!({ "amount": 0 })),
        ("/balance", json!({ "amount": -1 })),
        ("/balance", json!({ "amount": 0.001 })),
        ("/balance", json!({ "amount": 10.005 })),
        ("/balance", json!({ "amount": 100_000_000 })),
        ("/balance", json!({ "amount": 1e300 })),
        ("/balance", json!({ "amount": "5" })),
        ("/balance", json!({ "amount": null })),
        ("/balance", json!({ "amount": [5] })),
        ("/balance", json!({ "amount": true })),
        ("/payment", json!({ "reservationId": "x" })),
        ("/payment", json!({ "reservationId": held, "reservationIds": [held] })),
        ("/payment", json!({ "reservationId": held, "reservationIds": null })),
        ("/payment", json!({ "reservationIds": [] })),
        ("/payment", json!({ "reservationIds": [held, held] })),
        ("/payment", json!({ "reservationIds": too_many })),
        ("/payment", json!({ "reservationId": held, "paymentMethod": "card" })),
        ("/payment", json!({ "reservationId": held, "paymentMethod": 1 })),
    ] {
        let answer = send(&world, &person, &pass, path, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
        answer.assert_problem(400, "invalid_request");
    }
    assert_eq!(world.everything().await, before);
    assert_eq!(world.lock(&concert, 0).await, None);
}

#[tokio::test]
async fn bodies_too_large_and_of_other_types() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("5").await;
    let pass = world.admit(&person, &concert).await;
    let before = world.everything().await;
    let large = format!("{{\"amount\":1,\"padding\":\"{}\"}}", "x".repeat(64 * 1024));
    for path in WRITES {
        send(&world, &person, &pass, path, &large).await.assert_problem(413, "payload_too_large");
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data; boundary=x"]
        {
            let request =
                world.request(Method::POST, path).header("content-type", kind).raw(b"{\"amount\":1}".to_vec());
            request.by(&person).pass(&pass).send().await.assert_problem(415, "unsupported_media_type");
        }
        let none = world.request(Method::POST, path).raw(b"{}".to_vec()).by(&person).pass(&pass).send().await;
        none.assert_problem(415, "unsupported_media_type");
        let latin =
            world.request(Method::POST, path).header("content-type", "application/json").raw(vec![b'{', 0xff, b'}']);
        latin.by(&person).pass(&pass).send().await.assert_problem(400, "malformed_json");
    }
    // The largest that is taken.
    let fits = format!("{{\"amount\":1,\"padding\":\"{}\"}}", "x".repeat(64 * 1024 - 25));
    assert_eq!(fits.len(), 64 * 1024);
    assert_eq!(world.everything().await, before);
    assert_eq!(send(&world, &person, &pass, "/balance", &fits).await.status, 200);
}

#[tokio::test]
async fn ids_pages_and_days_that_are_none() {
    let world = world().await;
    let person = world.user("0").await;
    for path in [
        "/concerts/1",
        "/concerts/0190d8a45a3e7c3f9d1e2b6f8a7c1d20",
        "/concerts/%00",
        "/concerts/%ff",
        "/concerts/x/seats",
        "/concerts/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d2g/seats",
        "/reservation/x",
        "/reservation?limit=0",
        "/reservation?limit=101",
        "/reservation?limit=-1",
        "/reservation?limit=x",
        "/reservation?cursor=x",
        "/reservation?cursor=",
        "/balance/entries?limit=1000",
        "/balance/entries?cursor=9223372036854775808",
        "/balance/entries?cursor=abc",
        "/concerts?page=0",
        "/concerts?page=-1",
        "/concerts?page=1000001",
        "/concerts?page=1.5",
        "/concerts?page=99999999999999999999",
        "/concerts?page=",
        "/concerts?limit=0",
        "/concerts?limit=101",
        "/concerts?available=maybe",
        "/concerts?from=2026-13-01",
        "/concerts?from=2026-1-1",
        "/concerts?to=tomorrow",
        "/concerts?to=2026-02-30",
    ] {
        let answer = world.get(path).by(&person).send().await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        answer.assert_problem(400, "invalid_request");
    }
    world.delete("/reservation/x").by(&person).send().await.assert_problem(400, "invalid_request");
    let nothing = format!("/reservation/{UUID}");
    world.get(&nothing).by(&person).send().await.assert_problem(404, "not_found");
    world.delete(&nothing).by(&person).send().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn sessions_that_are_none() {
    let world = world().await;
    let person = world.user("5").await;
    let now = world.clock.now();
    let expired = world.session_until(person.id, now - TimeDelta::seconds(1));
    let forged = common::tokens::SessionKeys::new(&["another-secret-of-more-than-32-characters"]).unwrap();
    let forged = forged.sign(&common::tokens::Session {
        id: None,
        user: person.id,
        role: common::tokens::Role::Admin,
        issued_at: now,
        expires_at: now + TimeDelta::hours(1),
    });
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", person.session.split('.').nth(1).unwrap());
    let before = world.everything().await;
    for (method, path) in [
        (Method::POST, "/auth/logout"),
        (Method::POST, "/reservation"),
        (Method::GET, "/reservation"),
        (Method::GET, "/reservation/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"),
        (Method::DELETE, "/reservation/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"),
        (Method::POST, "/reservation/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20/extend"),
        (Method::GET, "/balance"),
        (Method::POST, "/balance"),
        (Method::GET, "/balance/entries"),
        (Method::POST, "/payment"),
        (Method::GET, "/payment"),
        (Method::GET, "/payment/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"),
        (Method::GET, "/reservation/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20/ticket"),
        (Method::GET, "/reservation/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20/ticket.svg"),
        (Method::POST, "/admin/check-ins"),
        (Method::DELETE, "/admin/check-ins/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"),
        (Method::GET, "/admin/concerts/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20/tickets"),
    ] {
        let request = || world.request(method.clone(), path).body("{\"amount\":1}");
        request().send().await.assert_problem(401, "unauthenticated");
        request().header("authorization", "Basic abc").send().await.assert_problem(401, "unauthenticated");
        for token in [expired.as_str(), &forged, &unsigned, "x", "a.b.c"] {
            let answer = request().header("authorization", &format!("Bearer {token}")).send().await;
            answer.assert_problem(401, "invalid_session");
        }
    }
    assert_eq!(world.everything().await, before);
    // A session ends by the clock.
    assert_eq!(world.get("/balance").by(&person).send().await.status, 200);
    world.clock.advance(TimeDelta::hours(1) + TimeDelta::seconds(1));
    world.get("/balance").by(&person).send().await.assert_problem(401, "invalid_session");
}

#[tokio::test]
async fn paths_and_methods_that_are_none() {
    let world = world().await;
    for path in ["/", "/nothing", "/concerts/", "/balance/", "/admin", "/reservation/a/b", "/..%2f..%2fetc"] {
        world.get(path).send().await.assert_problem(404, "not_found");
    }
    let mut paths: Vec<(&str, Vec<&str>)> = Vec::new();
    for endpoint in core_api::http::endpoints() {
        let path = endpoint.path;
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, methods)) => methods.push(endpoint.method.as_str().to_owned().leak()),
            None => paths.push((path, vec![endpoint.method.as_str().to_owned().leak()])),
        }
    }
    assert!(paths.len() > 20, "all of them: {paths:?}");
    for (path, methods) in paths {
        let ids =
            ["{concertId}", "{reservationId}", "{paymentId}", "{webhookId}", "{eventId}", "{sessionId}", "{provider}"];
        let concrete = ids.iter().fold(path.to_owned(), |path, id| path.replace(id, UUID));
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = world.request(method.clone(), &concrete).send().await;
            if methods.contains(&method.as_str()) {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else {
                answer.assert_problem(405, "method_not_allowed");
                let allow: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
                assert!(methods.iter().all(|method| allow.contains(method)), "{path}: {allow:?}");
            }
        }
    }
}
