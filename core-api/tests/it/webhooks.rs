//! Subscribing, and who may.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Options, World, world, world_with};
use crate::webhook_receiver::{LOCAL, local_world, subscribe};

const URL: &str = "https://hooks.example.com/onsale";

async fn strict_world() -> World {
    world_with(Options { settings: LOCAL[..1].to_vec(), ..Options::default() }).await
}

#[tokio::test]
async fn a_webhook_is_made_listed_and_removed_and_all_of_it_is_kept() {
    let world = local_world().await;
    let admin = world.administrator().await;
    let made = world.post("/admin/webhooks", &json!({ "url": URL })).by(&admin).send().await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let secret = made.json["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 6 + 44, "{secret}");
    assert_eq!((&made.json["status"], &made.json["createdBy"]), (&json!("active"), &json!(admin.id)));
    assert_eq!(made.json["events"].as_array().unwrap().len(), 11);
    let id = made.uuid("webhookId");
    let (other, _) = subscribe(&world, &admin, URL, Some(&["seat.sold", "seat.available"])).await;

    let first = world.get("/admin/webhooks?limit=1").by(&admin).send().await;
    assert_eq!(first.json["data"][0]["webhookId"], json!(other));
    assert_eq!(first.json["data"][0]["events"], json!(["seat.available", "seat.sold"]));
    let cursor = first.json["nextCursor"].as_str().unwrap();
    let second = world.get(&format!("/admin/webhooks?limit=1&cursor={cursor}")).by(&admin).send().await;
    assert_eq!((&second.json["data"][0]["webhookId"], &second.json["nextCursor"]), (&json!(id), &Value::Null));
    assert!(!second.text.contains("secret"), "{}", second.text);

    let path = format!("/admin/webhooks/{id}");
    let removed = world.delete(&path).by(&admin).send().await;
    assert_eq!(removed.json, json!({ "webhookId": id, "status": "removed" }));
    world.delete(&path).by(&admin).send().await.assert_problem(404, "not_found");
    // Of one that is gone too.
    let changes = world.get(&format!("{path}/changes?limit=1")).by(&admin).send().await;
    let about = json!({ "url": URL, "events": null });
    assert_eq!(changes.json["data"][0]["action"], "delete");
    assert_eq!(changes.json["data"][0]["before"], about);
    let cursor = changes.json["nextCursor"].as_str().unwrap();
    let earlier = world.get(&format!("{path}/changes?cursor={cursor}")).by(&admin).send().await;
    let made = &earlier.json["data"][0];
    assert_eq!((&made["action"], &made["after"], &made["changedBy"]), (&json!("create"), &about, &json!(admin.id)));
    let error = sqlx::query("DELETE FROM webhook_changes").execute(&world.pool).await.unwrap_err();
    let violated = error.as_database_error().and_then(|error| error.constraint());
    assert_eq!(violated, Some("webhook_changes_append_only"));
}

#[tokio::test]
async fn administrators_alone_have_webhooks() {
    let world = local_world().await;
    let (admin, person) = (world.administrator().await, world.user("0").await);
    let (id, _) = subscribe(&world, &admin, URL, None).await;
    let event = Uuid::now_v7();
    let requests = || {
        let one = format!("/admin/webhooks/{id}");
        [
            world.post("/admin/webhooks", &json!({ "url": URL })),
            world.get("/admin/webhooks"),
            world.delete(&one),
            world.post(&format!("{one}/rotate-secret"), &json!({})),
            world.post(&format!("{one}/resume"), &json!({})),
            world.get(&format!("{one}/changes")),
            world.get(&format!("{one}/dead-letters")),
            world.post(&format!("{one}/dead-letters/{event}/retry"), &json!({})),
        ]
    };
    for request in requests() {
        request.send().await.assert_problem(401, "unauthenticated");
    }
    for request in requests() {
        request.by(&person).send().await.assert_problem(403, "forbidden");
    }
    assert_eq!(world.sql("SELECT count(*) FROM webhook_changes").await, "1");
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_in_words() {
    let world = strict_world().await;
    let admin = world.administrator().await;
    let secret = |bytes: usize| format!("whsec_{}", "A".repeat(bytes.div_ceil(3) * 4));
    for bad in [
        json!({}),
        json!({ "url": 7 }),
        json!({ "url": "hooks.example.com" }),
        json!({ "url": "http://hooks.example.com/" }),
        json!({ "url": "https://user:word@hooks.example.com/" }),
        json!({ "url": "https://127.0.0.1/" }),
        json!({ "url": "https://[::1]/" }),
        json!({ "url": "https://169.254.169.254/latest/meta-data" }),
        json!({ "url": "https://10.0.0.1:5432/" }),
        json!({ "url": format!("https://hooks.example.com/{}", "x".repeat(2_048)) }),
        json!({ "url": URL, "events": null }),
        json!({ "url": URL, "secret": null }),
        json!({ "url": URL, "events": [] }),
        json!({ "url": URL, "events": ["seat.sold", "seat.sold"] }),
        json!({ "url": URL, "events": ["seat.eaten"] }),
        json!({ "url": URL, "secret": "hunter2" }),
        json!({ "url": URL, "secret": secret(21) }),
        json!({ "url": URL, "secret": secret(66) }),
        json!({ "url": URL, "surprise": true }),
    ] {
        world.post("/admin/webhooks", &bad).by(&admin).send().await.assert_problem(400, "invalid_request");
    }
    let private = world.post("/admin/webhooks", &json!({ "url": "https://10.0.0.1/" })).by(&admin);
    let said = private.header("accept-language", "en").send().await;
    assert_eq!(said.json["message"], "url must lead to a public address.");
    assert_eq!(world.sql("SELECT count(*) FROM webhooks").await, "0");
    for path in ["", "/rotate-secret", "/resume", "/changes", "/dead-letters", "/dead-letters/7/retry"] {
        let path = format!("/admin/webhooks/7{path}");
        let request = match path.rsplit('/').next().unwrap() {
            "7" => world.delete(&path),
            "changes" | "dead-letters" => world.get(&path),
            _ => world.post(&path, &json!({})),
        };
        request.by(&admin).send().await.assert_problem(400, "invalid_request");
    }
    for query in ["cursor=7", "limit=0", "limit=101"] {
        let list = world.get(&format!("/admin/webhooks?{query}")).by(&admin).send().await;
        list.assert_problem(400, "invalid_request");
    }
    let nothing = format!("/admin/webhooks/{}", Uuid::now_v7());
    for request in [
        world.delete(&nothing),
        world.post(&format!("{nothing}/rotate-secret"), &json!({})),
        world.post(&format!("{nothing}/resume"), &json!({})),
        world.get(&format!("{nothing}/changes")),
        world.get(&format!("{nothing}/dead-letters")),
        world.post(&format!("{nothing}/dead-letters/{}/retry", Uuid::now_v7()), &json!({})),
    ] {
        request.by(&admin).send().await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn there_are_ten_at_most_however_many_ask_at_once() {
    let world = local_world().await;
    let admin = world.administrator().await;
    let body = json!({ "url": URL });
    let asked = (0..14).map(|_| world.post("/admin/webhooks", &body).by(&admin).send());
    let answers = futures_util::future::join_all(asked).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert_eq!(refused.len(), 4);
    for answer in refused {
        answer.assert_problem(409, "webhook_limit");
    }
    assert_eq!(world.sql("SELECT count(*) FROM webhooks").await, "10");
}

#[tokio::test]
async fn without_a_key_to_keep_secrets_under_there_are_no_webhooks() {
    let world = world().await;
    let admin = world.administrator().await;
    let answer = world.post("/admin/webhooks", &json!({ "url": URL })).by(&admin).send().await;
    answer.assert_problem(501, "webhooks_not_configured");
    assert_eq!(world.get("/admin/webhooks").by(&admin).send().await.json["data"], json!([]));
}

#[tokio::test]
async fn the_database_does_not_know_the_secret() {
    let world = local_world().await;
    let admin = world.administrator().await;
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let made = world.post("/admin/webhooks", &json!({ "url": URL, "secret": own })).by(&admin).send().await;
    assert_eq!(made.json["secret"], own);
    let kept = world.sql("SELECT encode(sealed_secret, 'base64') FROM webhooks").await;
    assert!(!kept.contains("MfKQ9r8GKYqr"), "{kept}");
    // A nonce of 12 bytes, the 24 of the secret, a tag of 16.
    assert_eq!(world.sql("SELECT octet_length(sealed_secret) FROM webhooks").await, "52");
    assert_eq!(
        world.sql("SELECT count(*) FROM webhook_changes WHERE row_to_json(webhook_changes)::text LIKE '%whsec%'").await,
        "0"
    );
}
