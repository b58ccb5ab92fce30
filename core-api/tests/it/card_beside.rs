//! Payments by card, and all that has to know of them: the door, events, reports, waitlists, locks.

use common::ids::ReservationId;
use common::tokens::{EntryTicket, EntryTicketSigner, Role};
use serde_json::json;
use uuid::Uuid;

use crate::card::card_world;
use crate::support::{Concert, ENTRY_TICKET_KEY};

/// The provider takes the money, and nobody notes it, as if whoever did so had died.
const NOTED_BY_NOBODY: &str = "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
     CREATE TRIGGER crash BEFORE UPDATE ON provider_payments FOR EACH ROW WHEN (NEW.state = 'captured') EXECUTE FUNCTION crash()";

/// A ticket's code as our key signs it, whoever has it.
fn code(reservation: Uuid, concert: &Concert) -> String {
    let (reservation, seat) = (ReservationId::from(reservation), "A-1".to_owned());
    EntryTicketSigner::new(&[ENTRY_TICKET_KEY]).unwrap().sign(&EntryTicket { reservation, concert: concert.id, seat })
}

#[tokio::test]
async fn there_is_no_ticket_before_the_money_is_taken() {
    let world = card_world().await;
    let (concert, staff) = (world.concert(1, "10").await, world.colleague(Role::Staff).await);
    let (person, reservation) = world.holder(&concert, 0).await;
    world.execute(NOTED_BY_NOBODY).await;
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 202);
    assert_eq!(world.sql("SELECT status FROM reservations").await, "completed");
    let ticket = format!("/reservation/{reservation}/ticket");
    for path in [&ticket, &format!("{ticket}.svg")] {
        world.get(path).by(&person).send().await.assert_problem(409, "not_paid");
    }
    let check_in = json!({ "code": code(reservation, &concert) });
    world.post("/admin/check-ins", &check_in).by(&staff).send().await.assert_problem(400, "ticket_invalid");
    let list = format!("/admin/concerts/{}/tickets", concert.id);
    assert_eq!(world.get(&list).by(&staff).send().await.json["data"], json!([]));

    world.execute("DROP TRIGGER crash ON provider_payments").await;
    world.settled().await;
    assert_eq!(world.get(&ticket).by(&person).send().await.status, 200);
    assert_eq!(world.get(&list).by(&staff).send().await.json["data"][0]["status"], "valid");
    assert_eq!(world.post("/admin/check-ins", &check_in).by(&staff).send().await.status, 200);
    world.assert_books().await;
}
