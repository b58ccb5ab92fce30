//! Provoking batches: what is sent while one is being written goes out as the next.

use std::time::Duration;

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::client::{Answer, Request};
use crate::support::{Concert, World, eventually};

/// How many wait for a lock of the database.
pub(crate) const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Holds up whoever writes to a table.
pub(crate) struct Gate<'a> {
    world: &'a World,
    table: &'static str,
    lock: Transaction<'static, Postgres>,
}

impl<'a> Gate<'a> {
    pub(crate) async fn shut(world: &'a World, table: &'static str) -> Self {
        world
            .execute(&format!(
                "CREATE TABLE gate ();
                 CREATE FUNCTION wait_at_gate() RETURNS TRIGGER LANGUAGE plpgsql AS
                     $$ BEGIN LOCK TABLE gate IN ACCESS SHARE MODE; RETURN NEW; END $$;
                 CREATE TRIGGER gate BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()"
            ))
            .await;
        let mut lock = world.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE gate IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        Self { world, table, lock }
    }

    /// Waits until somebody waits there.
    pub(crate) async fn somebody_waits(&self) {
        eventually("a batch is held up", async || (self.world.sql(WAITING).await == "1").then_some(())).await;
    }

    pub(crate) async fn open(self) {
        self.lock.rollback().await.unwrap();
        // Once who waited there is through.
        self.world
            .execute(&format!("DROP TRIGGER gate ON {}; DROP FUNCTION wait_at_gate; DROP TABLE gate", self.table))
            .await;
    }
}

/// Sends `requests` while the batch of `opening`, which writes to `table`, is held up, so that they go out as one; their
/// answers. `locks` is how many seats of which concerts they lock before they come to that.
pub(crate) async fn behind(
    world: &World,
    table: &'static str,
    opening: Request,
    requests: Vec<Request>,
    (concerts, locks): (&[&Concert], usize),
) -> Vec<Answer> {
    let gate = Gate::shut(world, table).await;
    let count = requests.len();
    let (opened, answers) = tokio::join!(opening.send(), async {
        gate.somebody_waits().await;
        let before = seat_locks(world, concerts).await;
        let sent: Vec<_> = requests.into_iter().map(|request| tokio::spawn(request.send())).collect();
        let all = before + locks;
        eventually("all seats are locked", async || (seat_locks(world, concerts).await == all).then_some(())).await;
        // Long enough for the requests to be in the queue; were they not, more batches would be made and seen.
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.open().await;
        futures_util::future::join_all(sent).await.into_iter().map(|answer| answer.unwrap()).collect::<Vec<_>>()
    });
    assert_eq!((opened.status.as_u16(), answers.len()), (200, count), "{}", opened.text);
    answers
}

async fn seat_locks(world: &World, concerts: &[&Concert]) -> usize {
    let mut all = 0;
    for concert in concerts {
        let locks = format!("hold:v1:{{{}}}:seat:*", concert.id);
        let count = world.redis(&["EVAL", "return tostring(#redis.call('KEYS', ARGV[1]))", "0", &locks]).await;
        all += count.unwrap().parse::<usize>().unwrap();
    }
    all
}

/// Has another try take over the idempotency key `lost` as soon as it is taken.
pub(crate) async fn lose_a_key(world: &World) {
    world
        .execute(
            "CREATE FUNCTION take_over() RETURNS TRIGGER LANGUAGE plpgsql AS
                 $$ BEGIN UPDATE idempotency_keys SET attempt = gen_random_uuid() WHERE key = 'lost'; RETURN NEW; END $$;
             CREATE TRIGGER take_over AFTER INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION take_over()",
        )
        .await;
}

/// Lets nothing be written, by a trigger of this name and kind, whose `column` is `id`.
pub(crate) async fn poison(world: &World, (column, id): (&str, Uuid), (name, kind): (&str, &str)) {
    world
        .execute(&format!(
            "CREATE FUNCTION {name}() RETURNS TRIGGER LANGUAGE plpgsql AS
                 $$ BEGIN IF NEW.{column} = '{id}' THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END $$;
             CREATE {kind} FOR EACH ROW EXECUTE FUNCTION {name}()"
        ))
        .await;
}
