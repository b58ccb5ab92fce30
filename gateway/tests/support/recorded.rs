//! A database for the record, with the people and concerts that it is about.

use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stack::postgres::Database;
use stack::wait::PATIENCE;

/// A database of one's own; dropped with this.
pub struct Recorded {
    pub database: Database,
}

impl Recorded {
    pub async fn new() -> Self {
        let database = tokio::task::spawn_blocking(stack::shared::migrated_database).await.unwrap().unwrap();
        Self { database }
    }

    /// As gateways connect to it.
    pub fn url(&self) -> String {
        self.database.gateway_url()
    }

    /// As its owner, who may see and change everything.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database.url()).await.unwrap()
    }

    /// Makes a concert and so many people; the people, in the order of their ids.
    pub async fn populate(&self, concert: ConcertId, people: usize) -> Vec<UserId> {
        let users: Vec<UserId> = (0..people).map(|_| UserId::generate()).collect();
        let mut connection = self.connect().await;
        sqlx::query("INSERT INTO concerts (id, name, venue, concert_date) VALUES ($1, 'c', 'v', CURRENT_DATE + 1)")
            .bind(concert.as_uuid())
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO users (id, username, email) SELECT id, 'u', id || '@example.test' FROM UNNEST($1::uuid[]) id",
        )
        .bind(users.iter().map(|user| user.as_uuid()).collect::<Vec<_>>())
        .execute(&mut connection)
        .await
        .unwrap();
        users
    }

    /// One text that a query answers; '' for NULL and for no row.
    pub async fn text(&self, sql: &'static str, concert: ConcertId) -> String {
        let mut connection = self.connect().await;
        connection.execute("SET timezone = 'UTC'").await.unwrap();
        let row: Option<(Option<String>,)> =
            sqlx::query_as(sql).bind(concert.as_uuid()).fetch_optional(&mut connection).await.unwrap();
        row.and_then(|(text,)| text).unwrap_or_default()
    }

    /// Waits until that text is `wanted`; gives up after a time that is far beyond any expected.
    pub async fn until(&self, sql: &'static str, concert: ConcertId, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text(sql, concert).await;
            if text == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: still {text:?}, wanted {wanted:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
