//! What was sold: the report says what the ledger says, and files can be opened without fear.

use std::collections::HashSet;

use serde_json::json;
use uuid::Uuid;

use crate::support::{Concert, Person, World, world};

fn path(concert: &Concert, what: &str) -> String {
    format!("/admin/concerts/{}/{what}", concert.id)
}

async fn bought(world: &World, person: &Person, concert: &Concert, seat: usize) -> Uuid {
    let reservation = world.hold(person, concert, seat).await;
    let paid = world.post("/payment", &json!({ "reservationId": reservation })).by(person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    reservation
}

/// A file's rows, without the head, which is as given.
async fn rows(world: &World, admin: &Person, concert: &Concert, name: &str, head: &str) -> Vec<String> {
    let answer = world.get(&path(concert, &format!("{name}.csv"))).by(admin).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    let file = format!("attachment; filename=\"{name}-{}.csv\"", concert.id);
    assert_eq!(answer.header("content-disposition"), Some(file.as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut lines = answer.text.split("\r\n").map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some(head));
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.last().map(String::as_str), Some(""), "the last line ends as the others do");
    lines[..lines.len() - 1].to_vec()
}

const ORDERS: &str = "time,kind,amount,reservation_id,payment_id,payment_method,user_id,section,seat_number";
const SECTIONS: &str = "section,seats,available,held,sold,held_back,gross,refunds,net";

#[tokio::test]
async fn a_report_is_what_the_ledger_says() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("1000").await);
    // Sections 000 and 001; and another concert, whose money is none of this one's.
    let (concert, other) = (world.concert(52, "10.25").await, world.concert(1, "99").await);
    bought(&world, &fan, &other, 0).await;
    let (kept, returned) = (bought(&world, &fan, &concert, 0).await, bought(&world, &fan, &concert, 51).await);
    assert_eq!(world.delete(&format!("/reservation/{returned}")).by(&fan).send().await.status, 200);
    bought(&world, &fan, &concert, 51).await;
    world.hold(&fan, &concert, 1).await;
    let held_back = json!({ "section": "000", "fromSeatNumber": 3, "toSeatNumber": 6 });
    assert_eq!(world.post(&path(&concert, "held-back"), &held_back).by(&admin).send().await.status, 200);

    let report = world.get(&path(&concert, "sales")).by(&admin).send().await;
    assert_eq!(report.status, 200, "{}", report.text);
    let totals = json!({ "seats": { "total": 52, "available": 45, "held": 1, "sold": 2, "heldBack": 4 },
                         "gross": 30.75, "refunds": 10.25, "net": 20.5 });
    assert_eq!(report.json["totals"], totals);
    assert!(report.text.contains("\"net\":20.50"), "digit by digit: {}", report.text);
    let ledger = format!(
        "SELECT sum(l.amount) FROM ledger_entries l JOIN reservations r ON r.id = l.reservation_id
         WHERE l.account = 'sales' AND r.concert_id = '{}'",
        concert.id
    );
    assert_eq!(world.sql(&ledger).await, "20.50");
    let sections = report.json["sections"].as_array().unwrap();
    let short: Vec<_> = sections.iter().map(|s| (&s["section"], &s["seats"]["sold"], &s["gross"], &s["net"])).collect();
    assert_eq!(
        short,
        [
            (&json!("000"), &json!(1), &json!(10.25), &json!(10.25)),
            (&json!("001"), &json!(1), &json!(20.5), &json!(10.25)),
        ]
    );
    for by in ["day", "hour"] {
        let series =
            world.get(&path(&concert, &format!("sales?by={by}"))).by(&admin).send().await.json["series"].clone();
        assert_eq!(series["by"], by);
        let steps = series["steps"].as_array().unwrap();
        // One, or two where an hour ended just now.
        let sum = |field: &str| steps.iter().map(|step| step[field].as_f64().unwrap()).sum::<f64>();
        assert_eq!((sum("payments"), sum("refunded"), sum("net")), (3.0, 1.0, 20.5));
        assert!(steps[0]["from"].as_str().unwrap().ends_with(":00:00.000Z"), "{series}");
    }
    world.get(&path(&concert, "sales?by=week")).by(&admin).send().await.assert_problem(400, "invalid_request");
    let detail = world.get(&format!("/admin/concerts/{}", concert.id)).by(&admin).send().await;
    assert_eq!(detail.json["sales"], json!({ "gross": 30.75, "refunds": 10.25, "net": 20.5 }));
    assert_eq!(detail.json["seats"], totals["seats"]);

    assert_eq!(
        rows(&world, &admin, &concert, "sales", SECTIONS).await,
        ["000,50,44,1,1,4,10.25,0.00,10.25", "001,2,1,0,1,0,20.50,10.25,10.25"]
    );
    let orders = rows(&world, &admin, &concert, "orders", ORDERS).await;
    let cells: Vec<Vec<&str>> = orders.iter().map(|row| row.split(',').collect()).collect();
    let short: Vec<_> = cells.iter().map(|row| (row[1], row[2], row[5], row[7], row[8])).collect();
    let row = |kind, amount, section, seat| (kind, amount, "balance", section, seat);
    assert_eq!(
        short,
        [
            row("payment", "10.25", "000", "1"),
            row("payment", "10.25", "001", "2"),
            row("refund", "-10.25", "001", "2"),
            row("payment", "10.25", "001", "2"),
        ]
    );
    assert_eq!((cells[0][3], cells[0][6]), (kept.to_string().as_str(), fan.id.to_string().as_str()));
    assert_eq!(cells[1][4], cells[2][4], "a refund is of its payment");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_file_of_any_length_is_whole_and_sums_have_no_bound() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("0").await);
    let concert = world.concert(2_500, "99999.99").await;
    world
        .execute(&format!(
            "WITH sold AS (
                 INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, status, payment_deadline, completed_at)
                 SELECT gen_random_uuid(), '{}', concert_id, id, price, 'completed', now_utc(), now_utc() FROM seats
                 RETURNING id, amount)
             INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
             SELECT sold.id, side.account, CASE side.account WHEN 'user' THEN '{}'::uuid END, side.sign * amount, 'payment', sold.id
             FROM sold, (VALUES ('user', -1), ('sales', 1)) AS side (account, sign)",
            fan.id, fan.id
        ))
        .await;
    let orders = rows(&world, &admin, &concert, "orders", ORDERS).await;
    let reservations: HashSet<&str> = orders.iter().map(|row| row.split(',').nth(3).unwrap()).collect();
    assert_eq!((orders.len(), reservations.len()), (2_500, 2_500), "each once");
    let report = world.get(&path(&concert, "sales")).by(&admin).send().await;
    assert!(report.text.contains("\"net\":249999975.00"), "{}", &report.text[..400]);
}

#[tokio::test]
async fn a_section_that_looks_like_a_formula_is_text() {
    let world = world().await;
    let admin = world.administrator().await;
    let formula = json!({ "name": "a", "date": "2999-01-01", "venue": "b",
                          "sections": [{ "name": "=1+1,\"2\"", "price": 1, "seats": 1 }] });
    let made = world.post("/admin/concerts", &formula).by(&admin).send().await;
    let concert = Concert { id: made.uuid("id").into(), seats: Vec::new() };
    let rows = rows(&world, &admin, &concert, "sales", SECTIONS).await;
    assert_eq!(rows, ["\"'=1+1,\"\"2\"\"\",1,1,0,0,0,0.00,0.00,0.00"]);
}
