//! The tables are those of the original data model, column for column, and what was added stands beside them.

use crate::support::world;

/// The original's columns: table, column, type, length or precision and scale, default.
const ORIGINAL: &[(&str, &str, &str, &str, &str)] = &[
    ("users", "id", "uuid", "", ""),
    ("users", "username", "character varying", "255", ""),
    ("users", "email", "character varying", "255", ""),
    ("users", "balance", "numeric", "10,2", "0.00"),
    ("users", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("users", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("concerts", "id", "uuid", "", ""),
    ("concerts", "name", "character varying", "255", ""),
    ("concerts", "venue", "character varying", "255", ""),
    ("concerts", "concert_date", "date", "", ""),
    ("concerts", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("concerts", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("seats", "id", "uuid", "", ""),
    ("seats", "concert_id", "uuid", "", ""),
    ("seats", "seat_number", "integer", "32,0", ""),
    ("seats", "status", "character varying", "20", "'available'::character varying"),
    ("seats", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("seats", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("queue", "id", "uuid", "", ""),
    ("queue", "user_id", "uuid", "", ""),
    ("queue", "concert_id", "uuid", "", ""),
    ("queue", "queue_position", "integer", "32,0", ""),
    ("queue", "wait_time", "character varying", "50", ""),
    ("queue", "token", "character varying", "255", ""),
    ("queue", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("queue", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("reservations", "id", "uuid", "", ""),
    ("reservations", "user_id", "uuid", "", ""),
    ("reservations", "concert_id", "uuid", "", ""),
    ("reservations", "seat_id", "uuid", "", ""),
    ("reservations", "status", "character varying", "20", "'pending'::character varying"),
    ("reservations", "amount", "numeric", "10,2", ""),
    ("reservations", "reserved_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("reservations", "payment_deadline", "timestamp without time zone", "", ""),
    ("reservations", "completed_at", "timestamp without time zone", "", ""),
    ("reservations", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("reservations", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("payments", "id", "uuid", "", ""),
    ("payments", "reservation_id", "uuid", "", ""),
    ("payments", "user_id", "uuid", "", ""),
    ("payments", "amount", "numeric", "10,2", ""),
    ("payments", "payment_status", "character varying", "20", "'pending'::character varying"),
    ("payments", "payment_method", "character varying", "50", ""),
    ("payments", "created_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
    ("payments", "updated_at", "timestamp without time zone", "", "CURRENT_TIMESTAMP"),
];

/// What may be NULL, of the original and of what was added to its tables.
const NULLABLE: &[&str] = &[
    "concerts.announced_at",
    "concerts.sale_closed_at",
    "concerts.sale_opens_at",
    "concerts.seats_per_user",
    "payments.provider_payment_id",
    "payments.refunded_at",
    "queue.admission",
    "queue.admitted_at",
    "queue.lease_ends_at",
    "queue.session_ends_at",
    "queue.token",
    "queue.wait_time",
    "reservations.completed_at",
    "reservations.extended_at",
    "reservations.hold_fence",
    "reservations.paying_until",
];

/// What was added to the original's tables, and tables of our own.
const ADDED: &[&str] = &[
    "concerts.announced_at",
    "concerts.sale_closed_at",
    "concerts.sale_opens_at",
    "concerts.seats_per_user",
    "payments.provider_payment_id",
    "payments.refunded_at",
    "queue.admission",
    "queue.admitted_at",
    "queue.epoch",
    "queue.lease_ends_at",
    "queue.recorded_ms",
    "queue.recorded_seq",
    "queue.session_ends_at",
    "queue.status",
    "reservations.extended_at",
    "reservations.hold_fence",
    "reservations.paying_until",
    "seats.handing_on",
    "seats.price",
    "seats.section",
    "users.role",
];

#[tokio::test]
async fn every_column_of_the_original_is_there_as_it_was() {
    let world = world().await;
    for (table, column, kind, size, default) in ORIGINAL {
        let found = world
            .sql(&format!(
                "SELECT concat_ws('|', data_type, coalesce(character_maximum_length::text, numeric_precision || ',' || numeric_scale, ''), coalesce(column_default, ''))
                 FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}' AND column_name = '{column}'"
            ))
            .await;
        assert_eq!(found, format!("{kind}|{size}|{default}"), "{table}.{column}");
    }
    let columns = |which: &str| {
        format!(
            "SELECT string_agg(table_name || '.' || column_name, ' ' ORDER BY table_name || '.' || column_name) FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name IN ('users', 'concerts', 'seats', 'queue', 'reservations', 'payments') AND {which}"
        )
    };
    assert_eq!(world.sql(&columns("is_nullable = 'YES'")).await, NULLABLE.join(" "));
    let known: Vec<String> = ORIGINAL.iter().map(|(table, column, ..)| format!("'{table}.{column}'")).collect();
    let others = columns(&format!("table_name || '.' || column_name NOT IN ({})", known.join(",")));
    assert_eq!(world.sql(&others).await, ADDED.join(" "));
}

#[tokio::test]
async fn constraints_and_indexes_have_the_names_that_the_code_knows() {
    let world = world().await;
    for name in [
        "users_email_key",
        "users_balance_not_negative_check",
        "users_email_lower_case_check",
        "users_role_check",
        "seats_concert_id_fkey",
        "seats_seat_number_check",
        "seats_status_check",
        "seats_concert_id_section_seat_number_key",
        "queue_user_id_fkey",
        "queue_concert_id_fkey",
        "queue_token_key",
        "queue_user_id_concert_id_key",
        "reservations_user_id_fkey",
        "reservations_concert_id_fkey",
        "reservations_seat_id_fkey",
        "reservations_status_check",
        "reservations_completed_at_check",
        "payments_reservation_id_fkey",
        "payments_user_id_fkey",
        "payments_provider_payment_id_fkey",
        "provider_payments_user_id_fkey",
        "provider_payments_state_check",
        "provider_payments_next_look_at_check",
        "provider_refunds_pkey",
        "provider_events_pkey",
        "payments_payment_status_check",
        "ledger_entries_account_check",
        "ledger_entries_kind_check",
        "ledger_entries_user_id_check",
        "ledger_entries_transfer_balances",
        "idempotency_keys_user_id_fkey",
        "idempotency_keys_pkey",
        "check_ins_checked_in_by_fkey",
        "check_ins_undone_by_fkey",
    ] {
        assert_eq!(
            world.sql(&format!("SELECT count(*) FROM pg_constraint WHERE conname = '{name}'")).await,
            "1",
            "{name}"
        );
    }
    // None was left to be named by the server (PostgreSQL's own names for NOT NULL are no constraints before 18).
    let live = world.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'reservations_live_seat_id_key'").await;
    assert!(
        live.starts_with("CREATE UNIQUE INDEX")
            && live.contains("(seat_id) WHERE")
            && live.contains("pending")
            && live.contains("completed"),
        "{live}"
    );
    // Every foreign key has an index that begins with its column.
    let bare =
        "SELECT coalesce(string_agg(c.conname, ' '), '') FROM pg_constraint c WHERE c.contype = 'f' AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])";
    assert_eq!(world.sql(bare).await, "");
}

#[tokio::test]
async fn the_tables_refuse_what_must_never_be() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let person = world.user("0").await;
    let reservation = |status: &str, completed: &str| {
        format!(
            "INSERT INTO reservations (id, user_id, concert_id, seat_id, status, amount, payment_deadline, completed_at)
             VALUES (gen_random_uuid(), '{}', '{}', '{}', '{status}', 10, now_utc() + interval '1 hour', {completed})",
            person.id, concert.id, concert.seats[0]
        )
    };
    world.execute(&reservation("canceled", "NULL")).await;
    world.execute(&reservation("canceled", "NULL")).await;
    world.execute(&reservation("pending", "NULL")).await;
    for (statement, constraint) in [
        (reservation("pending", "NULL"), "reservations_live_seat_id_key"),
        (reservation("completed", "now_utc()"), "reservations_live_seat_id_key"),
        (reservation("completed", "NULL"), "reservations_completed_at_check"),
        (reservation("lost", "NULL"), "reservations_status_check"),
        ("UPDATE seats SET status = 'free'".to_owned(), "seats_status_check"),
        ("UPDATE seats SET seat_number = 51".to_owned(), "seats_seat_number_check"),
        ("UPDATE seats SET seat_number = 0".to_owned(), "seats_seat_number_check"),
        ("UPDATE seats SET seat_number = 1".to_owned(), "seats_concert_id_section_seat_number_key"),
        ("UPDATE users SET balance = -0.01".to_owned(), "users_balance_not_negative_check"),
        ("UPDATE users SET email = 'A@b.c'".to_owned(), "users_email_lower_case_check"),
    ] {
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&world.pool).await.unwrap_err();
        let violated = error.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
        assert_eq!(violated.as_deref(), Some(constraint), "{statement}: {error}");
    }
}

#[tokio::test]
async fn updated_at_is_kept_whoever_writes() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    world.execute(&format!("UPDATE concerts SET name = 'x' WHERE id = '{}'", concert.id)).await;
    assert_eq!(world.sql("SELECT updated_at > created_at FROM concerts").await, "true");
    let without = "SELECT coalesce(string_agg(c.table_name, ' '), '') FROM information_schema.columns c
        WHERE c.table_schema = 'public' AND c.column_name = 'updated_at' AND NOT EXISTS (
            SELECT FROM information_schema.triggers t WHERE t.event_object_table = c.table_name AND t.trigger_name = c.table_name || '_set_updated_at')";
    assert_eq!(world.sql(without).await, "");
}

#[tokio::test]
async fn the_frequent_queries_use_their_indexes() {
    let world = world().await;
    world.execute("SET enable_seqscan = off").await;
    for (query, index) in [
        (
            "SELECT id FROM reservations WHERE status = 'pending' AND payment_deadline <= (SELECT now_utc()) ORDER BY payment_deadline LIMIT 500",
            "reservations_pending_payment_deadline_idx",
        ),
        (
            "SELECT count(*) FROM reservations WHERE user_id = gen_random_uuid() AND concert_id = gen_random_uuid() AND status IN ('pending', 'completed')",
            "reservations_",
        ),
        (
            "SELECT id FROM provider_payments WHERE next_look_at <= (SELECT now_utc()) AND provider = 'x' ORDER BY next_look_at LIMIT 8",
            "provider_payments_next_look_at_idx",
        ),
        (
            "SELECT user_id FROM idempotency_keys WHERE expires_at <= (SELECT now_utc()) ORDER BY expires_at LIMIT 10",
            "idempotency_keys_expires_at_idx",
        ),
        (
            "SELECT id FROM ledger_entries WHERE user_id = '0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20' AND id < 5 ORDER BY id DESC LIMIT 10",
            "ledger_entries_user_id_id_idx",
        ),
        (
            "SELECT id FROM reservations WHERE concert_id = '0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20' AND id > '0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20' ORDER BY id LIMIT 10",
            "reservations_concert_id_id_idx",
        ),
    ] {
        let mut transaction = world.pool.begin().await.unwrap();
        sqlx::raw_sql("SET LOCAL enable_seqscan = off").execute(&mut *transaction).await.unwrap();
        let explain = format!("EXPLAIN {query}");
        let lines: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *transaction).await.unwrap();
        let plan = lines.join("\n");
        assert!(plan.contains(index), "{plan}");
    }
}
