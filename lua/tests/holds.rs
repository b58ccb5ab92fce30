//! The seat locks' scripts against real Redis, alone and as a cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use lua::holds::HoldScripts;
use lua::{Mode, Redis, RedisSettings};

const LIFE_MS: u64 = 60_000;
/// For how long what is held may be paid for.
const PAYABLE_MS: u64 = 50_000;
/// The time that tests tell the scripts, where it matters.
const NOW_MS: u64 = 1_000_000;

struct Room {
    redis: Redis,
    scripts: HoldScripts,
    concert: String,
}

impl Room {
    fn new(redis: Redis) -> Self {
        // A tag of its own per room, so that tests can share a server.
        let concert = format!("{}-{:?}", std::process::id(), std::time::Instant::now());
        Self { redis, scripts: HoldScripts::default(), concert: concert.replace(['{', '}', ' '], "") }
    }

    fn key(&self, name: &str) -> String {
        format!("hold-test:{{{}}}:{name}", self.concert)
    }

    async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        self.redis.run(command).await.unwrap()
    }

    async fn admit(&self, user: &str, pass: &str, lease_end_ms: u64) {
        let (leases, passes) = (self.key("leases"), self.key("passes"));
        let _: i64 = self.command(&["ZADD", &leases, &lease_end_ms.to_string(), user]).await;
        let _: i64 = self.command(&["HSET", &passes, user, pass]).await;
        let _: i64 = self.command(&["HSET", &self.key("room"), "epoch", "1"]).await;
    }

    async fn lease_end_ms(&self, user: &str) -> Option<u64> {
        self.command(&["ZSCORE", &self.key("leases"), user]).await
    }

    async fn paid(&self, user: &str) -> bool {
        let call = ["room", "leases", "passes", "caps", "left", "events"]
            .iter()
            .fold(self.scripts.paid.call(), |call, part| call.key(&self.key(part)));
        call.arg(user).arg(NOW_MS).run(&self.redis).await.unwrap()
    }

    async fn hold(&self, user: &str, pass: &str, seats: &[&str]) -> (String, i64) {
        self.hold_at(user, pass, seats, NOW_MS).await
    }

    async fn hold_at(&self, user: &str, pass: &str, seats: &[&str], now_ms: u64) -> (String, i64) {
        let mut call = self.scripts.hold.call();
        for name in ["leases", "passes", "fence", "room"].iter().chain(seats) {
            call = call.key(&self.key(name));
        }
        call.arg(user).arg(pass).arg(LIFE_MS).arg(now_ms).run(&self.redis).await.unwrap()
    }

    async fn release(&self, locks: &[(&str, &str)]) -> u64 {
        let mut call = self.scripts.release.call();
        for (seat, value) in locks {
            call = call.key(&self.key(seat)).arg(*value);
        }
        call.run(&self.redis).await.unwrap()
    }

    async fn keep(&self, life_ms: u64, locks: &[(&str, &str)]) -> u64 {
        let (leases, payable_ms) = (self.key("leases"), PAYABLE_MS);
        let mut call = self.scripts.keep.call().key(&leases).arg(life_ms).arg("u").arg(payable_ms).arg(NOW_MS);
        for (seat, value) in locks {
            call = call.key(&self.key(seat)).arg(*value);
        }
        call.run(&self.redis).await.unwrap()
    }

    async fn pass_on(&self, seat: &str, meant: &str, next: &str) -> i64 {
        let call = self.scripts.pass_on.call().key(&self.key("fence")).key(&self.key(seat));
        call.arg(meant).arg(next).arg(LIFE_MS).run(&self.redis).await.unwrap()
    }

    async fn lock(&self, seat: &str) -> Option<String> {
        self.command(&["GET", &self.key(seat)]).await
    }
}

fn connect(urls: &str, mode: Mode) -> Redis {
    let urls = urls.split(',').map(str::to_owned).collect();
    Redis::new(&RedisSettings { urls, mode, call_timeout: Duration::from_secs(5) }).unwrap()
}

/// The same test alone and in a cluster, where a key that is not declared, or of another slot, is an error.
macro_rules! both {
    ($(#[$doc:meta])* $name:ident, $room:ident, $body:block) => {
        mod $name {
            use super::*;

            async fn body($room: Room) $body

            #[tokio::test]
            async fn alone() {
                body(Room::new(connect(&stack::shared::redis_url().unwrap(), Mode::Standalone))).await;
            }

            #[tokio::test]
            async fn in_a_cluster() {
                body(Room::new(connect(&stack::shared::redis_cluster_urls().unwrap(), Mode::Cluster))).await;
            }
        }
    };
}

both!(a_hold_locks_every_seat_under_one_fence, room, {
    room.admit("u", "1:2", NOW_MS + 1).await;
    assert_eq!(room.hold("u", "1:2", &["a", "b"]).await, ("held".to_owned(), 1));
    assert_eq!(room.lock("a").await.as_deref(), Some("u:1"));
    assert_eq!(room.lock("b").await.as_deref(), Some("u:1"));
    assert_eq!(room.hold("u", "1:2", &["c"]).await, ("held".to_owned(), 2));
    let life_ms: u64 = room.command(&["PTTL", &room.key("b")]).await;
    assert!((LIFE_MS - 5_000..=LIFE_MS).contains(&life_ms), "{life_ms}");
});

both!(keeping_gives_one_s_own_locks_a_longer_life_and_no_other_s, room, {
    room.admit("u", "1:1", NOW_MS + 1).await;
    room.admit("v", "2:1", NOW_MS + 1).await;
    room.hold("u", "1:1", &["a"]).await;
    room.hold("v", "2:1", &["b"]).await;
    let longer_ms = 5 * LIFE_MS;
    assert_eq!(room.keep(longer_ms, &[("a", "u:1"), ("b", "u:2"), ("c", "u:3")]).await, 1);
    let life_ms = async |seat: &str| -> i64 { room.command(&["PTTL", &room.key(seat)]).await };
    assert!(life_ms("a").await > i64::try_from(LIFE_MS).unwrap());
    assert!(life_ms("b").await <= i64::try_from(LIFE_MS).unwrap());
    assert_eq!(room.lock("c").await, None, "a lock that has gone is not made anew");
});

both!(one_taken_seat_leaves_all_others_free, room, {
    room.admit("u", "1:1", NOW_MS + 1).await;
    room.admit("v", "2:1", NOW_MS + 1).await;
    assert_eq!(room.hold("u", "1:1", &["b"]).await.0, "held");
    assert_eq!(room.hold("v", "2:1", &["a", "b", "c"]).await, ("taken".to_owned(), 2));
    assert_eq!((room.lock("a").await, room.lock("c").await), (None, None));
    assert_eq!(room.lock("b").await.as_deref(), Some("u:1"));
    // A seat of one's own is taken too, and a failed hold costs no fence number.
    assert_eq!(room.hold("u", "1:1", &["b"]).await, ("taken".to_owned(), 1));
    assert_eq!(room.hold("v", "2:1", &["a"]).await, ("held".to_owned(), 2));
});

both!(who_holds_stays_inside_as_long_as_they_may_pay, room, {
    room.admit("u", "1:1", NOW_MS + 1).await;
    room.hold("u", "1:1", &["a"]).await;
    assert_eq!(room.keep(LIFE_MS, &[("a", "u:1")]).await, 1);
    assert_eq!(room.lease_end_ms("u").await, Some(NOW_MS + PAYABLE_MS));
    room.admit("u", "1:1", NOW_MS + 2 * PAYABLE_MS).await;
    room.keep(LIFE_MS, &[("a", "u:1")]).await;
    assert_eq!(room.lease_end_ms("u").await, Some(NOW_MS + 2 * PAYABLE_MS), "never shortened");
    room.admit("u", "1:1", NOW_MS).await;
    room.keep(LIFE_MS, &[("a", "u:1")]).await;
    assert_eq!(room.lease_end_ms("u").await, Some(NOW_MS), "what is over stays over");
});

both!(a_room_that_lost_its_memory_does_not_say_that_nobody_is_admitted, room, {
    assert_eq!(room.hold("u", "1:1", &["a"]).await, ("unknown".to_owned(), 0), "no such room");
    room.admit("v", "2:1", NOW_MS + 1).await;
    assert_eq!(room.hold("u", "1:1", &["a"]).await.0, "not_admitted");
    let _: i64 = room.command(&["HSET", &room.key("room"), "rebuilding", "1"]).await;
    assert_eq!(room.hold("u", "1:1", &["a"]).await.0, "unknown");
    assert_eq!(room.hold("v", "2:1", &["a"]).await.0, "held", "what it knows counts");
});

both!(paying_for_everything_ends_an_admission_only_where_the_room_is_set_so, room, {
    room.admit("u", "7:1", NOW_MS + 1).await;
    assert!(!room.paid("u").await, "no settings");
    let _: i64 = room.command(&["HSET", &room.key("room"), "settings", r#"{"leaveOnPayment":false}"#]).await;
    assert!(!room.paid("u").await);
    let _: i64 = room.command(&["HSET", &room.key("room"), "settings", r#"{"leaveOnPayment":true}"#]).await;
    assert!(room.paid("u").await);
    assert_eq!(room.lease_end_ms("u").await, None);
    assert!(!room.paid("u").await, "once");
    let events: Vec<(String, Vec<String>)> = room.command(&["XRANGE", &room.key("events"), "-", "+"]).await;
    assert_eq!(events[0].1.last().map(String::as_str), Some("paid u 7"));
});

both!(only_a_live_lease_with_this_very_pass_holds, room, {
    room.admit("w", "9:1", NOW_MS + 1).await;
    assert_eq!(room.hold("u", "1:1", &["a"]).await, ("not_admitted".to_owned(), 0));
    room.admit("u", "1:1", NOW_MS).await;
    assert_eq!(room.hold("u", "1:1", &["a"]).await.0, "not_admitted", "a lease that ends now has ended");
    room.admit("u", "1:1", NOW_MS + 1).await;
    for pass in ["1:2", "2:1", "1", ""] {
        assert_eq!(room.hold("u", pass, &["a"]).await.0, "not_admitted", "{pass}");
    }
    assert_eq!(room.lock("a").await, None);
    assert_eq!(room.hold("u", "1:1", &["a"]).await.0, "held");
    // Without a time of the caller's it is Redis' own, for which that lease is long over.
    assert_eq!(room.hold_at("u", "1:1", &["b"], 0).await.0, "not_admitted");
    room.admit("u", "1:1", 9_999_999_999_999).await;
    assert_eq!(room.hold_at("u", "1:1", &["b"], 0).await.0, "held");
});

both!(a_release_takes_only_the_lock_that_was_meant, room, {
    room.admit("u", "1:1", NOW_MS + 1).await;
    room.hold("u", "1:1", &["a", "b"]).await;
    assert_eq!(room.release(&[("a", "u:2"), ("b", "v:1"), ("c", "u:1")]).await, 0);
    assert_eq!(room.release(&[("a", "u:1"), ("b", "u:2")]).await, 1);
    assert_eq!((room.lock("a").await, room.lock("b").await.as_deref()), (None, Some("u:1")));
    // The seat has a new holder: the old one's late release is nothing to them.
    room.hold("u", "1:1", &["a"]).await;
    assert_eq!(room.release(&[("a", "u:1")]).await, 0);
    assert_eq!(room.lock("a").await.as_deref(), Some("u:2"));
});

both!(a_lock_is_handed_on_and_never_somebody_else_s, room, {
    room.admit("u", "1:1", NOW_MS + 1).await;
    assert_eq!(room.hold("u", "1:1", &["a"]).await, ("held".to_owned(), 1));
    assert_eq!(room.pass_on("a", "u:2", "v").await, 0, "not the one that was meant");
    assert_eq!(room.lock("a").await.as_deref(), Some("u:1"));
    assert_eq!(room.pass_on("a", "u:1", "v").await, 2);
    assert_eq!(room.lock("a").await.as_deref(), Some("v:2"));
    let life_ms: u64 = room.command(&["PTTL", &room.key("a")]).await;
    assert!((LIFE_MS - 5_000..=LIFE_MS).contains(&life_ms), "{life_ms}");
    // Whoever repeats it, or is late, changes nothing.
    assert_eq!(room.pass_on("a", "u:1", "w").await, 0);
    assert_eq!(room.release(&[("a", "u:1")]).await, 0);
    assert_eq!(room.pass_on("b", "u:0", "w").await, 3, "a seat without a lock is free to be handed on");
    assert_eq!(room.lock("b").await.as_deref(), Some("w:3"));
});

both!(of_many_at_once_one_holds, room, {
    let room = &room;
    for n in 0..50 {
        room.admit(&format!("u{n}"), "1:1", NOW_MS + 1).await;
    }
    let holds = (0..50).map(|n| async move {
        // Half want the seats in the other order.
        let seats = if n % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
        room.hold(&format!("u{n}"), "1:1", &seats).await.0
    });
    let outcomes = futures_util::future::join_all(holds).await;
    assert_eq!(outcomes.iter().filter(|status| *status == "held").count(), 1);
    assert_eq!(room.lock("a").await, room.lock("b").await);
});

/// The numbers in `NAME[n]`.
fn numbers(text: &str, name: &str) -> BTreeSet<usize> {
    let opening = format!("{name}[");
    text.split(opening.as_str())
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()))
        .collect()
}

#[test]
fn headers_say_what_the_code_does() {
    for script in HoldScripts::default().all() {
        let source = script.source();
        let (header, code): (Vec<&str>, Vec<&str>) = source.lines().partition(|line| line.starts_with("--"));
        let (header, code) = (header.join("\n"), code.join("\n"));
        assert!(source.starts_with("#!lua\n"), "{}", script.name());
        let verb = script.name().strip_prefix("holds/").unwrap();
        assert!(header.starts_with(&format!("-- {verb}: ")), "{verb}");
        for part in ["ATOMIC", "RETRY", "KEYS", "ARGV", "RETURNS", "COST"] {
            assert!(header.contains(&format!("-- {part} ")), "{verb} tells no {part}");
        }
        assert_eq!(numbers(&code, "KEYS"), (1..=script.fixed_keys()).collect(), "{verb}");
        let told = header.split("ARGV").nth(1).unwrap().split("RETURNS").next().unwrap();
        assert!(numbers(&code, "ARGV").is_subset(&numbers(told, "")), "{verb}");
        for status in ["held", "taken", "not_admitted"].iter().filter(|status| code.contains(**status)) {
            assert!(header.contains(&format!("'{status}'")), "{verb} does not tell of {status}");
        }
    }
}
