//! A room that is rebuilt, at the level of its scripts: alone and as a cluster. Time is handed to them.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::Duration;

use common::ids::UserId;
use gateway::domain::recovery::{Evidence, Moment, Place};
use gateway::domain::{RoomDefaults, Standing};
use gateway::store::{Arrival, Source};
use support::lost::{RETURNED, look, word};
use support::{DEFAULTS, Rig, is_admitted, is_waiting, position, users};

const ONE_AT_A_TIME: RoomDefaults = RoomDefaults { admit_per_second: 1.0, burst: 1, max_active: 1, ..DEFAULTS };

#[tokio::test]
async fn the_front_goes_on_before_the_end_of_the_line_is_back() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let people: [UserId; 5] = users();
        rig.join(&people).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        rig.advance(Duration::from_secs(5));
        let second = rig.open_next().await;
        assert_eq!(rig.admit().await, (0, 0), "nobody is back");
        let page = [word(people[1], 2, Place::Waiting, first, 2), word(people[2], 3, Place::Waiting, first, 2)];
        rig.restore(second, Source::Page, 3, &page).await;
        assert!(is_waiting(support::standing(rig.poll_with(people[1], 2, first).await)));
        assert_eq!(rig.poll_with(people[3], 4, first).await, Arrival::Rebuilding, "not back yet");
        rig.advance(RETURNED - Duration::from_millis(1));
        assert_eq!(rig.admit().await, (0, 0), "people near the front have time to come back");
        rig.advance(Duration::from_millis(1));
        assert_eq!(rig.admit().await, (1, 0));
        assert!(is_admitted(rig.poll(people[1]).await));
        rig.leave(people[1]).await;
        rig.advance(Duration::from_secs(2));
        assert_eq!(rig.admit().await, (1, 0), "the last who is back");
        rig.leave(people[2]).await;
        // A gateway's word: they are in line again, and the one before them is still missing.
        rig.restore(second, Source::Words, 0, &[word(people[4], 5, Place::Waiting, first, 2)]).await;
        assert_eq!(rig.try_join(&[people[4]]).await, [Arrival::Rebuilding]);
        rig.note_present(&[(people[4], 60_000)]).await;
        rig.advance(Duration::from_secs(2));
        assert_eq!(rig.admit().await, (0, 0), "nobody behind what is back");
        rig.restore(second, Source::Page, 5, &[word(people[3], 4, Place::Waiting, first, 2)]).await;
        assert_eq!(rig.admit().await, (1, 0));
        assert!(is_admitted(rig.poll(people[3]).await));
    }
}

#[tokio::test]
async fn a_message_of_another_epoch_or_after_the_rebuild_changes_nothing() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, a, late] = users();
        rig.join(&[inside, a, late]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        rig.context.seen = Evidence::default();
        let words = [word(late, 3, Place::Waiting, first, 2)];
        for other in [first, second + 1] {
            assert_eq!(rig.retell(other, &words).await, 0);
            assert_eq!(rig.restore(other, Source::Page, 3, &words).await, None);
            assert!(!rig.complete(other).await);
        }
        assert!(rig.complete(second).await);
        assert!(!rig.complete(second).await, "once");
        assert_eq!(rig.retell(second, &words).await, 0);
        assert_eq!(rig.restore(second, Source::Page, 3, &words).await, None);
        assert_eq!(rig.counts().await.waiting, 0);
    }
}

#[tokio::test]
async fn the_newest_word_wins_and_one_older_than_the_room_is_none() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, kept, again] = users();
        rig.join(&[inside, kept, again]).await;
        let first = look(&mut rig).await;
        let base = rig.context.seen.version;
        // A rollback: the room is right up to here.
        rig.context.seen.version += 5;
        assert!(rig.is_lost().await);
        let second = rig.open_next().await;
        let old = word(kept, 2, Place::Left, first, base);
        assert_eq!(rig.retell(second, &[old]).await, 0, "the room reflects it already");
        let (left, rejoined) =
            (word(again, 3, Place::Left, first, base + 2), word(again, 9, Place::Waiting, first, base + 3));
        // A and B retell in any order.
        assert_eq!(rig.retell(second, &[rejoined]).await, 1);
        assert_eq!(rig.retell(second, &[left]).await, 0, "an older word");
        let (_, words) = rig.store.words(&rig.keys, 0).await.unwrap();
        assert_eq!(words, [rejoined]);
        rig.restore(second, Source::Words, 0, &words).await;
        assert!(rig.store.words(&rig.keys, 0).await.unwrap().1.is_empty(), "settled");
        // A page of the record says what was before.
        rig.restore(second, Source::Page, 0, &[word(again, 3, Place::Waiting, first, 2)]).await;
        rig.complete(second).await;
        assert_eq!(position(rig.poll(again).await), 9);
        assert_eq!(position(rig.poll(kept).await), 2);
    }
}

#[tokio::test]
async fn leaving_during_a_rebuild_is_the_last_word() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, leaver] = users();
        rig.join(&[inside, leaver]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let waiting = word(leaver, 2, Place::Waiting, first, 2);
        rig.retell(second, &[waiting]).await;
        rig.store.leave(&rig.keys, &rig.context, leaver, false, 2).await.unwrap();
        assert_eq!(rig.retell(second, &[waiting]).await, 0);
        rig.restore(second, Source::Page, 2, &[waiting]).await;
        let (_, words) = rig.store.words(&rig.keys, 0).await.unwrap();
        assert_eq!(words.iter().map(|word| word.place).collect::<Vec<_>>(), [Place::Left]);
        rig.restore(second, Source::Words, 0, &words).await;
        rig.complete(second).await;
        assert_eq!(rig.poll_with(leaver, 2, first).await, Arrival::Standing(Standing::Left));
    }
}

#[tokio::test]
async fn after_a_rollback_the_room_is_right_up_to_its_base() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, waiting, away] = users();
        rig.join(&[inside, waiting, away]).await;
        let first = look(&mut rig).await;
        let base = rig.context.seen.version;
        rig.context.seen.version += 3;
        rig.context.seen.frontier = 3;
        let second = rig.open_next().await;
        let counts = rig.counts().await;
        assert_eq!(counts.base, Moment { epoch: first, version: base });
        assert_eq!((counts.waiting, counts.leased, counts.base_frontier, counts.rebuilding), (2, 1, 3, true));
        // Only what is newer than the base comes from the record.
        rig.restore(second, Source::Changed, 0, &[word(away, 3, Place::Away, first, base + 1)]).await;
        rig.complete(second).await;
        let counts = rig.counts().await;
        assert_eq!((counts.waiting, counts.away, counts.leased), (1, 1, 1));
    }
}

#[tokio::test]
async fn a_page_of_the_record_leaves_people_alone_who_have_a_word_or_are_back() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, retold, settled, admitted] = users();
        rig.join(&[inside, retold, settled, admitted]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let end_ms = rig.context.now_ms + 60_000;
        let place = Place::Admitted { nonce: 5, lease_end_ms: end_ms, cap_ms: end_ms };
        let words = [word(settled, 9, Place::Waiting, first, 9), word(admitted, 4, place, first, 9)];
        rig.retell(second, &[word(retold, 2, Place::Left, first, 9)]).await;
        rig.restore(second, Source::Words, 0, &words).await;
        let page = [
            word(retold, 2, Place::Waiting, first, 2),
            word(settled, 3, Place::Waiting, first, 2),
            word(admitted, 4, Place::Waiting, first, 2),
        ];
        assert_eq!(rig.restore(second, Source::Page, 4, &page).await, Some(0));
        rig.complete(second).await;
        let counts = rig.counts().await;
        assert_eq!((counts.waiting, counts.leased), (1, 1));
        assert_eq!(position(rig.poll(settled).await), 9);
        assert!(is_admitted(rig.poll(admitted).await));
    }
}

#[tokio::test]
async fn a_page_does_not_move_people_who_came_back_by_their_tokens() {
    for mut rig in Rig::on_both(DEFAULTS) {
        let [waiting, inside] = users();
        rig.join_one(UserId::generate()).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let end_ms = rig.context.now_ms + 60_000;
        let place = Place::Admitted { nonce: 5, lease_end_ms: end_ms, cap_ms: end_ms };
        for (user, position, place) in [(waiting, 9, Place::Waiting), (inside, 3, place)] {
            rig.store.reinstate(&rig.keys, &rig.context, second, (user, position, place)).await.unwrap();
        }
        let page = [word(waiting, 2, Place::Waiting, first, 2), word(inside, 3, Place::Waiting, first, 2)];
        rig.restore(second, Source::Page, 3, &page).await;
        rig.complete(second).await;
        let counts = rig.counts().await;
        assert_eq!((counts.waiting, counts.leased), (1, 1));
        assert_eq!(position(rig.poll(waiting).await), 9, "they joined again after what is recorded");
        assert!(is_admitted(rig.poll(inside).await));
    }
}

#[tokio::test]
async fn words_of_people_who_are_back_come_too_late() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, back, missing] = users();
        rig.join(&[inside, back, missing]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        rig.restore(second, Source::Page, 2, &[word(back, 2, Place::Waiting, first, 2)]).await;
        assert_eq!(rig.retell(second, &[word(back, 2, Place::Away, first, 3)]).await, 0, "they can have acted since");
        assert_eq!(rig.retell(second, &[word(missing, 3, Place::Away, first, 3)]).await, 1);
    }
}

#[tokio::test]
async fn settled_words_give_way_to_what_happened_since_they_were_read() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, leaver, stays] = users();
        rig.join(&[inside, leaver, stays]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let words = [word(leaver, 2, Place::Waiting, first, 2), word(stays, 3, Place::Waiting, first, 2)];
        rig.retell(second, &words).await;
        // The rebuilder has read the words, and one of these people leaves before they are settled.
        rig.store.leave(&rig.keys, &rig.context, leaver, false, 2).await.unwrap();
        for source in [Source::Words, Source::Changed] {
            rig.restore(second, source, 0, &words).await;
            assert_eq!(rig.counts().await.waiting, 1, "{source:?}");
        }
        let (_, unsettled) = rig.store.words(&rig.keys, 0).await.unwrap();
        assert_eq!(unsettled.iter().map(|word| (word.user, word.place)).collect::<Vec<_>>(), [(leaver, Place::Left)]);
    }
}

#[tokio::test]
async fn a_person_who_came_back_by_their_token_is_not_moved_by_older_words() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside, back] = users();
        rig.join(&[inside, back]).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let place = (back, 2, Place::Waiting);
        rig.store.reinstate(&rig.keys, &rig.context, second, place).await.unwrap();
        let away = [word(back, 2, Place::Away, first, 3)];
        assert_eq!(rig.retell(second, &away).await, 0);
        rig.restore(second, Source::Words, 0, &away).await;
        let counts = rig.counts().await;
        assert_eq!((counts.waiting, counts.away), (1, 0));
    }
}

#[tokio::test]
async fn a_room_that_is_lost_while_it_is_rebuilt_keeps_its_base() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        rig.join(&users::<3>()).await;
        let first = look(&mut rig).await;
        let base = Moment { epoch: first, version: rig.context.seen.version };
        rig.context.seen.version += 1;
        let second = rig.open_next().await;
        rig.restore(second, Source::Changed, 0, &[word(UserId::generate(), 4, Place::Waiting, first, 99)]).await;
        let counts = rig.counts().await;
        assert_eq!(counts.base, base);
        // Another failover, before the rebuild is complete.
        rig.context.seen = Evidence { epoch: second, version: counts.version + 1, ..rig.context.seen };
        let third = rig.open_next().await;
        let counts = rig.counts().await;
        assert!(third > second);
        assert_eq!((counts.base, counts.rebuilding, counts.waiting), (base, true, 3));
        rig.complete(third).await;
        // One that is complete is the base of the next.
        rig.context.seen = Evidence { epoch: third, version: 1_000, ..rig.context.seen };
        rig.open_next().await;
        assert_eq!(rig.counts().await.base.epoch, third);
    }
}

#[tokio::test]
async fn a_rebuild_that_begins_again_leaves_people_alone_who_are_back() {
    for mut rig in Rig::on_both(RoomDefaults { claim: Duration::from_secs(10), ..DEFAULTS }) {
        let [inside, sleeps, returns] = users();
        rig.join_one(UserId::generate()).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let page = [
            word(inside, 2, Place::Waiting, first, 2),
            word(sleeps, 3, Place::Waiting, first, 2),
            word(returns, 4, Place::Away, first, 2),
        ];
        assert_eq!(rig.restore(second, Source::Page, 4, &page).await, Some(3));
        assert!(is_waiting(rig.poll(returns).await));
        rig.advance(Duration::from_secs(5));
        assert_eq!(rig.admit().await, (3, 0));
        for person in [inside, returns] {
            assert!(is_admitted(rig.poll(person).await));
        }
        rig.advance(Duration::from_secs(10));
        rig.admit().await;
        let numbers = async |rig: &Rig| {
            let counts = rig.counts().await;
            (counts.waiting, counts.away, counts.offers, counts.leased)
        };
        assert_eq!(numbers(&rig).await, (0, 1, 0, 2), "one has slept through their offer");
        // Another gateway has taken the rebuild over. It reads the record from the beginning.
        assert_eq!(rig.restore(second, Source::Page, 4, &page).await, Some(0));
        assert_eq!(numbers(&rig).await, (0, 1, 0, 2));
    }
}

#[tokio::test]
async fn a_lease_that_ends_during_the_rebuild_is_followed_by_no_new_position() {
    for mut rig in Rig::on_both(ONE_AT_A_TIME) {
        let [inside] = users();
        rig.join_one(inside).await;
        let first = look(&mut rig).await;
        rig.wipe().await;
        let second = rig.open_next().await;
        let end_ms = rig.context.now_ms + 1_000;
        let lease = Place::Admitted { nonce: 5, lease_end_ms: end_ms, cap_ms: end_ms };
        rig.restore(second, Source::Page, 1, &[word(inside, 1, lease, first, 2)]).await;
        rig.advance(Duration::from_secs(2));
        assert_eq!(rig.try_join(&[inside]).await, [Arrival::Rebuilding]);
    }
}
