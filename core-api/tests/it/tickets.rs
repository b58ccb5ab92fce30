//! Tickets: who has one, what it says, and who can verify it.

use common::ids::{ConcertId, ReservationId};
use common::tokens::{EntryTicket, EntryTicketSigner};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Concert, ENTRY_TICKET_KEY, Options, Person, World, world, world_with};

const NEW_KEY: &str = "YS1uZXcta2V5LXRoYXQtc2lnbnMtZnJvbS1ub3ctb24";

fn ticket_of(reservation: Uuid) -> String {
    format!("/reservation/{reservation}/ticket")
}

fn signer() -> EntryTicketSigner {
    EntryTicketSigner::new(&[ENTRY_TICKET_KEY]).unwrap()
}

async fn code(world: &World, person: &Person, reservation: Uuid) -> String {
    let answer = world.get(&ticket_of(reservation)).by(person).send().await;
    answer.json["code"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

/// A hall whose seats are in two sections, the second of which has an awkward name.
async fn hall(world: &World) -> Concert {
    let concert = world.concert(60, "10").await;
    world.execute("UPDATE seats SET section = '나동 \"<b>&' WHERE section = '001'").await;
    concert
}

#[tokio::test]
async fn what_is_paid_for_has_a_ticket() {
    let world = world().await;
    let concert = hall(&world).await;
    let person = world.user("20").await;
    let reservation = world.buy(&person, &concert, 52).await;
    let answer = world.get(&ticket_of(reservation)).by(&person).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("private, no-store")));
    let paid = world.get(&format!("/reservation/{reservation}")).by(&person).send().await;
    assert_eq!(paid.json["ticket"], ticket_of(reservation));
    let mut told = answer.json.clone();
    let code = told.as_object_mut().unwrap().remove("code").unwrap();
    let date = world.sql("SELECT concert_date FROM concerts").await;
    let section = paid.json["seats"][0]["section"].clone();
    let expected = json!({
        "reservationId": reservation,
        "concert": { "id": concert.id, "name": "콘서트", "date": date, "venue": "Hall" },
        "seat": { "section": section, "seatNumber": paid.json["seats"][0]["seatNumber"] },
        "issuedAt": paid.json["completedAt"],
    });
    assert_eq!(told, expected);
    let seat = format!("{}-{}", section.as_str().unwrap(), expected["seat"]["seatNumber"]);
    let says = EntryTicket { reservation: reservation.into(), concert: concert.id, seat };
    assert_eq!(signer().verify(code.as_str().unwrap()), Ok(says));
    assert_eq!(world.get(&ticket_of(reservation)).by(&person).send().await.json["code"], code, "the same each time");
    assert!(!answer.text.contains(&person.id.to_string()), "a ticket is shown to strangers");
}

#[tokio::test]
async fn what_is_not_paid_for_has_none_and_says_why() {
    let world = world().await;
    let concert = world.concert(4, "10").await;
    let person = world.user("40").await;
    let (pending, released) = (world.hold(&person, &concert, 0).await, world.hold(&person, &concert, 1).await);
    let refunded = world.buy(&person, &concert, 2).await;
    for id in [released, refunded] {
        assert_eq!(world.delete(&format!("/reservation/{id}")).by(&person).send().await.status, 200);
    }
    for suffix in ["", ".svg"] {
        for (id, status, error) in [
            (pending, 409, "not_paid"),
            (released, 410, "reservation_expired"),
            (refunded, 410, "ticket_revoked"),
            (Uuid::now_v7(), 404, "not_found"),
        ] {
            world.get(&format!("{}{suffix}", ticket_of(id))).by(&person).send().await.assert_problem(status, error);
        }
        let malformed = world.get(&format!("/reservation/7/ticket{suffix}")).by(&person).send().await;
        malformed.assert_problem(400, "invalid_request");
    }
    let view = world.get(&format!("/reservation/{pending}")).by(&person).send().await;
    assert_eq!(view.json["ticket"], Value::Null, "{}", view.text);
}

#[tokio::test]
async fn a_ticket_is_its_owner_s_alone() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (owner, stranger) = (world.user("10").await, world.user("10").await);
    let reservation = world.buy(&owner, &concert, 0).await;
    let staff = world.colleague(common::tokens::Role::Staff).await;
    for suffix in ["", ".svg"] {
        let path = format!("{}{suffix}", ticket_of(reservation));
        assert_eq!(world.get(&path).by(&owner).send().await.status, 200);
        for other in [&stranger, &staff] {
            world.get(&path).by(other).send().await.assert_problem(404, "not_found");
        }
        world.get(&path).send().await.assert_problem(401, "unauthenticated");
        let forged = format!("{}x", owner.session);
        let forged = Person { session: forged, ..owner.clone() };
        world.get(&path).by(&forged).send().await.assert_problem(401, "invalid_session");
    }
}

#[tokio::test]
async fn a_seat_that_is_sold_again_has_another_ticket() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (first, second) = (world.user("10").await, world.user("10").await);
    let before = world.buy(&first, &concert, 0).await;
    let old = code(&world, &first, before).await;
    assert_eq!(world.delete(&format!("/reservation/{before}")).by(&first).send().await.status, 200);
    let after = world.buy(&second, &concert, 0).await;
    let new = code(&world, &second, after).await;
    let [old, new] = [old, new].map(|code| signer().verify(&code).unwrap());
    assert_eq!((old.concert, &old.seat), (new.concert, &new.seat));
    assert_ne!(old.reservation, new.reservation);
}

/// What a camera would read from a picture that draws its dark modules as rectangles, `M5 6h7v8H5V6`.
fn read_qr(svg: &str) -> String {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>();
    let size = number(svg.split("width=\"").nth(1).unwrap()).unwrap();
    let mut dark = vec![vec![false; size]; size];
    let path = svg.rsplit(" d=\"").next().unwrap().split('"').next().unwrap();
    for rectangle in path.split('M').skip(1) {
        let (left, rest) = rectangle.split_once(' ').unwrap();
        let (top, rest) = rest.split_once('h').unwrap();
        let (width, height) = rest.split_once('v').unwrap();
        let (left, top) = (left.parse::<usize>().unwrap(), top.parse::<usize>().unwrap());
        let (width, height) = (width.parse::<usize>().unwrap(), number(height).unwrap());
        for row in dark.iter_mut().skip(top).take(height) {
            row[left..left + width].fill(true);
        }
    }
    let mut image = rqrr::PreparedImage::prepare_from_bitmap(size, size, |x, y| dark[y][x]);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().unwrap().1
}

#[tokio::test]
async fn the_picture_is_the_code_and_nothing_that_runs() {
    let world = world().await;
    let concert = hall(&world).await;
    let person = world.user("20").await;
    for seat in [0, 59] {
        let reservation = world.buy(&person, &concert, seat).await;
        let answer = world.get(&format!("{}.svg", ticket_of(reservation))).by(&person).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("image/svg+xml")));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("script"), "{policy}");
        for never in ["<script", "href", " on", "<b>", "나동"] {
            assert!(!answer.text.contains(never), "{never}: {}", answer.text);
        }
        assert_eq!(read_qr(&answer.text), code(&world, &person, reservation).await);
    }
}

#[tokio::test]
async fn keys_are_published_and_rotate_while_tickets_stay_good() {
    let both: &str = "YS1uZXcta2V5LXRoYXQtc2lnbnMtZnJvbS1ub3ctb24,dGlja2V0cy1vZi10ZXN0cy1zaWduZWQtYnktdGhpcyE";
    let settings = vec![("ENTRY_TICKET_PRIVATE_KEYS", both)];
    let world = world_with(Options { settings, ..Options::default() }).await;
    let published = world.get("/.well-known/ticket-keys.json").send().await;
    assert_eq!((published.status.as_u16(), published.header("cache-control")), (200, Some("public, max-age=60")));
    let keys: Vec<_> = published.json["keys"].as_array().unwrap().iter().map(|key| key["x"].clone()).collect();
    let public = |seed| Value::from(common::tokens::public_pass_key(seed).unwrap());
    assert_eq!(keys, [public(NEW_KEY), public(ENTRY_TICKET_KEY)]);
    for seed in [NEW_KEY, ENTRY_TICKET_KEY] {
        assert!(!published.text.contains(seed), "a private key is published");
    }
    let concert = world.concert(2, "10").await;
    let person = world.user("20").await;
    let (first, second) = (world.buy(&person, &concert, 0).await, world.buy(&person, &concert, 1).await);
    let new = code(&world, &person, first).await;
    assert!(EntryTicketSigner::new(&[NEW_KEY]).unwrap().verify(&new).is_ok(), "the first key signs");
    // Printed before the key was changed.
    let (reservation, concert): (ReservationId, ConcertId) = (second.into(), concert.id);
    let old = signer().sign(&EntryTicket { reservation, concert, seat: "A-2".to_owned() });
    let staff = world.colleague(common::tokens::Role::Staff).await;
    for code in [new, old] {
        let answer = world.post("/admin/check-ins", &json!({ "code": code })).by(&staff).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}
