//! A room whose state was lost or rolled back, at the level of its scripts: alone and as a cluster. Time is handed to them.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::Duration;

use common::ids::UserId;
use common::tokens::PassId;
use gateway::domain::recovery::{Evidence, Moment, Place};
use gateway::domain::{DrawState, RoomDefaults, Standing};
use gateway::store::{Arrival, LeaseCheck, PollToken, Restoring, RoomError, Source};
use support::lost::{RETURNED, look, word};
use support::{DEFAULTS, Rig, position, users};

const ONE_AT_A_TIME: RoomDefaults = RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, ..DEFAULTS };

/// As after a restart or a failover: the room was opened in another Redis process.
async fn other_process(rig: &Rig) {
    rig.set(&[("server", "another")]).await;
}

#[tokio::test]
async fn a_lost_room_changes_nothing_until_the_next_epoch_is_open_and_positions_jump_once() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, a, b, newcomer] = users();
        rig.join(&[inside, a, b]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        for _ in 0..2 {
            assert!(matches!(
                rig.store.join(&rig.keys, &rig.context, &[newcomer]).await,
                Err(RoomError::Lost(lost)) if lost.epoch == 0
            ));
            assert!(matches!(rig.store.admit(&rig.keys, &rig.context, 1).await, Err(RoomError::Lost(_))));
            assert!(matches!(rig.store.leave(&rig.keys, &rig.context, a, false, 2).await, Err(RoomError::Lost(_))));
            assert_eq!(rig.existing_keys().await, 0, "nothing is written into a lost room");
        }
        let second = rig.open_next().await;
        assert!(second > first);
        rig.advance(Duration::from_secs(1));
        assert!(!rig.open(0, true).await, "the second gateway that found the loss changes nothing");
        assert_eq!(rig.try_join(&[newcomer]).await, [Arrival::Rebuilding], "no position before everybody is back");
        assert_eq!(
            rig.restore(
                second,
                Source::Page,
                3,
                &[word(a, 2, Place::Waiting, first, 2), word(b, 3, Place::Waiting, first, 2)]
            )
            .await,
            Some(2)
        );
        assert!(rig.complete(second).await);
        assert_eq!(position(rig.join_one(newcomer).await), 1_004);
        // Words of people behind the jump raise the counter only as far as they are.
        assert_eq!(rig.counts().await.seq, 1_004);
    }
}

#[tokio::test]
async fn a_clock_set_back_holds_offers_back_no_longer_than_a_loss_does() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, a] = users();
        rig.join(&[inside, a]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        rig.restore(second, Source::Page, 2, &[word(a, 2, Place::Waiting, first, 2)]).await;
        rig.complete(second).await;
        rig.context.now_ms -= 3_600_000;
        rig.admit().await;
        rig.advance(RETURNED + Duration::from_secs(1));
        assert_eq!(rig.admit().await, (1, 0));
    }
}

#[tokio::test]
async fn another_redis_process_is_a_loss_for_every_call_and_changes_nothing() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, waiting, stranger] = users();
        let Standing::Admitted(lease) = rig.join(&[inside, waiting]).await[0] else { panic!("an idle room admits") };
        let before = rig.counts().await;
        let (store, keys, context, epoch) = (&rig.store, &rig.keys, &rig.context, before.epoch);
        other_process(&rig).await;
        let token = PollToken { user: inside, position: 1, epoch };
        let (words, place) = ([word(stranger, 3, Place::Waiting, epoch, 9)], (stranger, 3, Place::Waiting));
        let restoring = Restoring { epoch, source: Source::Page, up_to: 3, draw: (DrawState::None, 0), words: &words };
        let outcomes = [
            store.join(keys, context, &[stranger]).await.map(|_| ()),
            store.poll(keys, context, &[token]).await.map(|_| ()),
            store.leave(keys, context, waiting, false, 2).await.map(|_| ()),
            store.note_present(keys, context, &[(waiting, 9_000)]).await.map(|_| ()),
            store.admit(keys, context, 1).await.map(|_| ()),
            store.snapshot(keys, context, 0).await.map(|_| ()),
            store.lease(keys, context, inside, lease.pass).await.map(|_| ()),
            store.retell(keys, context, epoch, &words).await.map(|_| ()),
            store.restore(keys, context, &restoring).await.map(|_| ()),
            store.complete(keys, context, epoch).await.map(|_| ()),
            store.reinstate(keys, context, epoch, place).await.map(|_| ()),
        ];
        for (call, outcome) in outcomes.into_iter().enumerate() {
            let Err(RoomError::Lost(lost)) = outcome else { panic!("call {call}: {outcome:?}") };
            assert_eq!((lost.epoch, lost.proof.position), (epoch, before.seq), "call {call}");
        }
        rig.advance(Duration::from_secs(1));
        assert!(rig.open(epoch, true).await);
        let counts = rig.counts().await;
        assert_eq!(counts.base, Moment { epoch, version: before.version }, "no call of the new process moved it");
        assert_eq!((counts.waiting, counts.leased), (1, 1));
        assert_eq!(rig.try_join(&[stranger]).await, [Arrival::Rebuilding], "the next epoch, in this process");
    }
}

#[tokio::test]
async fn a_token_proves_that_the_room_knew_more() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, person] = users();
        rig.join_one(inside).await;
        let epoch = rig.counts().await.epoch;
        let poll = async |position, epoch| {
            let token = PollToken { user: person, position, epoch };
            match rig.store.poll(&rig.keys, &rig.context, &[token]).await {
                Err(RoomError::Lost(lost)) => Some((lost.proof.epoch, lost.proof.position)),
                other => {
                    assert_eq!(other.unwrap().people, [Arrival::Unknown]);
                    None
                }
            }
        };
        assert_eq!(poll(2, epoch).await, Some((epoch, 2)), "a position above the highest");
        assert_eq!(poll(1, epoch + 1).await, Some((epoch + 1, 1)), "a later epoch");
        assert_eq!(poll(2, 0).await, Some((0, 2)), "a pass");
        assert_eq!(poll(2, epoch - 1).await, None, "an earlier epoch may have given more");
        assert_eq!(poll(1, epoch).await, None);
    }
}

#[tokio::test]
async fn a_pass_from_a_later_moment_than_the_room_is_not_denied() {
    for rig in Rig::on_both(DEFAULTS) {
        let [inside, later] = users();
        rig.join_one(inside).await;
        let pass = PassId { position: 2, nonce: 2 };
        assert!(matches!(rig.store.lease(&rig.keys, &rig.context, later, pass).await, Err(RoomError::Lost(_))));
    }
}

#[tokio::test]
async fn a_person_is_reinstated_once_and_only_where_the_room_does_not_know_them() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, waiting, lost] = users();
        rig.join(&[inside, waiting]).await;
        let epoch = rig.counts().await.epoch;
        let reinstate = async |epoch, user, position, place| {
            rig.store.reinstate(&rig.keys, &rig.context, epoch, (user, position, place)).await.unwrap();
        };
        reinstate(epoch, waiting, 1, Place::Waiting).await;
        assert_eq!(position(rig.poll(waiting).await), 2, "a person who is known stays as they are");
        reinstate(epoch - 1, lost, 7, Place::Waiting).await;
        assert_eq!(rig.poll_with(lost, 1, epoch).await, Arrival::Unknown, "another epoch's verdict");
        reinstate(epoch, lost, 7, Place::Waiting).await;
        assert_eq!(position(rig.poll(lost).await), 7);
        assert_eq!(rig.counts().await.seq, 7, "no position twice");
    }
}

#[tokio::test]
async fn an_ended_position_is_not_reinstated_and_a_later_one_is() {
    for rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, person, stranger] = users();
        rig.join(&[inside, person]).await;
        let epoch = rig.counts().await.epoch;
        let reinstate = async |user, position, place| {
            rig.store.reinstate(&rig.keys, &rig.context, epoch, (user, position, place)).await.unwrap();
        };
        rig.leave(person).await;
        // A gateway decided before they left, and was paused since.
        reinstate(person, 2, Place::Waiting).await;
        assert_eq!(rig.poll_with(person, 2, epoch).await, Arrival::Standing(Standing::Left));
        reinstate(person, 9, Place::Waiting).await;
        assert_eq!(position(rig.poll(person).await), 9);
        // An end that the record knows is marked up to the position that it is of.
        reinstate(stranger, 5, Place::Expired).await;
        assert_eq!(rig.poll_with(stranger, 5, epoch).await, Arrival::Standing(Standing::Expired));
        assert_eq!(rig.poll_with(stranger, 6, epoch).await, Arrival::Unknown, "a later join");
    }
}

#[tokio::test]
async fn what_is_no_number_is_a_loss_and_no_error() {
    for mut rig in Rig::on_both(DEFAULTS) {
        rig.join_one(UserId::generate()).await;
        look(&mut rig).await;
        for (field, value) in [("seq", "many"), ("epoch", "-1"), ("version", "1e300"), ("seq", "4294967296")] {
            rig.set(&[(field, value)]).await;
            assert!(rig.is_lost().await, "{field} {value}");
            rig.open_next().await;
            look(&mut rig).await;
        }
        rig.set(&[("settings", "{")]).await;
        rig.admit().await;
        assert_eq!(rig.counts().await.epoch, rig.context.seen.epoch, "the caller's settings hold");
    }
}

#[tokio::test]
async fn a_pass_is_neither_live_nor_over_before_its_position_is_back() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [first_in, second_in] = users();
        let passes: Vec<PassId> = rig
            .join(&[first_in, second_in])
            .await
            .into_iter()
            .map(|standing| match standing {
                Standing::Admitted(lease) => lease.pass,
                other => panic!("{other:?} in an idle room"),
            })
            .collect();
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        assert_eq!(rig.lease(second_in, passes[1]).await, LeaseCheck::Unknown);
        let place = Place::Admitted {
            nonce: passes[0].nonce,
            lease_end_ms: rig.context.now_ms + 60_000,
            cap_ms: rig.context.now_ms + 60_000,
        };
        rig.restore(second, Source::Page, 1, &[word(first_in, 1, place, first, 2)]).await;
        let end_ms = rig.context.now_ms + 60_000;
        assert_eq!(rig.lease(first_in, passes[0]).await, LeaseCheck::Live { end_ms });
        assert_eq!(rig.lease(second_in, passes[0]).await, LeaseCheck::None, "position 1 is back");
        assert_eq!(rig.lease(second_in, passes[1]).await, LeaseCheck::Unknown);
        rig.complete(second).await;
        assert_eq!(rig.lease(second_in, passes[1]).await, LeaseCheck::None);
    }
}

#[tokio::test]
async fn each_loss_jumps_once_from_the_highest_position_and_restored_people_add_nothing() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, waiting] = users();
        rig.join(&[inside, waiting]).await;
        let first = look(&mut rig).await;
        for (jumps, highest) in [(1, 1_002), (2, 2_002)] {
            rig.wipe().await;
            let epoch = rig.open_next().await;
            assert_eq!(rig.counts().await.seq, highest, "after loss {jumps}");
            rig.restore(epoch, Source::Page, 2, &[word(waiting, 2, Place::Waiting, first, 2)]).await;
            rig.complete(epoch).await;
            assert_eq!(rig.counts().await.seq, highest, "a restored person is behind the jump");
            look(&mut rig).await;
        }
    }
}

#[tokio::test]
async fn a_room_of_an_earlier_epoch_or_version_than_the_last_answer_is_lost() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        rig.join(&users::<2>()).await;
        let first = look(&mut rig).await;
        let seen = rig.context.seen;
        for (epoch, version) in [(first + 1, 0), (first + 1, 1), (first, seen.version + 1)] {
            rig.context.seen = Evidence { epoch, version, ..seen };
            assert!(rig.is_lost().await, "epoch {epoch}, version {version}");
        }
        for (epoch, version) in [(first - 1, seen.version + 9), (first, seen.version)] {
            rig.context.seen = Evidence { epoch, version, ..seen };
            assert!(!rig.is_lost().await, "epoch {epoch}, version {version}");
        }
    }
}

#[tokio::test]
async fn where_nothing_was_restored_offers_wait_from_the_end_of_the_rebuild_and_nothing_is_saved_up() {
    for mut rig in Rig::on_both(RoomDefaults { admit_per_second: 0.1, burst: 3, max_active: 9, ..DEFAULTS }) {
        rig.join(&users::<4>()).await;
        look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        rig.advance(Duration::from_secs(8));
        assert!(rig.complete(second).await);
        for (person, position) in users::<3>().into_iter().zip(4..) {
            let place = (person, position, Place::Waiting);
            rig.store.reinstate(&rig.keys, &rig.context, second, place).await.unwrap();
        }
        rig.advance(RETURNED - Duration::from_millis(1));
        assert_eq!(rig.admit().await, (0, 0), "people have time to come back");
        rig.advance(Duration::from_millis(1));
        assert_eq!(rig.admit().await, (1, 0), "one in ten seconds, counted from the loss");
    }
}

#[tokio::test]
async fn joins_count_the_people_who_came_in_this_epoch_and_no_jump() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let people: [UserId; 4] = users();
        rig.join(&people).await;
        rig.join(&people[..2]).await;
        assert_eq!(rig.counts().await.joins, 4);
        look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        rig.complete(second).await;
        assert_eq!(rig.counts().await.joins, 0);
        rig.join(&users::<3>()).await;
        assert_eq!(rig.counts().await.joins, 3);
    }
}
