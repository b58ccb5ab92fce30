//! The log of ended sessions against real Redis, alone and as a cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lua::sessions::{SessionScripts, entry};
use lua::{Mode, Redis, RedisSettings};

/// Keys of its own, so that tests can share a server.
struct Log {
    redis: Redis,
    scripts: SessionScripts,
    name: String,
}

impl Log {
    fn on_both(name: &str) -> [Self; 2] {
        let one = vec![stack::shared::redis_url().unwrap()];
        let cluster = stack::shared::redis_cluster_urls().unwrap().split(',').map(str::to_owned).collect();
        [(one, Mode::Standalone), (cluster, Mode::Cluster)].map(|(urls, mode)| Self {
            redis: Redis::new(&RedisSettings { urls, mode, call_timeout: Duration::from_secs(10) }).unwrap(),
            scripts: SessionScripts::default(),
            name: format!("{{session-test-{name}-{}}}", std::process::id()),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    async fn end(&self, keep_ms: i64, reflected_ms: i64, sessions: &[&str]) -> i64 {
        let mut call = self.scripts.end.call().key(&self.key("log")).key(&self.key("reflected"));
        call = call.arg(keep_ms).arg(reflected_ms);
        for session in sessions {
            call = call.arg(entry(session, 7));
        }
        call.run(&self.redis).await.unwrap()
    }

    async fn entries(&self) -> Vec<(String, f64)> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(self.key("log")).arg(0).arg(-1).arg("WITHSCORES");
        self.redis.run(command).await.unwrap()
    }

    async fn reflected(&self) -> Option<i64> {
        self.redis.run(redis::cmd("GET").arg(self.key("reflected")).to_owned()).await.unwrap()
    }
}

#[tokio::test]
async fn entries_are_numbered_once_in_the_order_in_which_they_came() {
    for log in Log::on_both("order") {
        assert_eq!(log.end(60_000, 0, &["b", "a"]).await, 2);
        let before = log.entries().await;
        assert_eq!(log.end(60_000, 0, &["a", "c", "b"]).await, 1, "again changes nothing");
        let after = log.entries().await;
        assert_eq!(after[..2], before);
        let names: Vec<&str> = after.iter().map(|(entry, _)| entry.as_str()).collect();
        assert_eq!(names, ["b:7", "a:7", "c:7"]);
        assert!(after.windows(2).all(|pair| pair[0].1 < pair[1].1), "each has a number of its own");
    }
}

#[tokio::test]
async fn old_entries_go_and_what_it_says_of_itself_stays_until_told() {
    for log in Log::on_both("age") {
        log.end(60_000, 5, &["a"]).await;
        log.end(60_000, 0, &["b"]).await;
        assert_eq!((log.entries().await.len(), log.reflected().await), (2, Some(5)));
        // Kept for a negative time: everything is too old.
        log.end(-60_000, 9, &["c"]).await;
        assert_eq!((log.entries().await.len(), log.reflected().await), (0, Some(9)));
    }
}
