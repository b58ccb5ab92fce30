//! What the scenarios have in common in which something is sold: who comes, what is looked at meanwhile, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::requests::Sender;
use super::verdict;
use super::visitor::{Plan, Visitor};
use crate::client::Client;
use crate::invariants::{self, Database, Finding, StoreWatch, Stores};
use crate::report;
use crate::room::{self, Limits, RoomSample, RoomWatch};
use crate::stats::{Outcome, Recorder};

/// A run in which something is sold, ready to begin.
pub(super) struct Selling {
    pub(super) plan: Arc<Plan>,
    pub(super) client: Arc<Client>,
    pub(super) recorder: Arc<Recorder>,
    /// None: the stores are not checked.
    stores: Option<Stores>,
    started_at: DateTime<Utc>,
    watch: RoomWatch,
    store_watch: StoreWatch,
    pub(super) seed: u64,
}

/// The looks at room and stores that go on while people come.
pub(super) struct Watching {
    room: room::Watching,
    stores: invariants::Watching,
}

impl Selling {
    /// By `plan`, over at most `length_max`; `stores` and the room's `limits` are what it is judged by.
    pub(super) fn new(
        (plan, client, seed): (Plan, Client, u64),
        (stores, limits): (Option<Stores>, Limits),
        store_watch: StoreWatch,
        length_max: Duration,
    ) -> Self {
        Self {
            plan: Arc::new(plan),
            client: Arc::new(client),
            recorder: Arc::new(Recorder::new(Instant::now(), length_max)),
            stores,
            started_at: Utc::now(),
            watch: RoomWatch::new(limits),
            store_watch,
            seed,
        }
    }

    /// Begins to look.
    pub(super) fn watch(&self) -> Watching {
        Watching {
            room: self.watch.start(self.stores.as_ref(), self.plan.concert, self.recorder.started()),
            stores: self.store_watch.start(self.stores.as_ref(), self.plan.concert),
        }
    }

    /// What the visitor of that number does, from their arrival on.
    pub(super) fn visitor(&self, number: u32, arrival: Instant) -> impl Future<Output = Outcome> + use<> {
        let (plan, client, recorder) = (self.plan.clone(), self.client.clone(), self.recorder.clone());
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) + 1).rotate_left(32));
        async move {
            let sender = Sender { client: &client, recorder: &recorder, rng };
            Box::pin(Visitor { plan: &plan, sender, number }.visit(arrival)).await
        }
    }

    /// All verdicts: of the stores, of the room while it was watched, and of what the visitors saw.
    pub(super) async fn judge(&self, order_slack_ms: u64) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(stores) = &self.stores {
            findings = self.ask_database(stores).await.unwrap_or_else(|error| verdict::not_asked(&error));
            findings.extend(self.store_watch.findings());
            findings.extend(self.watch.findings());
        }
        findings.extend(self.recorder.read(|figures| report::seen_by_visitors(figures, order_slack_ms)));
        findings.sort_by_key(|finding| finding.point);
        findings
    }

    async fn ask_database(&self, stores: &Stores) -> Result<Vec<Finding>> {
        let mut database = Database::connect(&stores.database_url).await?;
        let findings = verdict::of_database(&mut database, &self.recorder).await?;
        for after in database.resales(self.plan.concert, self.started_at).await? {
            self.recorder.resale(after);
        }
        Ok(findings)
    }

    /// The looks at the room, by time since the start.
    pub(super) fn samples(&self) -> Vec<(Duration, RoomSample)> {
        self.watch.samples()
    }
}

impl Watching {
    pub(super) async fn end(self) {
        self.room.end().await;
        self.stores.end().await;
    }
}
