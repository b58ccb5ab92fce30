//! The waiting room's scripts on a real Redis, alone and as a cluster. Time is handed to them.

mod support;

use std::time::Duration;

use common::ids::UserId;
use gateway::domain::{Mode, RoomDefaults, Standing};
use gateway::store::{LeaseCheck, Seen};
use support::{DEFAULTS, Rig, is_admitted, is_waiting, position, users};

const ONE_AT_A_TIME: RoomDefaults = RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, ..DEFAULTS };

#[tokio::test]
async fn an_idle_room_admits_at_once_until_the_burst_is_spent() {
    for rig in Rig::on_both(DEFAULTS) {
        let standings = rig.join(&users::<8>()).await;
        assert_eq!(standings.iter().filter(|standing| is_admitted(**standing)).count(), 5);
        assert_eq!(
            standings.iter().map(|standing| position(*standing)).collect::<Vec<_>>(),
            (1..=8).collect::<Vec<_>>()
        );
        assert!(is_waiting(standings[5]) && is_waiting(standings[7]));
    }
}

#[tokio::test]
async fn joining_again_gives_the_same_place() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, first, second] = users();
        let before = rig.join(&[inside, first, second]).await;
        let again = rig.join(&[second, first, inside, second]).await;
        let positions =
            |standings: &[Standing]| standings.iter().map(|standing| position(*standing)).collect::<Vec<_>>();
        assert_eq!(positions(&again), positions(&[before[2], before[1], before[0], before[2]]));
        assert_eq!(again[2], before[0], "the same admission");
        assert_eq!(rig.counts().await.seq, 3);
    }
}

#[tokio::test]
async fn someone_in_line_is_not_passed_by_a_newcomer_when_a_place_is_free() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, waiting, newcomer] = users();
        rig.join(&[inside, waiting]).await;
        rig.leave(inside).await;
        rig.advance(Duration::from_secs(1));
        assert!(is_waiting(rig.join_one(newcomer).await));
        assert_eq!(rig.admit().await, (1, 0));
        assert!(is_admitted(rig.poll(waiting).await));
        assert!(is_waiting(rig.poll(newcomer).await));
    }
}

#[tokio::test]
async fn admissions_never_exceed_the_rate_plus_the_burst() {
    for mut rig in Rig::on_both(RoomDefaults { max_active: 10_000, ..DEFAULTS }) {
        let people: Vec<UserId> = (0..200).map(|_| UserId::generate()).collect();
        rig.join(&people).await;
        let begun = rig.counts().await.admitted;
        assert_eq!(begun, 5);
        // Ticks at uneven times, two at once now and then: over any time t at most 10 t more.
        let mut elapsed_ms = 0;
        for step_ms in [1, 30, 250, 99, 1, 0, 0, 250, 333, 7, 1_000, 250, 250, 2, 512] {
            rig.advance(Duration::from_millis(step_ms));
            elapsed_ms += step_ms;
            rig.admit().await;
            rig.admit().await;
            let admitted = rig.counts().await.admitted - begun;
            assert!(admitted <= elapsed_ms / 100, "{admitted} in {elapsed_ms} ms");
            assert!(admitted + 1 >= elapsed_ms / 100 || elapsed_ms > 500, "{admitted} in {elapsed_ms} ms");
        }
    }
}

#[tokio::test]
async fn a_fraction_is_a_slow_rate_and_not_rounded() {
    for mut rig in Rig::on_both(RoomDefaults { admit_per_second: 0.5, burst: 1, max_active: 100, ..DEFAULTS }) {
        rig.join(&users::<20>()).await;
        for _ in 0..40 {
            rig.advance(Duration::from_millis(250));
            rig.admit().await;
        }
        assert_eq!(rig.counts().await.admitted, 1 + 5, "ten seconds at one every two");
    }
}

#[tokio::test]
async fn a_clock_set_back_admits_nobody_early() {
    for mut rig in Rig::on_both(RoomDefaults { max_active: 10_000, ..DEFAULTS }) {
        rig.join(&users::<50>()).await;
        rig.context.now_ms -= 3_600_000;
        assert_eq!(rig.admit().await.0, 0);
        rig.advance(Duration::from_millis(100));
        assert_eq!(rig.admit().await.0, 1);
    }
}

#[tokio::test]
async fn offers_and_leases_together_never_exceed_the_capacity() {
    for mut rig in Rig::on_both(DEFAULTS) {
        rig.join(&users::<60>()).await;
        for _ in 0..20 {
            rig.advance(Duration::from_secs(1));
            rig.admit().await;
            let counts = rig.counts().await;
            assert!(counts.offers + counts.leased <= 20, "{counts:?}");
        }
        let counts = rig.counts().await;
        assert_eq!(counts.offers + counts.leased, 20);
    }
}

#[tokio::test]
async fn turns_come_in_order_of_position() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let people: [UserId; 12] = users();
        rig.join(&people).await;
        rig.advance(Duration::from_millis(300));
        assert_eq!(rig.admit().await.0, 3);
        for (at, person) in people.iter().enumerate().skip(5) {
            assert_eq!(is_admitted(rig.poll(*person).await), at < 8, "number {}", at + 1);
        }
        assert_eq!(rig.counts().await.frontier, 8);
    }
}

#[tokio::test]
async fn who_is_absent_is_set_aside_and_first_again_on_return_with_the_same_number() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, gone, stays, last] = users();
        rig.join(&[inside, gone, stays, last]).await;
        for _ in 0..60 {
            rig.advance(Duration::from_secs(1));
            rig.admit().await;
            rig.note_present(&[(stays, 12_000), (last, 12_000)]).await;
        }
        // The lease ran out after a minute; the next in line had long been expected back.
        rig.advance(Duration::from_secs(1));
        rig.admit().await;
        assert!(is_admitted(rig.poll(stays).await), "nobody waits for someone who is not there");
        let back = rig.poll(gone).await;
        assert_eq!((is_waiting(back), position(back)), (true, 2));
        rig.leave(stays).await;
        rig.advance(Duration::from_secs(1));
        rig.admit().await;
        assert!(is_admitted(rig.poll(gone).await), "first again");
        assert!(is_waiting(rig.poll(last).await));
    }
}

#[tokio::test]
async fn a_turn_not_claimed_in_time_goes_to_the_next_and_the_number_is_kept() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, sleeps, next] = users();
        rig.join(&[inside, sleeps, next]).await;
        rig.leave(inside).await;
        rig.advance(Duration::from_secs(1));
        assert_eq!(rig.admit().await, (1, 0));
        rig.advance(Duration::from_secs(29));
        assert_eq!(rig.admit().await, (0, 0), "the turn is still the sleeper's");
        rig.advance(Duration::from_secs(1));
        rig.note_present(&[(next, 12_000)]).await;
        assert_eq!(rig.admit().await, (1, 0));
        assert!(is_admitted(rig.poll(next).await));
        let late = rig.poll(sleeps).await;
        assert_eq!((is_waiting(late), position(late)), (true, 2));
    }
}

#[tokio::test]
async fn a_lease_ends_by_time_and_by_leaving_and_both_are_told_apart() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [stays, leaves, comes_back] = users();
        rig.join(&[stays, leaves, comes_back]).await;
        assert!(rig.leave(leaves).await);
        assert!(!rig.leave(leaves).await, "gone already");
        assert_eq!(rig.poll(leaves).await, Standing::Left);
        rig.advance(Duration::from_mins(1));
        assert_eq!(rig.poll(stays).await, Standing::Expired);
        rig.admit().await;
        assert_eq!(rig.poll(stays).await, Standing::Expired);
        assert_eq!(position(rig.join_one(comes_back).await), 4, "who comes after their time gets a new place");
        assert_eq!(rig.poll(UserId::generate()).await, Standing::Left, "a stranger");
    }
}

#[tokio::test]
async fn a_pass_is_live_for_its_owner_until_they_leave() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [owner, other] = users();
        let Standing::Admitted(lease) = rig.join_one(owner).await else { panic!("an idle room admits") };
        let end_ms = lease.ends_at.timestamp_millis();
        assert_eq!(rig.lease(owner, lease.pass).await, LeaseCheck::Live { end_ms });
        assert_eq!(rig.lease(other, lease.pass).await, LeaseCheck::None);
        let wrong = common::tokens::PassId { nonce: lease.pass.nonce + 1, ..lease.pass };
        assert_eq!(rig.lease(owner, wrong).await, LeaseCheck::None);
        rig.leave(owner).await;
        assert_eq!(rig.lease(owner, lease.pass).await, LeaseCheck::None);
        let Standing::Admitted(next) = rig.join_one(owner).await else { panic!("still idle") };
        rig.advance(Duration::from_mins(1));
        assert_eq!(rig.lease(owner, next.pass).await, LeaseCheck::None, "over");
    }
}

#[tokio::test]
async fn before_the_opening_people_gather_in_order_and_nobody_is_admitted() {
    for mut rig in Rig::on_both(DEFAULTS) {
        rig.context.opens_at_ms = rig.context.now_ms + 5_000;
        let [first, second] = users();
        assert!(rig.join(&[first, second]).await.into_iter().all(is_waiting));
        rig.advance(Duration::from_millis(4_999));
        assert_eq!(rig.admit().await, (0, 0));
        rig.advance(Duration::from_millis(1));
        assert_eq!(rig.admit().await, (2, 0));
        assert_eq!(position(rig.poll(first).await), 1);
    }
}

#[tokio::test]
async fn the_room_s_own_settings_count_over_the_defaults() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [first, second, third] = users();
        rig.join_one(first).await;
        rig.configure(|settings| settings.paused = true);
        assert!(is_waiting(rig.join_one(second).await));
        rig.advance(Duration::from_secs(1));
        assert_eq!(rig.admit().await, (0, 0), "paused");
        rig.configure(|settings| settings.mode = Mode::Closed);
        assert_eq!(rig.join_one(third).await, Standing::Closed);
        rig.configure(|settings| (settings.paused, settings.mode) = (false, Mode::Passthrough));
        assert!(is_admitted(rig.join_one(third).await), "everyone is let in");
        assert_eq!(rig.admit().await.0, 1);
        rig.configure(|settings| (settings.mode, settings.max_active) = (Mode::Queue, 3));
        assert!(is_waiting(rig.join_one(UserId::generate()).await), "three are inside");
    }
}

/// Makes the rig a gateway that has seen the room as it is.
async fn look(rig: &mut Rig) -> u32 {
    let counts = rig.counts().await;
    rig.context.seen = Seen { position: counts.seq, epoch: counts.epoch, changes: counts.changes };
    counts.epoch
}

#[tokio::test]
async fn a_room_that_lost_its_memory_puts_ticket_holders_back_at_their_own_positions() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, a, b, c] = users();
        rig.join(&[inside, a, b, c]).await;
        let epoch = look(&mut rig).await;
        rig.wipe().await;
        rig.advance(Duration::from_secs(3));
        let newcomers: [UserId; 2] = users();
        let standings = rig.join(&newcomers).await;
        assert!(standings.iter().all(|standing| is_waiting(*standing)), "nobody walks in while others are coming back");
        assert!(standings.iter().all(|standing| position(*standing) > 1_004), "no number twice: {standings:?}");
        assert_eq!(rig.counts().await.frontier, 0, "polls from further back stay cheap");
        let tickets = [(c, 4, epoch), (a, 2, epoch), (b, 3, epoch)];
        let back = rig.put_back(&tickets).await;
        assert_eq!(back.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [4, 2, 3]);
        assert!(back.iter().all(|(_, life)| *life > epoch));
        assert_eq!(rig.admit().await, (0, 0), "not before those near the front had time to return");
        rig.advance(Duration::from_secs(5));
        assert_eq!(rig.admit().await, (1, 0));
        assert!(is_admitted(rig.poll(a).await), "the lowest of all is next");
    }
}

#[tokio::test]
async fn losing_its_memory_gives_a_room_no_second_burst() {
    for mut rig in Rig::on_both(RoomDefaults { admit_per_second: 1.0, burst: 5, max_active: 100, ..DEFAULTS }) {
        rig.join(&users::<10>()).await;
        look(&mut rig).await;
        rig.wipe().await;
        rig.advance(Duration::from_secs(1));
        rig.join(&users::<10>()).await;
        rig.advance(Duration::from_secs(6));
        assert_eq!(rig.admit().await.0, 5, "what was saved up in six seconds is bounded by the burst");
        rig.advance(Duration::from_millis(900));
        assert_eq!(rig.admit().await.0, 0);
    }
}

#[tokio::test]
async fn a_room_that_lost_its_latest_part_begins_a_new_life_with_what_it_knows() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, kept, lost] = users();
        rig.join(&[inside, kept, lost]).await;
        let epoch = look(&mut rig).await;
        // As a replica that took over without the last write: the last one's place and number are gone.
        let forget = redis::cmd("ZREM").arg(&rig.keys.all()[1]).arg(lost.compact()).to_owned();
        rig.redis.run::<()>(forget).await.unwrap();
        rig.set(&[("seq", "2"), ("changes", "0")]).await;
        let newcomer = rig.join_one(UserId::generate()).await;
        assert!(position(newcomer) > 1_003, "{newcomer:?}");
        let tickets = [(lost, 3, epoch), (kept, 2, epoch)];
        let back = rig.put_back(&tickets).await;
        assert_eq!(back.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3, 2]);
        assert!(is_admitted(rig.poll(inside).await), "what it knows still counts");
    }
}

#[tokio::test]
async fn whoever_saw_more_repairs_a_room_begun_by_one_who_had_seen_nothing() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, a, b] = users();
        rig.join(&[inside, a, b]).await;
        let epoch = look(&mut rig).await;
        let informed = rig.context.seen;
        rig.wipe().await;
        rig.advance(Duration::from_secs(1));
        rig.context.seen = Seen::default();
        let [first, second] = users();
        rig.join(&[first, second]).await;
        rig.context.seen = informed;
        rig.admit().await;
        assert!(position(rig.join_one(UserId::generate()).await) > 1_003);
        let back = rig.put_back(&[(a, 2, epoch), (b, 3, epoch)]).await;
        assert_eq!(back.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [2, 3]);
        assert!(position(rig.poll(second).await) > 1_003, "the older ticket keeps the number");
    }
}

#[tokio::test]
async fn a_sale_that_is_over_gives_no_turns_and_takes_up_none() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, next, last] = users();
        rig.join(&[inside, next, last]).await;
        rig.leave(inside).await;
        rig.advance(Duration::from_secs(1));
        assert_eq!(rig.admit().await, (1, 0));
        rig.context.sale_over = true;
        assert!(is_waiting(rig.poll(next).await), "the offer is not taken up");
        rig.advance(Duration::from_secs(2));
        assert_eq!(rig.admit().await, (0, 0));
        assert_eq!(rig.join_one(UserId::generate()).await, Standing::Closed);
    }
}

#[tokio::test]
async fn someone_who_left_is_not_put_back_by_an_old_ticket() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, gone] = users();
        let Standing::Waiting { position, epoch, .. } = rig.join(&[inside, gone]).await[1] else {
            panic!("one is inside")
        };
        rig.leave(gone).await;
        assert_eq!(rig.poll_with(gone, position, epoch).await, Some(Standing::Left));
        assert_eq!(rig.poll_with(gone, position, epoch - 1).await, Some(Standing::Left));
    }
}

#[tokio::test]
async fn the_snapshot_ranks_everyone_within_two_percent() {
    for rig in Rig::on_both(RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, ..DEFAULTS }) {
        let people: Vec<UserId> = (0..3_000).map(|_| UserId::generate()).collect();
        for chunk in people.chunks(500) {
            rig.join(chunk).await;
        }
        // A third leaves, in clumps.
        for person in people.iter().enumerate().filter(|(at, _)| at % 300 < 100).map(|(_, person)| person) {
            rig.leave(*person).await;
        }
        let snapshot = rig.store.snapshot(&rig.keys, &rig.context, 0).await.unwrap().unwrap();
        let mut exact = 0_u32;
        for (at, _) in people.iter().enumerate().filter(|(at, _)| at % 300 >= 100) {
            let told = snapshot.ranks.ahead(u32::try_from(at).unwrap() + 1, snapshot.counts.seq);
            assert!(told.abs_diff(exact) <= 5.max(exact / 50), "rank {exact}: told {told}");
            exact += 1;
        }
        assert_eq!(snapshot.counts.waiting, exact);
        assert_eq!(snapshot.left.len(), 1_000);
    }
}
