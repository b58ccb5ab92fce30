//! Reading what was paid for.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::world;

#[tokio::test]
async fn payments_are_read_page_by_page_by_their_owner_alone() {
    let world = world().await;
    let concert = world.concert(4, "12.50").await;
    let (person, stranger) = (world.user("50").await, world.user("50").await);
    let mut paid = Vec::new();
    for seat in 0..3 {
        let reservation = world.hold(&person, &concert, seat).await;
        let answer = world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
        paid.push((answer.uuid("paymentId"), reservation));
    }
    let refunded = world.delete(&format!("/reservation/{}", paid[1].1)).by(&person).send().await;
    assert_eq!(refunded.status, 200, "{}", refunded.text);
    let first = world.get("/payment?limit=2").by(&person).send().await;
    let cursor = first.json["nextCursor"].as_str().unwrap().to_owned();
    let second = world.get(&format!("/payment?limit=2&cursor={cursor}")).by(&person).send().await;
    assert_eq!(second.json["nextCursor"], Value::Null);
    let pages = [&first, &second].map(|page| page.json["data"].as_array().unwrap().clone());
    let seen: Vec<Value> = pages.concat();
    let told: Vec<_> = seen.iter().map(|one| (one["paymentId"].clone(), one["reservationId"].clone())).collect();
    let newest_first: Vec<_> = paid.iter().rev().map(|(id, reservation)| (json!(id), json!(reservation))).collect();
    assert_eq!(told, newest_first);
    let statuses: Vec<_> = seen.iter().map(|one| (one["status"].as_str(), one["refundedAt"].is_string())).collect();
    assert_eq!(statuses, [(Some("success"), false), (Some("refunded"), true), (Some("success"), false)]);
    let exact = "\"amount\":12.50,\"paymentMethod\":\"balance\",\"createdAt\":\"20";
    assert!(first.text.contains(exact), "{}", first.text);
    for one in &seen {
        let path = format!("/payment/{}", one["paymentId"].as_str().unwrap());
        assert_eq!(&world.get(&path).by(&person).send().await.json, one);
        world.get(&path).by(&stranger).send().await.assert_problem(404, "not_found");
        world.get(&path).send().await.assert_problem(401, "unauthenticated");
    }
    world.get(&format!("/payment/{}", Uuid::now_v7())).by(&person).send().await.assert_problem(404, "not_found");
    for bad in ["/payment/7", "/payment?cursor=7", "/payment?limit=0", "/payment?limit=101", "/payment?limit=x"] {
        world.get(bad).by(&person).send().await.assert_problem(400, "invalid_request");
    }
    assert_eq!(world.get("/payment").by(&stranger).send().await.json, json!({ "data": [], "nextCursor": null }));
    world.get("/payment").send().await.assert_problem(401, "unauthenticated");
}
