//! A room's last quarter of an hour in Redis, written by all its gateways and read by those that show it.

use common::ids::ConcertId;
use lua::StoreError;
use redis::streams::StreamRangeReply;

use super::keys::RoomKeys;
use super::queue::QueueStore;
use crate::domain::{CHART_SECONDS, Counted, Point, RoomSight, Sums};

impl QueueStore {
    /// Tells what this gateway has counted since it last did, and what the room looks like; `now_ms` is 0 for Redis' own
    /// clock, anything else is a test's. Whether that is the room's point of this second.
    pub async fn add_to_chart(
        &self,
        concert: ConcertId,
        counted: Counted,
        sight: &RoomSight,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let [sums, points] = RoomKeys::chart(concert);
        let call = self.charts().add.call().key(&sums).key(&points);
        let call = call.arg(now_ms).arg(counted.joins).arg(counted.polls).arg(counted.errors);
        let written: i64 = call.arg(sight.to_line()).arg(CHART_SECONDS).run(self.redis()).await?;
        Ok(written == 1)
    }

    /// The room's points behind that of the second `after`, the earliest first.
    pub async fn chart(&self, concert: ConcertId, after: Option<i64>) -> Result<Vec<Point>, StoreError> {
        let [_, points] = RoomKeys::chart(concert);
        let from = after.map_or_else(|| "-".to_owned(), |second| format!("({}-0", second.saturating_mul(1_000)));
        let command = redis::cmd("XRANGE").arg(points).arg(from).arg("+").arg("COUNT").arg(CHART_SECONDS).to_owned();
        let entries: StreamRangeReply = self.redis().run(command).await?;
        let read = |entry: &redis::streams::StreamId| {
            let second = entry.id.split_once('-')?.0.parse::<i64>().ok()? / 1_000;
            let sums = Sums::from_line(&entry.get::<String>("s")?)?;
            Some(Point { second, sight: RoomSight::from_line(&entry.get::<String>("p")?)?, sums })
        };
        // What another version wrote in another form is left out: a gap of a second, or of a quarter of an hour.
        Ok(entries.ids.iter().filter_map(read).collect())
    }
}
