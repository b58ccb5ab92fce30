//! Today's rules break what they are known to break, each mended rule is needed, and together they hold.

use protocol::actions::Action;
use protocol::observer::Property;
use protocol::rules::{Rules, Switch};
use protocol::scenarios::{self, Scenario};
use protocol::search::Counterexample;

fn counterexample(scenario: &Scenario) -> Counterexample {
    let found = scenario.search();
    found.counterexample.unwrap_or_else(|| panic!("{}: nothing is broken in {} states", scenario.name, found.states))
}

fn today(part_of_name: &str) -> Counterexample {
    let scenarios = scenarios::today();
    let scenario = scenarios.iter().find(|scenario| scenario.name.contains(part_of_name));
    let scenario = scenario.unwrap_or_else(|| panic!("no scenario is named {part_of_name:?}"));
    let counterexample = counterexample(scenario);
    assert_eq!(Some(counterexample.property), scenario.breaks);
    counterexample
}

fn has(counterexample: &Counterexample, is_wanted: impl Fn(Action) -> bool) -> bool {
    counterexample.steps.iter().any(|(action, _)| is_wanted(*action))
}

#[test]
fn today_s_rules_show_positions_given_twice_after_a_rollback() {
    let found = today("has not seen what was lost");
    assert!(has(&found, |action| action == Action::RollBack), "{found}");
    assert!(!has(&found, |action| action == Action::Crash), "{found}");
}

#[test]
fn today_s_rules_show_positions_given_twice_by_new_gateways() {
    let found = today("crashed with Redis");
    assert!(has(&found, |action| action == Action::RollBack), "{found}");
    assert!(has(&found, |action| action == Action::Crash), "{found}");
}

#[test]
fn today_s_rules_show_an_old_token_as_a_voucher() {
    let found = today("taken at its word");
    assert!(has(&found, |action| matches!(action, Action::Poll { .. })), "{found}");
}

#[test]
fn today_s_rules_show_a_stale_left_that_blocks_a_later_join() {
    let found = today("blocks a later join");
    let joins = found.steps.iter().filter(|(action, _)| matches!(action, Action::Join { .. })).count();
    assert_eq!(joins, 2, "{found}");
}

#[test]
fn today_s_rules_show_a_rebuild_that_another_one_completes() {
    let found = today("completes the next one");
    let wipes = found.steps.iter().filter(|(action, _)| *action == Action::Wipe).count();
    assert_eq!(wipes, 2, "{found}");
}

#[test]
fn each_mended_rule_is_needed() {
    let scenarios = scenarios::without_one();
    for switch in Switch::MENDED {
        let is_off = |scenario: &&Scenario| scenario.rules == Rules::mended().without(switch);
        assert_eq!(scenarios.iter().any(|s| is_off(&s)), switch != Switch::FirstMeetingAsksRecord, "{switch:?}");
    }
    for scenario in &scenarios {
        let found = counterexample(scenario);
        assert_eq!(Some(found.property), scenario.breaks, "{}\n{found}", scenario.name);
    }
}

#[test]
fn each_promise_is_broken_by_some_rules() {
    let broken: Vec<_> = scenarios::all().into_iter().filter_map(|scenario| scenario.breaks).collect();
    for property in [
        Property::PositionGivenTwice,
        Property::EndedPlaceReturns,
        Property::PositionLost,
        Property::Overtaken,
        Property::CompleteTooEarly,
        Property::TwoEpochs,
        Property::OlderWordWins,
    ] {
        assert!(broken.contains(&property), "{property}: the observer is never shown to notice it");
    }
}

#[test]
fn today_s_rules_show_a_person_overtaken_and_an_epoch_opened_twice() {
    today("the next one comes before");
    today("the same epoch twice");
}

#[test]
fn the_mended_rules_hold() {
    for scenario in scenarios::mended() {
        let found = scenario.search();
        if let Some(counterexample) = found.counterexample {
            panic!("{}:\n{counterexample}", scenario.name);
        }
        assert!(found.is_exhaustive, "{}", scenario.name);
        // A search that reaches next to nothing proves nothing.
        assert!(found.states > 10_000, "{}: {} states", scenario.name, found.states);
    }
}

#[test]
fn a_counterexample_reads_as_sentences() {
    let text = today("has not seen what was lost").to_string();
    assert!(text.starts_with("  Broken: a position is given twice.\n   1. "), "{text}");
    assert!(text.contains("joins through gateway"), "{text}");
    assert!(text.contains("The copy takes over"), "{text}");
    assert_eq!(Property::Overtaken.to_string(), "a present person is overtaken");
}
