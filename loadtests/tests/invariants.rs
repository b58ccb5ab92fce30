//! The checks on a real PostgreSQL: silent where all is well, and each finds what it is for.

use anyhow::{Context, Result, ensure};
use loadtests::invariants::{Database, NAMES};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use uuid::Uuid;

const SEAT_SOLD: &str = "'00000000-0000-0000-0000-0000000000a1'";
const SEAT_HELD: &str = "'00000000-0000-0000-0000-0000000000a2'";
const SEAT_FREE: &str = "'00000000-0000-0000-0000-0000000000a3'";
const COMPLETED: &str = "'00000000-0000-0000-0000-0000000000b1'";

/// Two users; one paid 30 of the 100 they had for the sold seat, and holds another one; the third is free. One
/// reservation was paid for, given back and refunded, and so was one that was paid for through a provider.
const SOUND: &str = r#"
INSERT INTO users (id, username, email, balance) VALUES
  ('00000000-0000-0000-0000-000000000001', 'one', 'one@test.example', 70),
  ('00000000-0000-0000-0000-000000000002', 'two', 'two@test.example', 0);
INSERT INTO concerts (id, name, venue, concert_date) VALUES
  ('00000000-0000-0000-0000-0000000000c1', 'concert', 'hall', '2030-01-01');
INSERT INTO seats (id, concert_id, seat_number, status, price) VALUES
  ('00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-0000000000c1', 1, 'reserved_final', 30),
  ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-0000000000c1', 2, 'reserved_temp', 30),
  ('00000000-0000-0000-0000-0000000000a3', '00000000-0000-0000-0000-0000000000c1', 3, 'available', 30);
INSERT INTO reservations (id, user_id, concert_id, seat_id, status, amount, payment_deadline, completed_at)
SELECT r.id::uuid, '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000c1', r.seat::uuid,
  r.status, 30, now_utc() + interval '5 minutes', CASE WHEN r.status = 'completed' THEN now_utc() END
FROM (VALUES
  ('00000000-0000-0000-0000-0000000000b1', '00000000-0000-0000-0000-0000000000a1', 'completed'),
  ('00000000-0000-0000-0000-0000000000b2', '00000000-0000-0000-0000-0000000000a2', 'pending'),
  ('00000000-0000-0000-0000-0000000000b3', '00000000-0000-0000-0000-0000000000a3', 'canceled'),
  ('00000000-0000-0000-0000-0000000000b4', '00000000-0000-0000-0000-0000000000a3', 'canceled')) r(id, seat, status);
INSERT INTO provider_payments (id, provider, user_id, amount, state, decide_until) VALUES
  ('00000000-0000-0000-0000-0000000000d0', 'sandbox', '00000000-0000-0000-0000-000000000001', 30, 'captured', now_utc());
INSERT INTO payments (id, reservation_id, user_id, amount, payment_status, payment_method, refunded_at,
  provider_payment_id) VALUES
  ('00000000-0000-0000-0000-0000000000d1', '00000000-0000-0000-0000-0000000000b1',
   '00000000-0000-0000-0000-000000000001', 30, 'success', 'balance', NULL, NULL),
  ('00000000-0000-0000-0000-0000000000d3', '00000000-0000-0000-0000-0000000000b3',
   '00000000-0000-0000-0000-000000000001', 30, 'success', 'balance', now_utc(), NULL),
  ('00000000-0000-0000-0000-0000000000d4', '00000000-0000-0000-0000-0000000000b4',
   '00000000-0000-0000-0000-000000000001', 30, 'success', 'card', now_utc(), '00000000-0000-0000-0000-0000000000d0');
INSERT INTO provider_refunds (payment_id, provider_payment_id, amount, refunded_at) VALUES
  ('00000000-0000-0000-0000-0000000000d4', '00000000-0000-0000-0000-0000000000d0', 30, now_utc());
INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
SELECT t.transfer::uuid, t.account, CASE WHEN t.account = 'user' THEN '00000000-0000-0000-0000-000000000001'::uuid END,
  t.amount, t.kind, t.reservation::uuid
FROM (VALUES
  ('00000000-0000-0000-0000-0000000000e1', 'cash', -100, 'charge', NULL),
  ('00000000-0000-0000-0000-0000000000e1', 'user', 100, 'charge', NULL),
  ('00000000-0000-0000-0000-0000000000e2', 'user', -30, 'payment', '00000000-0000-0000-0000-0000000000b1'),
  ('00000000-0000-0000-0000-0000000000e2', 'sales', 30, 'payment', '00000000-0000-0000-0000-0000000000b1'),
  ('00000000-0000-0000-0000-0000000000e3', 'user', -30, 'payment', '00000000-0000-0000-0000-0000000000b3'),
  ('00000000-0000-0000-0000-0000000000e3', 'sales', 30, 'payment', '00000000-0000-0000-0000-0000000000b3'),
  ('00000000-0000-0000-0000-0000000000e4', 'sales', -30, 'refund', '00000000-0000-0000-0000-0000000000b3'),
  ('00000000-0000-0000-0000-0000000000e4', 'user', 30, 'refund', '00000000-0000-0000-0000-0000000000b3'),
  ('00000000-0000-0000-0000-0000000000e5', 'provider', -30, 'payment', '00000000-0000-0000-0000-0000000000b4'),
  ('00000000-0000-0000-0000-0000000000e5', 'sales', 30, 'payment', '00000000-0000-0000-0000-0000000000b4'),
  ('00000000-0000-0000-0000-0000000000e6', 'sales', -30, 'refund', '00000000-0000-0000-0000-0000000000b4'),
  ('00000000-0000-0000-0000-0000000000e6', 'provider', 30, 'refund', '00000000-0000-0000-0000-0000000000b4')
) t(transfer, account, amount, kind, reservation);
INSERT INTO idempotency_keys (user_id, key, fingerprint, attempt, state, response_status, response_body, locked_until,
  expires_at)
SELECT '00000000-0000-0000-0000-000000000001', k.key, sha256('x'), gen_random_uuid(), 'done', 200,
  convert_to(k.body, 'UTF8'), now_utc(), now_utc() + interval '1 day'
FROM (VALUES
  ('pay', '{"paymentId":"00000000-0000-0000-0000-0000000000d1","reservationId":"00000000-0000-0000-0000-0000000000b1"}'),
  ('hold', '{"reservationId":"00000000-0000-0000-0000-0000000000b2"}'),
  ('charge', '{"balance":100.00}')) k(key, body);
INSERT INTO queue (id, user_id, concert_id, queue_position) VALUES
  ('00000000-0000-0000-0000-0000000000f1', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000c1', 1),
  ('00000000-0000-0000-0000-0000000000f2', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-0000000000c1', 2);
"#;

/// What keeps such states from arising is taken away first: the checks are the second net.
const UNGUARDED: &str = "
DO $$
DECLARE it RECORD;
BEGIN
  FOR it IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'c') LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', it.relation, it.conname);
  END LOOP;
  FOR it IN SELECT DISTINCT tgrelid::regclass AS relation FROM pg_trigger WHERE NOT tgisinternal LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', it.relation);
  END LOOP;
END $$;
DROP INDEX reservations_live_seat_id_key, payments_success_reservation_id_key;
";

/// A database with [`SOUND`] data; it ends with the first value.
async fn sound() -> Result<(stack::postgres::Database, PgConnection, Database)> {
    let database = tokio::task::spawn_blocking(stack::shared::migrated_database).await??;
    let mut connection = PgConnection::connect(&database.url()).await?;
    connection.execute(SOUND).await.context("the sound data")?;
    let checks = Database::connect(&database.url()).await?;
    Ok((database, connection, checks))
}

async fn broken(checks: &mut Database) -> Result<Vec<&'static str>> {
    let findings = checks.check().await?;
    Ok(findings.iter().filter(|finding| finding.is_broken()).map(|finding| finding.name).collect())
}

#[tokio::test]
async fn where_all_is_well_no_check_says_otherwise() -> Result<()> {
    let (_database, _connection, mut checks) = sound().await?;
    let findings = checks.check().await?;
    assert_eq!(findings.iter().map(|finding| finding.name).collect::<Vec<_>>(), NAMES);
    assert_eq!(broken(&mut checks).await?, Vec::<&str>::new());
    Ok(())
}

#[tokio::test]
async fn each_check_finds_what_it_is_for() -> Result<()> {
    let hold_sold_seat = format!("UPDATE reservations SET seat_id = {SEAT_SOLD} WHERE status = 'pending'");
    let sell_free_seat = format!("UPDATE seats SET status = 'reserved_final' WHERE id = {SEAT_FREE}");
    let free_held_seat = format!("UPDATE seats SET status = 'available' WHERE id = {SEAT_HELD}");
    let pay_too_little = format!("UPDATE payments SET amount = 20 WHERE reservation_id = {COMPLETED}");
    let breaks = [
        ("seat_sold_once", hold_sold_seat.as_str()),
        ("sold_seat_is_reserved", &sell_free_seat),
        (
            "sold_seat_is_reserved",
            "UPDATE reservations SET status = 'canceled', completed_at = NULL WHERE status = 'completed'",
        ),
        ("held_seat_is_reserved", &free_held_seat),
        ("held_seat_is_reserved", "UPDATE reservations SET status = 'canceled' WHERE status = 'pending'"),
        ("held_back_is_nobodys", "UPDATE seats SET status = 'held_back'"),
        ("completed_is_paid", &pay_too_little),
        ("completed_is_paid", "UPDATE payments SET refunded_at = NULL"),
        ("completed_is_paid", "UPDATE payments SET user_id = '00000000-0000-0000-0000-000000000002'"),
        ("completed_is_paid", "UPDATE payments SET payment_status = 'failed'"),
        ("completed_is_paid", "UPDATE payments SET refunded_at = now_utc()"),
        (
            "check_in_is_completed",
            "INSERT INTO check_ins (reservation_id, checked_in_by) SELECT id, user_id FROM reservations
             WHERE status = 'pending'",
        ),
        ("transfer_is_balanced", "UPDATE ledger_entries SET amount = -29 WHERE kind = 'refund' AND account = 'sales'"),
        ("balance_is_ledger", "UPDATE users SET balance = 71 WHERE username = 'one'"),
        ("balance_is_ledger", "UPDATE users SET balance = 1 WHERE username = 'two'"),
        ("balance_not_negative", "UPDATE users SET balance = -1 WHERE username = 'two'"),
        ("money_is_conserved", "UPDATE users SET balance = balance + 0.01"),
        ("money_is_conserved", "DELETE FROM ledger_entries WHERE kind = 'charge'"),
        ("payment_is_ledger", "DELETE FROM ledger_entries WHERE kind = 'payment'"),
        ("payment_is_ledger", "DELETE FROM ledger_entries WHERE kind = 'refund'"),
        ("payment_is_ledger", "UPDATE payments SET amount = 20"),
        ("payment_is_ledger", "UPDATE payments SET refunded_at = NULL WHERE payment_method = 'card'"),
        ("payment_is_ledger", "UPDATE payments SET provider_payment_id = NULL, refunded_at = NULL"),
        ("attempt_is_its_payments", "UPDATE payments SET amount = 20 WHERE payment_method = 'card'"),
        ("attempt_is_its_payments", "UPDATE payments SET payment_status = 'failed', refunded_at = NULL"),
        ("attempt_is_its_payments", "UPDATE provider_payments SET state = 'voided'"),
        ("refund_is_due_or_done", "DELETE FROM provider_refunds"),
        ("refund_is_due_or_done", "UPDATE provider_refunds SET amount = 20"),
        ("refund_is_due_or_done", "UPDATE payments SET refunded_at = NULL WHERE payment_method = 'card'"),
        ("pending_ends_in_time", "UPDATE reservations SET payment_deadline = now_utc() - interval '31 seconds'"),
        ("key_has_one_effect", "UPDATE idempotency_keys SET user_id = '00000000-0000-0000-0000-000000000002'"),
        ("key_has_one_effect", "DELETE FROM payments WHERE refunded_at IS NULL"),
        (
            "key_has_one_effect",
            "UPDATE idempotency_keys SET response_status = 202; DELETE FROM payments WHERE refunded_at IS NULL",
        ),
        ("key_has_one_effect", "UPDATE reservations SET id = gen_random_uuid() WHERE status = 'pending'"),
        (
            "key_has_one_effect",
            "INSERT INTO idempotency_keys SELECT user_id, key || '2', fingerprint, attempt, state, response_status,
                 response_body, locked_until, expires_at, created_at FROM idempotency_keys WHERE key = 'pay'",
        ),
        ("position_is_unique", "UPDATE queue SET queue_position = 1"),
    ];
    for name in NAMES {
        ensure!(breaks.iter().any(|(breaks, _)| *breaks == name), "nothing shows that {name} finds anything");
    }
    let (_database, mut connection, mut checks) = sound().await?;
    connection.execute(UNGUARDED).await?;
    for (name, sql) in breaks {
        // The check sees what is committed, so each break is undone by a copy of the tables.
        connection.execute("CREATE SCHEMA kept").await?;
        let tables = [
            "users",
            "seats",
            "reservations",
            "check_ins",
            "provider_payments",
            "payments",
            "provider_refunds",
            "ledger_entries",
            "queue",
            "idempotency_keys",
        ];
        for table in tables {
            let keep = format!("CREATE TABLE kept.{table} AS TABLE public.{table}");
            connection.execute(sqlx::AssertSqlSafe(keep)).await?;
        }
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.context(name)?;
        let found = broken(&mut checks).await?;
        ensure!(found.contains(&name), "{sql}: {name} is not among {found:?}");
        for table in tables {
            let restore = format!("DELETE FROM public.{table}; INSERT INTO public.{table} TABLE kept.{table}");
            connection.execute(sqlx::AssertSqlSafe(restore)).await?;
        }
        connection.execute("DROP SCHEMA kept CASCADE").await?;
        ensure!(broken(&mut checks).await?.is_empty(), "{sql}: not undone");
    }
    Ok(())
}

#[tokio::test]
async fn a_ticket_that_was_bought_and_is_not_there_is_found() -> Result<()> {
    let (_database, _connection, mut checks) = sound().await?;
    let completed: Uuid = COMPLETED.trim_matches('\'').parse()?;
    assert!(!checks.check_bought(&[completed]).await?.is_broken());
    let pending: Uuid = "00000000-0000-0000-0000-0000000000b2".parse()?;
    let finding = checks.check_bought(&[completed, pending, Uuid::nil()]).await?;
    assert_eq!((finding.broken, finding.examples.len()), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_without_its_password() -> Result<()> {
    let port = stack::ports::free_port()?;
    let error = Database::connect(&format!("postgres://app:secret@127.0.0.1:{port}/x")).await.unwrap_err();
    assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    Ok(())
}
