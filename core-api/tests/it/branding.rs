//! What the pages of a concert show of its organiser.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{Concert, Person, World, eventually, world};

/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

fn path(concert: &Concert) -> String {
    format!("/admin/concerts/{}/branding", concert.id)
}

async fn change(world: &World, admin: &Person, concert: &Concert, body: &Value) -> Answer {
    let answer = world.patch(&path(concert), body).by(admin).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// Another picture than [`PNG`]: with a comment of this length behind its header.
fn another(length: usize) -> String {
    let png = STANDARD.decode(PNG).unwrap();
    let (head, rest) = png.split_at(33);
    let comment = [&u32::try_from(length).unwrap().to_be_bytes()[..], b"tEXt", &vec![b'x'; length], &[0; 4]].concat();
    STANDARD.encode([head, &comment, rest].concat())
}

#[tokio::test]
async fn it_is_changed_in_parts_shown_to_everybody_and_recorded() {
    let world = world().await;
    let other = world.start_another().await;
    let (admin, concert) = (world.administrator().await, world.concert(1, "10").await);
    let public = format!("/concerts/{}", concert.id);
    let none = json!({ "concertId": concert.id, "colour": null, "message": null, "logo": null });
    assert_eq!(world.get(&path(&concert)).by(&admin).send().await.json, none);
    assert!(world.get(&public).send().await.json.get("branding").is_none(), "as before");

    let message = json!({ "ko": "문은 <b>6시</b>에 열립니다.", "en": "Doors open at \"6\"." });
    let told = change(&world, &admin, &concert, &json!({ "colour": "#B3005E", "message": message })).await;
    assert_eq!((&told.json["colour"], &told.json["message"]), (&json!("#b3005e"), &message));
    let logo = change(&world, &admin, &concert, &json!({ "logo": PNG })).await;
    assert_eq!(logo.json["logo"], json!({ "type": "image/png", "width": 1, "height": 1, "data": PNG }));
    assert_eq!(logo.json["message"], message, "what is left out stays");
    assert_eq!(world.get(&path(&concert)).by(&admin).send().await.json, logo.json);

    // At once where it was changed, within a second elsewhere; lists do without.
    let shown = world.get(&public).send().await.json["branding"].clone();
    let url = shown["logo"]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{public}/logo/")), "{url}");
    assert_eq!((&shown["colour"], &shown["message"]), (&json!("#b3005e"), &message));
    eventually("the other process shows it", async || {
        (world.get_from(other, &public).await.json["branding"] == shown).then_some(())
    })
    .await;
    assert!(!world.get("/concerts").send().await.text.contains("branding"));

    // What changes nothing leaves no record, and taking all of it away leaves nothing to show.
    change(&world, &admin, &concert, &json!({ "colour": "#b3005e", "logo": PNG })).await;
    change(&world, &admin, &concert, &json!({})).await;
    let gone = change(&world, &admin, &concert, &json!({ "colour": null, "message": null, "logo": null })).await;
    assert_eq!(gone.json, none);
    assert!(world.get(&public).send().await.json.get("branding").is_none());
    let audit = world.get("/admin/audit").by(&admin).send().await.json["data"].clone();
    let steps: Vec<&Value> = audit.as_array().unwrap().iter().map(|change| &change["action"]).collect();
    assert_eq!(steps, ["brand", "brand", "brand"]);
    assert_eq!(audit[1]["before"]["logo"], json!(null));
    assert_eq!((&audit[1]["after"]["logo"]["width"], &audit[1]["changedBy"]), (&json!(1), &json!(admin.id)));
    assert!(!audit.to_string().contains(PNG), "a record holds no file");
}

#[tokio::test]
async fn a_logo_is_at_its_address_as_long_as_it_is_the_concert_s() {
    let world = world().await;
    let (admin, concert) = (world.administrator().await, world.concert(1, "10").await);
    let address = async || {
        let shown = world.get(&format!("/concerts/{}", concert.id)).send().await;
        shown.json["branding"]["logo"]["url"].as_str().unwrap().to_owned()
    };
    change(&world, &admin, &concert, &json!({ "logo": PNG })).await;
    let first = address().await;
    let file = world.get(&first).send().await;
    assert_eq!((file.status, file.bytes), (StatusCode::OK, STANDARD.decode(PNG).unwrap()));
    for (name, value) in [
        ("content-type", "image/png"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ] {
        assert_eq!(file.headers.get(name).unwrap(), value);
    }

    change(&world, &admin, &concert, &json!({ "logo": another(9) })).await;
    let second = address().await;
    assert_ne!(first, second);
    assert_eq!(world.get(&second).send().await.status, 200);
    world.get(&first).send().await.assert_problem(404, "not_found");
    // Nobody gets at another concert's, nor past the address.
    let other = world.concert(1, "10").await;
    let elsewhere = second.replace(&concert.id.to_string(), &other.id.to_string());
    world.get(&elsewhere).send().await.assert_problem(404, "not_found");
    world.get(&format!("/concerts/{}/logo/%2e%2e", concert.id)).send().await.assert_problem(404, "not_found");
    world.get("/concerts/1/logo/0123456789abcdef").send().await.assert_problem(400, "invalid_request");
    // The former one again.
    change(&world, &admin, &concert, &json!({ "logo": PNG })).await;
    assert_eq!(world.get(&first).send().await.status, 200);

    // What is not announced is nowhere, for whoever guesses the address.
    world.execute("UPDATE concerts SET announced_at = now_utc() + interval '1 hour'").await;
    let hidden = async || (world.get(&first).send().await.status == 404).then_some(());
    eventually("it is hidden", hidden).await;
}

#[tokio::test]
async fn what_is_no_branding_is_refused_and_changes_nothing() {
    let world = world().await;
    let (admin, concert) = (world.administrator().await, world.concert(1, "10").await);
    let message = |ko: &str, en: &str| json!({ "message": { "ko": ko, "en": en } });
    let logo = |file: &[u8]| json!({ "logo": STANDARD.encode(file) });
    let too_long = "가".repeat(201);
    for (body, said) in [
        (json!({ "colour": "red" }), "colour"),
        (json!({ "colour": "#12345" }), "colour"),
        (json!({ "colour": "#123456;}" }), "colour"),
        (json!({ "colour": 7 }), "colour"),
        (message(&too_long, "x"), "message.ko"),
        (message("x", ""), "message.en"),
        (message("x", "a\nb"), "message.en"),
        (message("x", "a\u{0}"), "message.en"),
        (json!({ "message": { "ko": "x" } }), "message"),
        (json!({ "logo": "not base64" }), "base64"),
        (logo(b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script/></svg>"), "PNG, JPEG or WebP"),
        (logo(b""), "PNG, JPEG or WebP"),
        (json!({ "logo": another(3_072) }), "3072 bytes"),
        (json!({ "colour": "#123456", "style": "x" }), "style"),
        (json!({ "colour": "#123456", "logo": "" }), "PNG, JPEG or WebP"),
    ] {
        let answer = world.patch(&path(&concert), &body).by(&admin).header("accept-language", "en").send().await;
        answer.assert_problem(400, "invalid_request");
        assert!(answer.json["message"].as_str().unwrap().contains(said), "{said}: {}", answer.text);
    }
    let huge = json!({ "logo": another(60_000) });
    world.patch(&path(&concert), &huge).by(&admin).send().await.assert_problem(413, "payload_too_large");
    assert_eq!(
        world.sql("SELECT (SELECT count(*) FROM concert_branding) + (SELECT count(*) FROM admin_changes)").await,
        "0"
    );
    // As long as it may be: 200 characters, however many bytes.
    change(&world, &admin, &concert, &message(&"가".repeat(200), &"🎫".repeat(200))).await;
    let largest = another(3_072 - 70 - 12);
    assert_eq!(STANDARD.decode(&largest).unwrap().len(), 3_072);
    change(&world, &admin, &concert, &json!({ "logo": largest })).await;
}

#[tokio::test]
async fn the_table_refuses_what_pages_could_not_show() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let whole = format!(
        "INSERT INTO concert_branding (concert_id, logo, logo_kind, logo_width, logo_height, logo_version)
         VALUES ('{}', 'x', 'png', 1, 1, 'x')",
        concert.id
    );
    world.execute(&whole).await;
    for (change, constraint) in [
        ("colour = '#FFFFFF'", "concert_branding_colour_check"),
        ("message_ko = 'x'", "concert_branding_message_check"),
        ("logo_version = NULL", "concert_branding_logo_check"),
        ("logo_kind = 'svg'", "concert_branding_logo_kind_check"),
        ("logo_width = 1025", "concert_branding_logo_width_check"),
        ("logo = repeat('x', 3073)::bytea", "concert_branding_logo_length_check"),
    ] {
        let statement = format!("UPDATE concert_branding SET {change}");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.pool).await.unwrap_err();
        let violated = error.as_database_error().and_then(|error| error.constraint()).map(str::to_owned);
        assert_eq!(violated.as_deref(), Some(constraint), "{change}: {error}");
    }
}
