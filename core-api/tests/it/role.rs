//! core-api's role in the database, as `docker-compose.yml` has it: it may do what it has to, and no more.

use chrono::{TimeDelta, Utc};
use core_api::store::postgres::Db;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use stack::postgres::{Postgres, PostgresOptions};

use crate::card::{CardWorld, card_world_on};
use crate::client::Answer;
use crate::support::{Concert, Options, Person};
use crate::webhook_receiver::{LOCAL, Receiver, subscribe};

/// What `docker-compose.yml` runs when it makes the database.
const ROLES: &str = include_str!("../../../docker/postgres/10-roles.sh");

/// A server whose new databases have that done to them.
async fn server_with_roles() -> Postgres {
    let postgres = tokio::task::spawn_blocking(|| Postgres::start(&PostgresOptions::default())).await.unwrap().unwrap();
    let sql = ROLES.split("<<'SQL'\n").nth(1).unwrap().split("\nSQL").next().unwrap();
    let sql = sql.replace(":'app_password'", "'x'").replace(":\"owner\"", "onsale");
    // This server has the gateways' role already.
    let sql: Vec<&str> = sql.lines().filter(|line| !line.starts_with("CREATE ROLE gateway")).collect();
    let template = PgPool::connect(&postgres.server().admin_url("template1")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.join("\n"))).execute(&template).await.unwrap();
    template.close().await;
    postgres
}

async fn ask(world: &CardWorld, method: Method, path: &str, body: &Value, person: &Person) -> Answer {
    let answer = world.request(method.clone(), path).json(body).by(person).send().await;
    assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
    answer
}

/// What users, administrators and the staff do.
async fn live(world: &CardWorld, concert: &Concert, admin: &Person) {
    let person = world.user("100").await;
    let fan = json!({ "username": "A", "email": "a@example.com", "password": "a long enough password" });
    let signed_up = world.post("/auth/signup", &fan).send().await;
    assert_eq!(signed_up.status, 200, "{}", signed_up.text);
    let refresh = json!({ "refreshToken": signed_up.json["refreshToken"] });
    assert_eq!(world.post("/auth/refresh", &refresh).send().await.status, 200);

    let given_back = world.hold(&person, concert, 0).await;
    ask(world, Method::POST, &format!("/reservation/{given_back}/extend"), &json!({}), &person).await;
    let waitlist = format!("/concerts/{}/waitlist", concert.id);
    let waiting = world.user("0").await;
    ask(world, Method::POST, &waitlist, &json!({}), &waiting).await;
    ask(world, Method::DELETE, &format!("/reservation/{given_back}"), &json!({}), &person).await;
    ask(world, Method::DELETE, &waitlist, &json!({}), &waiting).await;

    let bought = world.buy(&person, concert, 1).await;
    let ticket = ask(world, Method::GET, &format!("/reservation/{bought}/ticket"), &json!({}), &person).await;
    let code = json!({ "code": ticket.json["code"] });
    ask(world, Method::POST, "/admin/check-ins", &code, admin).await;
    ask(world, Method::DELETE, &format!("/admin/check-ins/{bought}"), &json!({}), admin).await;
    ask(world, Method::DELETE, &format!("/reservation/{bought}"), &json!({}), &person).await;
    for (seat, token) in [(2, "tok_ok"), (3, "tok_declined"), (4, "tok_capture_fails"), (5, "tok_drop_response")] {
        let (buyer, reservation) = world.holder(concert, seat).await;
        world.pay(&buyer, reservation, token).await;
        world.settled().await;
        if token == "tok_ok" {
            ask(world, Method::DELETE, &format!("/reservation/{reservation}"), &json!({}), &buyer).await;
        }
    }
    world.settled().await;

    let of_concert = format!("/admin/concerts/{}", concert.id);
    let seats = json!({ "seatIds": [concert.seats[6]] });
    ask(world, Method::POST, &format!("{of_concert}/held-back"), &seats, admin).await;
    ask(world, Method::DELETE, &format!("{of_concert}/held-back"), &seats, admin).await;
    ask(world, Method::PATCH, &of_concert, &json!({ "name": "B", "prices": [{ "section": "A", "price": 5 }] }), admin)
        .await;
    ask(world, Method::PATCH, &format!("{of_concert}/branding"), &json!({ "colour": "#b3005e" }), admin).await;
    ask(world, Method::PATCH, &format!("{of_concert}/branding"), &json!({ "colour": null }), admin).await;
    ask(world, Method::POST, &format!("{of_concert}/close"), &json!({}), admin).await;
    for path in ["/admin/audit", &format!("{of_concert}/sales"), &format!("{of_concert}/orders.csv")] {
        ask(world, Method::GET, path, &json!({}), admin).await;
    }
}

#[tokio::test]
async fn core_api_can_do_its_work_with_the_rights_of_its_role() {
    let postgres = server_with_roles().await;
    let server = Some(postgres.server().clone());
    let options = Options { settings: LOCAL.to_vec(), postgres: server, role: Some("app"), ..Options::default() };
    let world = card_world_on(options).await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    let (webhook, _) = subscribe(&world, &admin, &receiver.url, None).await;
    let concert = world.concert(8, "10").await;
    live(&world, &concert, &admin).await;
    let webhook = format!("/admin/webhooks/{webhook}");
    ask(&world, Method::POST, &format!("{webhook}/rotate-secret"), &json!({}), &admin).await;
    ask(&world, Method::DELETE, &webhook, &json!({}), &admin).await;

    // What is done beside the requests, now that everything is old.
    world.shift_database_clock("40 days").await;
    world.execute("UPDATE provider_events SET received_at = received_at - interval '2 days'").await;
    let db = Db::new(&world.database_url.replace("//onsale@", "//app@"), 1).unwrap();
    assert_ne!(db.purge_events(10).await.unwrap(), 0);
    db.purge_keys(10).await.unwrap();
    db.purge_outbox(10).await.unwrap();
    db.bury_paused(TimeDelta::hours(1), 10).await.unwrap();
    db.purge_sessions(Utc::now() + TimeDelta::days(40), 10).await.unwrap();
    db.sweep(10).await.unwrap();
    world.assert_books().await;

    let app = PgPool::connect(&world.database_url.replace("//onsale@", "//app@")).await.unwrap();
    for forbidden in [
        "DELETE FROM admin_changes",
        "UPDATE admin_changes SET action = 'x'",
        "DELETE FROM concert_branding",
        "DELETE FROM provider_payments",
        "UPDATE provider_events SET state = 'x'",
        "TRUNCATE payments",
        "CREATE TABLE mine ()",
        "ALTER TABLE users DROP COLUMN balance",
        "SELECT grant_queue_record('app')",
    ] {
        let refused = sqlx::query(forbidden).execute(&app).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
}
