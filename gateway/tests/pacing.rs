//! What paces a room and what it forgets, at the level of its scripts: alone and as a cluster. Time is handed to them.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::Duration;

use common::ids::UserId;
use gateway::domain::{RoomDefaults, Standing};
use gateway::store::{Arrival, PollToken};
use support::{DEFAULTS, Rig, START_MS, is_admitted, position, standing, users};

const ONE_AT_A_TIME: RoomDefaults = RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, ..DEFAULTS };

/// Polls everybody in one call; how many got in by it.
async fn poll_all(rig: &Rig, people: &[UserId]) -> (u32, Vec<Standing>) {
    let before = rig.counts().await.leased;
    let token = |user: &UserId| PollToken { user: *user, position: 0, epoch: 0 };
    let tokens: Vec<PollToken> = people.iter().map(token).collect();
    let arrivals = rig.store.poll(&rig.keys, &rig.context, &tokens).await.unwrap().people;
    (rig.counts().await.leased - before, arrivals.into_iter().map(standing).collect())
}

/// Over any time t, at most `rate * t + burst` people got in; times in ms.
fn check_every_window(admissions: &[(u32, u32)], rate: u32, burst: u32) {
    for (from, (begun_ms, _)) in admissions.iter().enumerate() {
        let mut inside = 0;
        for (ms, admitted) in &admissions[from..] {
            inside += admitted;
            let allowed = burst + rate * (ms - begun_ms) / 1_000;
            assert!(inside <= allowed, "{inside} from {begun_ms} to {ms} ms, {allowed} allowed");
        }
    }
}

#[tokio::test]
async fn claims_are_paced_like_offers() {
    let (session, claim) = (Duration::from_mins(10), Duration::from_secs(45));
    for mut rig in Rig::on_both(RoomDefaults { max_active: 1_000, session, claim, ..DEFAULTS }) {
        let people: Vec<UserId> = (0..205).map(|_| UserId::generate()).collect();
        rig.join(&people).await;
        rig.note_present(&people.iter().map(|person| (*person, 600_000)).collect::<Vec<_>>()).await;
        let waiting = &people[5..];
        // The gateways are away from their visitors for as long as an offer lasts, nearly.
        for _ in 0..44 {
            rig.advance(Duration::from_secs(1));
            rig.admit().await;
        }
        assert_eq!((rig.counts().await.leased, rig.counts().await.offers), (5, 200));
        let (admitted, standings) = poll_all(&rig, waiting).await;
        assert_eq!(admitted, 5, "all claim in the same millisecond, and only the burst gets in");
        for standing in &standings[5..] {
            let Standing::Waiting { ahead, claim_in_ms, .. } = standing else { panic!("{standing:?}") };
            assert_eq!((*ahead, *claim_in_ms), (Some(0), Some(100)), "the offer is kept, and the next claim is near");
        }
        let mut admissions = vec![(0, admitted)];
        for step in 1..=80 {
            rig.advance(Duration::from_millis(250));
            admissions.push((step * 250, poll_all(&rig, waiting).await.0));
        }
        check_every_window(&admissions, 10, 5);
        assert_eq!((rig.counts().await.leased, rig.counts().await.offers), (205, 0), "20 seconds at ten a second");
    }
}

#[tokio::test]
async fn an_offer_that_waits_for_its_claim_outlives_its_own_end() {
    let slow = RoomDefaults { admit_per_second: 0.5, burst: 1, claim: Duration::from_secs(1), ..DEFAULTS };
    for (comes_after, gets_in) in [(Duration::from_millis(2_999), true), (Duration::from_secs(3), false)] {
        for mut rig in Rig::on_both(slow) {
            let [inside, person] = users();
            rig.join(&[inside, person]).await;
            rig.advance(Duration::from_secs(2));
            assert_eq!(rig.admit().await, (1, 0));
            rig.set(&[("claims", "0")]).await;
            let Standing::Waiting { claim_in_ms: Some(2_000), .. } = rig.poll(person).await else {
                panic!("a claim every two seconds")
            };
            rig.advance(comes_after);
            assert_eq!(is_admitted(rig.poll(person).await), gets_in, "the wait, and then the time to claim");
        }
    }
}

#[tokio::test]
async fn newcomers_of_an_idle_room_are_paced_with_the_claims() {
    for mut rig in Rig::on_both(RoomDefaults { max_active: 1_000, claim: Duration::from_mins(1), ..DEFAULTS }) {
        let waiting: [UserId; 5] = users();
        rig.join(&users::<5>()).await;
        rig.join(&waiting).await;
        rig.advance(Duration::from_millis(500));
        assert_eq!(rig.admit().await.0, 5);
        rig.advance(Duration::from_millis(500));
        assert_eq!(poll_all(&rig, &waiting).await.0, 5);
        let standings = rig.join(&users::<5>()).await;
        assert!(!standings.into_iter().any(is_admitted), "five got in at this very moment");
    }
}

#[tokio::test]
async fn claims_and_newcomers_of_one_call_share_the_pace() {
    for mut rig in Rig::on_both(RoomDefaults { max_active: 1_000, claim: Duration::from_mins(1), ..DEFAULTS }) {
        let waiting: [UserId; 5] = users();
        rig.join(&users::<5>()).await;
        rig.join(&waiting).await;
        rig.advance(Duration::from_millis(500));
        assert_eq!(rig.admit().await.0, 5);
        rig.advance(Duration::from_millis(500));
        let mut people = waiting.to_vec();
        people.extend(users::<5>());
        let standings = rig.join(&people).await;
        let inside: Vec<bool> = standings.into_iter().map(is_admitted).collect();
        assert_eq!(inside, [[true; 5], [false; 5]].concat());
    }
}

#[tokio::test]
async fn an_operator_s_offers_can_all_be_claimed_and_save_nothing_up() {
    for mut rig in Rig::on_both(RoomDefaults { max_active: 1_000, ..DEFAULTS }) {
        let people: [UserId; 40] = users();
        rig.join(&people).await;
        rig.configure(|settings| settings.paused = true);
        let admit_now = async |rig: &Rig, extra| rig.store.admit(&rig.keys, &rig.context, extra).await.unwrap().offered;
        assert_eq!(admit_now(&rig, 12).await, 12);
        assert_eq!(poll_all(&rig, &people[5..17]).await.0, 12);
        // These twenty are never claimed.
        assert_eq!(admit_now(&rig, 20).await, 20);
        rig.advance(Duration::from_secs(30));
        rig.admit().await;
        rig.configure(|settings| settings.paused = false);
        poll_all(&rig, &people[17..]).await;
        assert_eq!(rig.counts().await.waiting, 23);
        rig.note_present(&people.map(|person| (person, 60_000))).await;
        for _ in 0..3 {
            rig.advance(Duration::from_millis(500));
            rig.admit().await;
        }
        assert_eq!(rig.counts().await.offers, 15);
        assert_eq!(poll_all(&rig, &people[17..]).await.0, 5, "the burst, as if there had been no extra offers");
    }
}

#[tokio::test]
async fn marks_of_ends_are_dropped_after_an_hour_in_bounded_steps() {
    for rig in Rig::on_both(DEFAULTS) {
        rig.ready().await;
        // The expired are key 7, those who left key 8.
        for key in [7, 8] {
            let mut add = redis::cmd("ZADD");
            add.arg(&rig.keys.all()[key]);
            for person in 0..2_500 {
                add.arg(START_MS - 3_600_000).arg(format!("old{person}"));
            }
            add.arg(START_MS - 3_599_999).arg("young");
            let mut positions = redis::cmd("HSET");
            positions.arg(&rig.keys.all()[13]).arg("young").arg(1);
            for person in 0..2_500 {
                positions.arg(format!("old{person}")).arg(1);
            }
            rig.redis.run::<i64>(positions).await.unwrap();
            rig.redis.run::<i64>(add).await.unwrap();
        }
        let marks = async |key: usize| -> i64 {
            rig.redis.run(redis::cmd("ZCARD").arg(&rig.keys.all()[key]).to_owned()).await.unwrap()
        };
        for rest in [1_501, 501, 1, 1] {
            rig.admit().await;
            assert_eq!((marks(7).await, marks(8).await), (rest, rest));
            let positions: i64 = rig.redis.run(redis::cmd("HLEN").arg(&rig.keys.all()[13]).to_owned()).await.unwrap();
            assert_eq!(positions, rest, "with their positions");
        }
    }
}

#[tokio::test]
async fn an_old_token_of_a_person_who_joined_again_gets_the_new_position() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, person] = users();
        let Standing::Waiting { position: old, epoch, .. } = rig.join(&[inside, person]).await[1] else {
            panic!("one is inside")
        };
        rig.leave(person).await;
        let new = position(rig.join_one(person).await);
        assert!(new > old);
        assert_eq!(position(standing(rig.poll_with(person, old, epoch).await)), new);
        assert_eq!(position(standing(rig.poll_with(person, old, epoch - 1).await)), new, "a token of another epoch");
    }
}

#[tokio::test]
async fn a_mark_of_an_end_does_not_count_for_a_later_join() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, person] = users();
        rig.join(&[inside, person]).await;
        let epoch = rig.counts().await.epoch;
        rig.leave(person).await;
        rig.join_one(UserId::generate()).await;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Standing(Standing::Left));
        assert_eq!(rig.poll_with(person, 3, epoch).await, Arrival::Unknown, "a token of a later join");
        // Whatever the clock does.
        rig.context.now_ms -= 3_600_000;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Standing(Standing::Left));
        rig.advance(Duration::from_mins(121));
        rig.admit().await;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Unknown, "then only the record knows");
    }
}

#[tokio::test]
async fn an_end_is_remembered_for_an_hour_whatever_ended_before() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [person] = users();
        rig.join_one(person).await;
        let epoch = rig.counts().await.epoch;
        rig.leave(person).await;
        rig.advance(Duration::from_mins(30));
        assert!(is_admitted(rig.join_one(person).await), "the room is idle");
        rig.advance(Duration::from_mins(5));
        rig.admit().await;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Standing(Standing::Expired));
        rig.advance(Duration::from_mins(26));
        rig.admit().await;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Standing(Standing::Expired));
    }
}

#[tokio::test]
async fn a_leave_is_recorded_also_of_a_person_whom_only_the_record_knows() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        rig.ready().await;
        rig.context.recorded = true;
        let events = async |rig: &Rig| -> Vec<String> {
            let command = redis::cmd("XRANGE").arg(&rig.keys.all()[11]).arg("-").arg("+").to_owned();
            let entries: Vec<(String, Vec<String>)> = rig.redis.run(command).await.unwrap();
            entries.into_iter().filter_map(|(_, fields)| fields.last().cloned()).collect()
        };
        let [person, stranger] = users();
        rig.store.leave(&rig.keys, &rig.context, person, false, 2).await.unwrap();
        rig.store.leave(&rig.keys, &rig.context, stranger, false, 0).await.unwrap();
        assert_eq!(events(&rig).await, [format!("left {} 2", person.compact())]);
    }
}

#[tokio::test]
async fn a_room_whose_sale_is_over_goes_away_with_all_its_keys() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [person, waiting] = users();
        rig.join_one(person).await;
        rig.configure(|settings| settings.paused = true);
        rig.join_one(waiting).await;
        rig.context.sale_over = true;
        rig.admit().await;
        let ttl = async |rig: &Rig| -> i64 {
            rig.redis.run(redis::cmd("PTTL").arg(&rig.keys.all()[1]).to_owned()).await.unwrap()
        };
        assert_eq!(ttl(&rig).await, -1, "somebody is inside");
        rig.leave(person).await;
        rig.admit().await;
        assert!((3_500_000..=3_600_000).contains(&ttl(&rig).await));
        rig.advance(Duration::from_mins(30));
        rig.admit().await;
        assert!((1_700_000..=1_800_000).contains(&ttl(&rig).await), "no later for being looked at");
        rig.context.sale_over = false;
        rig.admit().await;
        assert_eq!(ttl(&rig).await, -1, "the sale goes on");
    }
}
