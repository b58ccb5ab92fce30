//! What every operation answers while what it depends on is broken or away.

use std::time::Duration;

use anyhow::Result;
use e2e::spec::{Operation, Service};
use sqlx::{AssertSqlSafe, PgConnection};
use stack::onsale::Onsale;
use stack::postgres::Postgres;
use stack::redis::Redis;

use crate::any::provoke_of;
use crate::request::{World, name};

/// Longer than anything that was read before is used.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(2_500);
/// What gateways need Redis for.
const IN_REDIS: [&str; 5] = ["getReadiness", "joinQueue", "leaveQueue", "getQueueStatus", "reserve"];

/// Whether an operation is core-api's alone.
fn is_core_api_s(operation: &Operation<'_>) -> bool {
    operation.served_by == [Service::CoreApi]
}

/// Whether core-api reads or writes the database for it.
fn needs_the_database(operation: &Operation<'_>) -> bool {
    is_core_api_s(operation) && name(operation) != "getTicketKeys"
}

/// Breaks one thing after the other, and mends none.
pub(crate) async fn provoke(
    world: &World<'_>,
    onsale: &Onsale,
    servers: (&Postgres, &Redis),
    mut database: PgConnection,
) -> Result<()> {
    let (postgres, redis) = servers;
    // As if migrations had gone wrong: no statement finds its table. First the record's, which gateways write.
    for table in ["queue_events", "queue_settings", "queue_changes"] {
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER TABLE {table} RENAME TO old_{table}")))
            .execute(&mut database)
            .await?;
    }
    provoke_of(world, "internal_error", |one| world.ledger.tells(name(one), "record_not_configured")).await?;
    sqlx::query("ALTER SCHEMA public RENAME TO elsewhere").execute(&mut database).await?;
    drop(database);
    tokio::time::sleep(FORGOTTEN_AFTER).await;
    provoke_of(world, "internal_error", needs_the_database).await?;

    postgres.stop();
    tokio::time::sleep(FORGOTTEN_AFTER).await;
    // In two parts: while each waits for a connection, one user has three requests at work at most.
    let is_first =
        |one: &Operation<'_>| ["/reservation", "/admin/concerts"].iter().any(|path| one.path.starts_with(path));
    provoke_of(world, "service_unavailable", |one| needs_the_database(one) && is_first(one)).await?;
    provoke_of(world, "service_unavailable", |one| needs_the_database(one) && !is_first(one)).await?;
    provoke_of(world, "unhealthy", |operation| name(operation) == "getHealth").await?;

    redis.stop();
    provoke_of(world, "service_unavailable", |operation| IN_REDIS.contains(&name(operation))).await?;

    onsale.core_apis().iter().for_each(|core_api| core_api.process().kill());
    provoke_of(world, "service_unavailable", |one| is_core_api_s(one) && name(one) != "reserve").await
}
