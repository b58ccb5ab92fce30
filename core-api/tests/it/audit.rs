//! `core-api audit`: silent where all is well, and not where something is broken.

use std::process::Output;

use serde_json::json;

use crate::support::world;

async fn audit(url: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_core-api"));
    command.arg("audit").env("DATABASE_URL", url);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_rule_is_told_and_a_broken_one_is_an_exit_status() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let person = world.user("50").await;
    for seat in 0..2 {
        let reservation = world.hold(&person, &concert, seat).await;
        let body = json!({ "reservationId": reservation });
        assert_eq!(world.post("/payment", &body).by(&person).key(&format!("k{seat}")).send().await.status, 200);
        if seat == 0 {
            assert_eq!(world.delete(&format!("/reservation/{reservation}")).by(&person).send().await.status, 200);
        }
    }
    world.hold(&person, &concert, 2).await;
    let before = world.everything().await;
    let sound = audit(&world.database_url).await;
    let text = String::from_utf8(sound.stdout).unwrap();
    assert_eq!(sound.status.code(), Some(0), "{text}");
    for name in invariants::NAMES {
        let line = text.lines().find(|line| line.contains(&format!(" {name} "))).unwrap_or_else(|| panic!("{name}"));
        assert!(line.starts_with("ok          0 "), "{line}");
    }
    assert_eq!(world.everything().await, before);
    // Money from nowhere.
    world.execute("UPDATE users SET balance = balance + 1").await;
    let broken = audit(&world.database_url).await;
    let text = String::from_utf8(broken.stdout).unwrap();
    assert_eq!(broken.status.code(), Some(1), "{text}");
    let told: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("BROKEN      1  ")?.split(' ').next()).collect();
    assert_eq!(told, ["balance_is_ledger", "money_is_conserved"], "{text}");
    assert!(text.contains(&format!("user {} has 41.00, entries say 40.00", person.id)), "{text}");
}

#[tokio::test]
async fn an_audit_that_can_not_be_made_is_no_verdict() {
    let port = stack::ports::free_port().unwrap();
    let away = audit(&format!("postgres://app:hunter2@127.0.0.1:{port}/x")).await;
    let text = String::from_utf8(away.stderr).unwrap();
    assert_eq!((away.status.code(), away.stdout.len()), (Some(2), 0), "{text}");
    assert!(text.contains("could not be made") && !text.contains("hunter2"), "{text}");
}
