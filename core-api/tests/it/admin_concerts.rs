//! Administrators make concerts, change them, open and close their sales; and a record is kept of all of it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{Concert, Person, World, eventually, world};

const UUID: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";

fn festival() -> Value {
    json!({
        "name": "여름 축제", "date": "2999-08-01", "venue": "Park", "seatsPerUser": 2,
        "sections": [
            { "name": "VIP", "price": 150_000, "seats": 3 },
            { "name": "A", "price": 99_000.5, "rows": [{ "seats": 2 }, { "name": "B", "seats": 4 }] },
        ],
    })
}

async fn create(world: &World, admin: &Person, body: &Value) -> Answer {
    world.post("/admin/concerts", body).by(admin).send().await
}

/// A concert made by the endpoint, as other helpers take it.
async fn made(world: &World, admin: &Person, body: &Value) -> Concert {
    let answer = create(world, admin, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let id = answer.uuid("id");
    let seats =
        format!("SELECT string_agg(id::text, ',' ORDER BY section, seat_number) FROM seats WHERE concert_id = '{id}'");
    let seats = world.sql(&seats).await.split(',').map(|id| id.parse().unwrap()).collect();
    Concert { id: id.into(), seats }
}

/// The actions that are kept, the latest first.
async fn actions(world: &World, admin: &Person) -> Vec<String> {
    let audit = world.get("/admin/audit?limit=100").by(admin).send().await;
    let changes = audit.json["data"].as_array().unwrap();
    changes.iter().map(|change| change["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_concert_is_made_once_and_is_there_for_everybody() {
    let world = world().await;
    let other = world.start_another().await;
    let admin = world.administrator().await;
    // The list is known, and without it.
    assert_eq!(world.get("/concerts").send().await.json["pagination"]["totalItems"], 0);
    let request = || world.post("/admin/concerts", &festival()).by(&admin).key("one").send();
    let (first, again) = (request().await, request().await);
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let id = first.uuid("id");
    assert_eq!(
        first.json,
        json!({
            "id": id, "name": "여름 축제", "venue": "Park", "date": "2999-08-01", "announcedAt": null,
            "saleOpensAt": null, "saleClosesAt": null, "seatsPerUser": 2, "status": "on_sale",
            "seats": { "total": 9, "available": 9, "held": 0, "sold": 0, "heldBack": 0 },
        })
    );
    assert_eq!(world.sql("SELECT count(*) FROM concerts").await, "1");

    // At once where it was made, within a second elsewhere.
    let path = format!("/concerts/{id}");
    assert_eq!(world.get(&path).send().await.json["availableSeats"], 9);
    eventually("the other process knows it", async || (world.get_from(other, &path).await.status == 200).then_some(()))
        .await;
    let seats = world.get(&format!("{path}/seats")).send().await;
    let seats: Vec<String> = seats
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|seat| {
            format!("{} {} {} {}", seat["section"], seat["seatNumber"], seat["price"], seat["status"]).replace('"', "")
        })
        .collect();
    assert_eq!(&seats[..3], ["A-1 1 99000.5 available", "A-1 2 99000.5 available", "A-B 1 99000.5 available"]);
    assert_eq!(seats.last().unwrap(), "VIP 3 150000.0 available");

    let list = world.get("/admin/concerts?page=1&limit=1").by(&admin).send().await;
    assert_eq!(list.json["data"], json!([first.json]));
    assert_eq!(list.json["pagination"], json!({ "currentPage": 1, "totalPages": 1, "totalItems": 1 }));
    let one = world.get(&format!("/admin{path}")).by(&admin).send().await;
    assert_eq!(one.json["sales"].to_string(), r#"{"gross":0.0,"net":0.0,"refunds":0.0}"#);
    let sections = one.json["sections"].as_array().unwrap();
    assert_eq!(sections.len(), 3);
    assert_eq!((&sections[2]["section"], &sections[2]["lowestPrice"]), (&json!("VIP"), &json!(150_000.0)));

    let audit = world.get("/admin/audit").by(&admin).send().await;
    let change = &audit.json["data"][0];
    assert_eq!((&change["action"], &change["changedBy"]), (&json!("create"), &json!(admin.id)));
    assert_eq!((&change["concertId"], &change["before"]), (&json!(id), &json!(null)));
    assert_eq!(change["after"]["sections"][1], json!({ "name": "A-1", "seats": 2, "price": 99_000.5 }));
    assert_eq!(audit.json["data"].as_array().unwrap().len(), 1, "once");
    assert!(audit.text.contains("\"price\": 99000.50"), "every digit is kept: {}", audit.text);
}

#[tokio::test]
async fn only_administrators_and_only_as_long_as_they_are() {
    let world = world().await;
    let (admin, user) = (world.administrator().await, world.user("0").await);
    let concert = world.concert(2, "10").await;
    let seats = json!({ "seatIds": [concert.seats[0]] });
    let section = json!({ "sections": [{ "name": "B", "price": 1, "seats": 1 }] });
    let at = |path: &str| format!("/admin/concerts/{}{path}", concert.id);
    let changes = [
        (Method::POST, "/admin/concerts".to_owned(), festival()),
        (Method::PATCH, at(""), json!({ "name": "x" })),
        (Method::POST, at("/close"), json!({})),
        (Method::POST, at("/sections"), section),
        (Method::PATCH, at("/branding"), json!({ "colour": "#123456" })),
        (Method::POST, at("/held-back"), seats.clone()),
    ];
    let reads = [
        "/admin/audit".to_owned(),
        "/admin/concerts".to_owned(),
        at(""),
        at("/branding"),
        at("/held-back"),
        at("/sales"),
        at("/sales.csv"),
        at("/orders.csv"),
    ];
    let all = reads.iter().map(|path| (Method::GET, path.clone(), json!({}))).chain(changes.clone());
    let all = all.chain([(Method::POST, at("/open"), json!({})), (Method::DELETE, at("/held-back"), seats)]);
    let mut asked = 0;
    for (method, path, body) in all {
        let request = || world.request(method.clone(), &path).json(&body);
        request().send().await.assert_problem(401, "unauthenticated");
        request().by(&user).send().await.assert_problem(403, "forbidden");
        // Whatever else is wrong with it: who is not asked learns nothing.
        world.request(method.clone(), &path).body("{").by(&user).send().await.assert_problem(403, "forbidden");
        let unknown = path.replace(&concert.id.to_string(), UUID);
        if unknown != path {
            world
                .request(method.clone(), &unknown)
                .json(&body)
                .by(&admin)
                .send()
                .await
                .assert_problem(404, "not_found");
            let bad = path.replace(&concert.id.to_string(), "1");
            world.request(method, &bad).json(&body).by(&admin).send().await.assert_problem(400, "invalid_request");
        }
        asked += 1;
    }
    // The door is the staff's as well, and webhooks have tests of their own.
    let is_ours =
        |path: &str| (path.starts_with("/admin/concerts") || path == "/admin/audit") && !path.ends_with("/tickets");
    assert_eq!(asked, core_api::http::endpoints().iter().filter(|endpoint| is_ours(endpoint.path)).count());

    // Their session says it still, and they are it no more: nothing they do is done.
    world.execute("UPDATE users SET role = 'user'").await;
    let before = world.everything().await;
    for (method, path, body) in changes {
        world.request(method, &path).json(&body).by(&admin).send().await.assert_problem(403, "forbidden");
    }
    assert_eq!(world.everything().await, before);
    assert_eq!(world.sql("SELECT count(*) || ' ' || min(name) FROM concerts").await, "1 콘서트");
    assert_eq!(world.sql("SELECT count(*) FROM admin_changes").await, "0");
    assert_eq!(world.sql("SELECT count(*) FROM concert_branding").await, "0");
}

#[tokio::test]
async fn what_is_no_concert_is_refused_by_the_name_of_its_field() {
    let world = world().await;
    let admin = world.administrator().await;
    let with = |field: &str, value: Value| {
        let mut body = festival();
        body[field] = value;
        body
    };
    let section = |section: Value| with("sections", json!([{ "name": "A", "price": 1, "seats": 1 }, section]));
    let rows = vec![json!({ "seats": 50 }); 1_001];
    for (body, said) in [
        (json!({}), "name"),
        (with("name", json!("")), "name"),
        (with("name", json!("a\u{0}")), "name"),
        (with("name", json!("x".repeat(256))), "name"),
        (with("venue", json!(7)), "venue"),
        (with("date", json!("2999-02-30")), "date"),
        (with("date", json!("+12999-01-01")), "date"),
        (with("date", json!("1999-01-01")), "date"),
        (with("announcedAt", json!("soon")), "announcedAt"),
        (with("saleOpensAt", json!("9999-01-01T00:00:00Z")), "saleOpensAt"),
        (with("saleClosesAt", json!("2030-01-01")), "saleClosesAt"),
        (with("seatsPerUser", json!(0)), "seatsPerUser"),
        (with("seatsPerUser", json!(21)), "seatsPerUser"),
        (with("sections", json!([])), "sections"),
        (with("sections", json!([{ "name": "A", "price": 1, "rows": rows }])), "sections"),
        (with("extra", json!(1)), "extra"),
        (section(json!({ "name": "B", "price": -1, "seats": 1 })), "sections[1].price"),
        (section(json!({ "name": "B", "price": 1.005, "seats": 1 })), "sections[1].price"),
        (section(json!({ "name": "B", "price": 1, "seats": 51 })), "sections[1].seats"),
        (section(json!({ "name": "B", "price": 1, "rows": [{ "seats": 0 }] })), "sections[1].rows[0].seats"),
        (section(json!({ "name": "B", "price": 1 })), "sections[1]"),
        (section(json!({ "name": "B", "price": 1, "seats": 1, "rows": null })), "sections[1].rows"),
        (section(json!({ "name": "B", "price": 1, "rows": [] })), "sections[1]"),
        (section(json!({ "name": "B", "price": 1, "seats": 1, "rows": [{ "seats": 1 }] })), "sections[1]"),
        (section(json!({ "name": "B".repeat(21), "price": 1, "seats": 1 })), "sections[1].name"),
        (section(json!({ "name": "B".repeat(19), "price": 1, "rows": [{ "seats": 1 }] })), "sections[1]"),
        (section(json!({ "name": "A", "price": 1, "seats": 1 })), "twice"),
    ] {
        let answer = world.post("/admin/concerts", &body).by(&admin).header("accept-language", "en").send().await;
        answer.assert_problem(400, "invalid_request");
        assert!(answer.json["message"].as_str().unwrap().contains(said), "{said}: {}", answer.text);
    }
    let backwards = json!({ "saleOpensAt": "2030-01-01T00:00:00Z", "saleClosesAt": "2030-01-01T00:00:00Z" });
    let mut body = festival();
    body.as_object_mut().unwrap().extend(backwards.as_object().unwrap().clone());
    create(&world, &admin, &body).await.assert_problem(400, "invalid_request");
    let too_large = with("name", json!("x".repeat(70_000)));
    create(&world, &admin, &too_large).await.assert_problem(413, "payload_too_large");
    let text = world.request(Method::POST, "/admin/concerts").raw(b"{}".to_vec()).by(&admin).send().await;
    text.assert_problem(415, "unsupported_media_type");
    assert_eq!(world.sql("SELECT count(*) FROM concerts").await, "0");
    // As large as it may be, in time.
    let body = with("sections", json!([{ "name": "A", "price": 1, "rows": &rows[..1_000] }]));
    let largest = create(&world, &admin, &body).await;
    assert_eq!((largest.status.as_u16(), &largest.json["seats"]["total"]), (200, &json!(50_000)), "{}", largest.text);
}

#[tokio::test]
async fn a_sale_is_opened_and_closed_everywhere() {
    let world = world().await;
    let other = world.start_another().await;
    let (admin, fan) = (world.administrator().await, world.user("1000000").await);
    let mut scheduled = festival();
    scheduled["saleOpensAt"] = json!("2999-01-01T00:00:00Z");
    let concert = made(&world, &admin, &scheduled).await;
    let pass = world.admit(&fan, &concert).await;
    let body = |seat: usize| json!({ "concertId": concert.id, "seatId": concert.seats[seat] });
    let attempt = async |seat| world.post("/reservation", &body(seat)).by(&fan).pass(&pass).send().await;
    let status = async || world.get_from(other, &format!("/concerts/{}", concert.id)).await.json["status"].clone();
    let soon = async |wanted: &str| {
        eventually("the other process knows it", async || (status().await == *wanted).then_some(())).await;
    };
    attempt(0).await.assert_problem(409, "not_on_sale");
    soon("scheduled").await;
    let path = |action: &str| format!("/admin/concerts/{}/{action}", concert.id);
    for _ in 0..2 {
        let opened = world.post(&path("open"), &json!({})).by(&admin).send().await;
        assert_eq!((opened.status.as_u16(), &opened.json["status"]), (200, &json!("on_sale")), "{}", opened.text);
    }
    let held = attempt(0).await;
    assert_eq!(held.status, 200, "{}", held.text);
    soon("on_sale").await;
    for _ in 0..2 {
        let closed = world.post(&path("close"), &json!({})).by(&admin).send().await;
        assert_eq!((closed.status.as_u16(), &closed.json["status"]), (200, &json!("closed")), "{}", closed.text);
    }
    attempt(1).await.assert_problem(409, "sales_closed");
    soon("closed").await;
    world
        .post_to(other, "/reservation", &body(1))
        .by(&fan)
        .pass(&pass)
        .send()
        .await
        .assert_problem(409, "sales_closed");
    // What is held can still be paid for.
    let pay = json!({ "reservationId": held.uuid("reservationId") });
    assert_eq!(world.post("/payment", &pay).by(&fan).send().await.status, 200);
    world.post(&path("open"), &json!({})).by(&admin).send().await;
    assert_eq!(attempt(1).await.status, 200);
    // Doing what is done leaves no record.
    assert_eq!(actions(&world, &admin).await, ["open", "close", "open", "create"]);

    world.execute("UPDATE concerts SET concert_date = now_utc()::date - 1").await;
    world.post(&path("open"), &json!({})).by(&admin).send().await.assert_problem(409, "sales_closed");
}

#[tokio::test]
async fn an_edit_changes_what_is_given_and_prices_of_what_is_not_sold() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("100").await);
    let concert = world.concert(3, "10").await;
    let path = format!("/admin/concerts/{}", concert.id);
    let edit = async |body: Value| world.patch(&path, &body).by(&admin).send().await;
    let sold = world.hold(&fan, &concert, 0).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": sold })).by(&fan).send().await.status, 200);
    let held = world.hold(&fan, &concert, 1).await;
    let edited = edit(json!({
        "name": "새 이름", "venue": "New Hall", "date": "2998-12-31", "seatsPerUser": 3,
        "saleClosesAt": "2998-01-01T00:00:00Z", "prices": [{ "section": "A", "price": 25.5 }],
    }))
    .await;
    assert_eq!(edited.status, 200, "{}", edited.text);
    assert_eq!(
        (&edited.json["name"], &edited.json["saleClosesAt"]),
        (&json!("새 이름"), &json!("2998-01-01T00:00:00.000Z"))
    );
    let public = world.get(&format!("/concerts/{}", concert.id)).send().await;
    assert_eq!((&public.json["date"], &public.json["seatsPerUser"]), (&json!("2998-12-31"), &json!(3)));
    let prices = "SELECT string_agg(price::text, ' ' ORDER BY seat_number) FROM seats";
    assert_eq!(world.sql(prices).await, "10.00 25.50 25.50");
    // Who was told a price pays that price.
    let paid = world.post("/payment", &json!({ "reservationId": held })).by(&fan).send().await;
    assert_eq!((paid.status.as_u16(), &paid.json["amount"]), (200, &json!(10.0)));
    let next = world.hold(&fan, &concert, 2).await;
    let reservation = world.get(&format!("/reservation/{next}")).by(&fan).send().await;
    assert_eq!(reservation.json["amount"], 25.5);

    let audit = world.get("/admin/audit").by(&admin).send().await;
    let change = &audit.json["data"][0];
    assert_eq!((&change["action"], &change["before"]["name"]), (&json!("change"), &json!("콘서트")));
    assert_eq!(change["before"]["prices"], json!([{ "section": "A", "price": 10.0 }]));
    assert_eq!(change["after"]["prices"], json!([{ "section": "A", "price": 25.5 }]));

    // `null` takes a time away; nothing at all changes nothing and leaves no record.
    assert_eq!(edit(json!({ "saleClosesAt": null })).await.json["saleClosesAt"], json!(null));
    for nothing in [json!({}), json!({ "saleClosesAt": null }), json!({ "name": "새 이름" })] {
        assert_eq!(edit(nothing).await.status, 200);
    }
    assert_eq!(actions(&world, &admin).await, ["change", "change"]);

    let before = world.everything().await;
    edit(json!({ "prices": [{ "section": "A", "price": 1 }, { "section": "X", "price": 1 }] }))
        .await
        .assert_problem(404, "not_found");
    for body in [
        json!({ "saleOpensAt": "2030-01-02T00:00:00Z", "saleClosesAt": "2030-01-01T00:00:00Z" }),
        json!({ "prices": [{ "section": "A", "price": 1 }, { "section": "A", "price": 2 }] }),
        json!({ "prices": vec![json!({ "section": "A", "price": 1 }); 101] }),
        json!({ "name": null }),
        json!({ "name": null, "id": UUID }),
        json!({ "status": "on_sale" }),
        json!({ "seatsPerUser": 0 }),
    ] {
        edit(body).await.assert_problem(400, "invalid_request");
    }
    assert_eq!(world.everything().await, before);

    // A buyer has the seat's row: the administrator is told to come back, and the buyer is not kept waiting.
    let mut buying = world.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM seats WHERE seat_number = 3 FOR UPDATE").execute(&mut *buying).await.unwrap();
    edit(json!({ "prices": [{ "section": "A", "price": 1 }] })).await.assert_problem(503, "service_unavailable");
    buying.rollback().await.unwrap();
    assert_eq!(world.everything().await, before);
    world.assert_invariants().await;
}

#[tokio::test]
async fn sections_are_added_once_whoever_adds_them() {
    let world = world().await;
    let other = world.start_another().await;
    let admin = world.administrator().await;
    let concert = world.concert(1, "10").await;
    assert_eq!(world.get(&format!("/concerts/{}/seats", concert.id)).send().await.json.as_array().unwrap().len(), 1);
    let path = format!("/admin/concerts/{}/sections", concert.id);
    let body = json!({ "sections": [{ "name": "B", "price": 20, "rows": [{ "seats": 2 }, { "seats": 3 }] }] });
    // Both wait for the concert's row, and are let go at the same time.
    let mut held = world.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM concerts FOR UPDATE").execute(&mut *held).await.unwrap();
    let (one, another, ()) = tokio::join!(
        world.post(&path, &body).by(&admin).send(),
        world.post_to(other, &path, &body).by(&admin).send(),
        async {
            world.waiting_for_locks("2").await;
            held.rollback().await.unwrap();
        }
    );
    let (done, refused) = if one.status == 200 { (one, another) } else { (another, one) };
    assert_eq!((done.status.as_u16(), &done.json["seats"]["total"]), (200, &json!(6)), "{}", done.text);
    refused.assert_problem(409, "section_exists");
    assert_eq!(
        world.sql("SELECT string_agg(section || seat_number, ' ' ORDER BY section, seat_number) FROM seats").await,
        "A1 B-11 B-12 B-21 B-22 B-23"
    );
    assert_eq!(actions(&world, &admin).await, ["add_sections"]);
    eventually("they can be seen", async || {
        let seats = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
        (seats.json.as_array().unwrap().len() == 6).then_some(())
    })
    .await;
    let too_many = json!({ "sections": [{ "name": "C", "price": 1, "rows": vec![json!({ "seats": 1 }); 998] }] });
    world.post(&path, &too_many).by(&admin).send().await.assert_problem(400, "invalid_request");
    assert_eq!(world.sql("SELECT count(*) FROM seats").await, "6");
}

#[tokio::test]
async fn what_is_not_announced_is_seen_by_administrators_alone() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("0").await);
    let mut secret = festival();
    secret["announcedAt"] = json!("2998-01-01T00:00:00.000Z");
    let concert = made(&world, &admin, &secret).await;
    let public = format!("/concerts/{}", concert.id);
    for path in [public.clone(), format!("{public}/seats"), format!("{public}/seats/events")] {
        world.get(&path).send().await.assert_problem(404, "not_found");
    }
    assert_eq!(world.get("/concerts").send().await.json["data"], json!([]));
    let pass = world.admit(&fan, &concert).await;
    let body = json!({ "concertId": concert.id, "seatId": concert.seats[0] });
    world.post("/reservation", &body).by(&fan).pass(&pass).send().await.assert_problem(404, "not_found");
    assert_eq!(world.get("/admin/concerts").by(&admin).send().await.json["pagination"]["totalItems"], 1);
    let path = format!("/admin/concerts/{}", concert.id);
    assert_eq!(world.patch(&path, &json!({ "announcedAt": null })).by(&admin).send().await.status, 200);
    assert_eq!(world.get(&public).send().await.status, 200);
    assert_eq!(world.post("/reservation", &body).by(&fan).pass(&pass).send().await.status, 200);
}

#[tokio::test]
async fn the_record_is_read_page_by_page_and_never_changed() {
    let world = world().await;
    let admin = world.administrator().await;
    let (first, second) = (made(&world, &admin, &festival()).await, made(&world, &admin, &festival()).await);
    for name in ["a", "b", "c"] {
        world.patch(&format!("/admin/concerts/{}", first.id), &json!({ "name": name })).by(&admin).send().await;
    }
    let page = async |query: &str| world.get(&format!("/admin/audit?{query}")).by(&admin).send().await;
    let names = |answer: &Answer| -> Vec<Value> {
        answer.json["data"].as_array().unwrap().iter().map(|change| change["after"]["name"].clone()).collect()
    };
    let newest = page("limit=2").await;
    assert_eq!(names(&newest), ["c", "b"]);
    let next = page(&format!("limit=100&cursor={}", newest.json["nextCursor"].as_str().unwrap())).await;
    assert_eq!(
        (names(&next), &next.json["nextCursor"]),
        (vec![json!("a"), json!("여름 축제"), json!("여름 축제")], &json!(null))
    );
    let of_second = page(&format!("concertId={}", second.id)).await;
    assert_eq!(of_second.json["data"].as_array().unwrap().len(), 1);
    for bad in ["cursor=x", "limit=0", "limit=101", "concertId=7"] {
        page(bad).await.assert_problem(400, "invalid_request");
    }
    for statement in ["UPDATE admin_changes SET action = 'x'", "DELETE FROM admin_changes", "TRUNCATE admin_changes"] {
        let error = sqlx::raw_sql(statement).execute(&world.pool).await.unwrap_err();
        assert_eq!(
            error.as_database_error().and_then(|e| e.constraint()),
            Some("admin_changes_append_only"),
            "{statement}"
        );
    }
}
