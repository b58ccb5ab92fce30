//! Demo data.

use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn demo_data_is_whole_sells_and_is_the_same_when_loaded_again() {
    let world = world().await;
    let db = core_api::store::postgres::Db::new(&world.database_url, 2).unwrap();
    core_api::demo::load(&db).await.unwrap();
    let first = world.everything().await;
    core_api::demo::load(&db).await.unwrap();
    assert_eq!(world.everything().await, first);
    world.assert_invariants().await;

    let list = world.get("/concerts?limit=100").send().await;
    let seats: Vec<(i64, i64, &str)> = list.json["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            (c["totalSeats"].as_i64().unwrap(), c["availableSeats"].as_i64().unwrap(), c["status"].as_str().unwrap())
        })
        .collect();
    let expected = [
        (10, 0, "sold_out"),
        (50, 50, "on_sale"),
        (400, 400, "on_sale"),
        (1_000, 1_000, "on_sale"),
        (20_000, 20_000, "on_sale"),
        (200, 200, "scheduled"),
    ];
    assert_eq!(seats, expected);
    for (email, balance) in
        [("alice@example.com", 500_000.0), ("bob@example.com", 500_000.0), ("staff@example.com", 0.0)]
    {
        let login = json!({ "userId": email, "password": "onsale-demo" });
        let token = world.post("/auth/login", &login).send().await.json["token"].as_str().unwrap().to_owned();
        let answer = world.get("/balance").header("authorization", &format!("Bearer {token}")).send().await;
        assert_eq!(answer.json["balance"], balance, "{email}");
    }
    assert_eq!(
        world
            .sql("SELECT string_agg(concat_ws(' ', role, email), ', ' ORDER BY role) FROM users WHERE role <> 'user'")
            .await,
        "admin admin@example.com, staff staff@example.com"
    );
    assert_eq!(world.sql("SELECT count(*) FROM seats WHERE seat_number > 50 OR price <= 0").await, "0");

    // Months later the dates are ahead again, and what people did meanwhile stays.
    world.shift_database_clock("100 days").await;
    core_api::demo::load(&db).await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM concerts WHERE concert_date <= now_utc()::date").await, "0");
    assert_eq!(world.everything().await, first);
}
