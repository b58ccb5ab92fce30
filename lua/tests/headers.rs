//! Headers say what the code does: each script declares the keys and arguments that it uses, and no others.

use std::collections::BTreeSet;

use lua::Script;
use lua::queue::{PRELUDE, QueueScripts, ROOM_ARGUMENTS};

/// The comment lines that a file begins with, after the line that tells Redis how to run it.
fn header(source: &str) -> String {
    source
        .lines()
        .skip_while(|line| line.starts_with("#!"))
        .take_while(|line| line.starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The numbers in `NAME[n]`, as used in code or told in a header (`[n]`, `[n..m]`, `[n..]`).
fn numbers(text: &str, name: &str) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(&format!("{name}[")) {
        let digits: String = text[at + name.len() + 1..].chars().take_while(char::is_ascii_digit).collect();
        found.extend(digits.parse::<usize>());
    }
    found
}

/// Every argument that a header tells of: `[10] presence_ms`, `[13..] users`, wherever it stands after `ARGV`.
fn told_arguments(header: &str) -> BTreeSet<usize> {
    let Some((_, told)) = header.split_once("ARGV") else { return BTreeSet::new() };
    let told = told.split("RETURNS").next().unwrap_or_default();
    let mut found = numbers(told, "");
    if told.contains(&format!("[1..{ROOM_ARGUMENTS}]")) {
        found.extend(1..=ROOM_ARGUMENTS);
    }
    found
}

fn check(script: &Script, file: &str) {
    let head = header(file);
    assert!(file.starts_with("#!lua"), "{}: undeclared keys go unnoticed without it", script.name());
    for part in ["ATOMIC", "RETRY", "KEYS", "ARGV", "RETURNS", "COST"] {
        assert!(head.contains(&format!("-- {part} ")), "{}: the header has no {part}", script.name());
    }
    let verb = script.name().rsplit('/').next().unwrap_or_default();
    assert!(head.starts_with(&format!("-- {verb}: ")), "{}: the header begins with the verb", script.name());
    let code = file.replace(&head, "");
    let (used, told) = (numbers(&code, "ARGV"), told_arguments(&head));
    assert!(used.is_subset(&told), "{}: uses ARGV {used:?}, tells of {told:?}", script.name());
}

#[test]
fn every_queue_script_tells_what_it_uses() {
    let scripts = QueueScripts::default();
    for script in scripts.all() {
        let path = format!("{}/{}.lua", env!("CARGO_MANIFEST_DIR"), script.name());
        check(script, &std::fs::read_to_string(path).unwrap());
        assert_eq!(numbers(script.source(), "KEYS"), (1..=script.fixed_keys()).collect(), "{}", script.name());
    }
    assert_eq!(numbers(&header(PRELUDE), "KEYS"), (1..=lua::queue::ROOM_KEYS).collect());
    assert_eq!(numbers(&header(PRELUDE), "ARGV"), (1..=ROOM_ARGUMENTS).collect());
}

#[test]
fn the_scripts_with_keys_of_their_own_tell_what_they_use() {
    let (sessions, charts) = (lua::sessions::SessionScripts::default(), lua::chart::ChartScripts::default());
    for script in sessions.all().into_iter().chain(charts.all()) {
        let path = format!("{}/{}.lua", env!("CARGO_MANIFEST_DIR"), script.name());
        let file = std::fs::read_to_string(path).unwrap();
        check(script, &file);
        let told: BTreeSet<usize> = (1..=script.fixed_keys()).collect();
        assert_eq!(numbers(&file.replace(&header(&file), ""), "KEYS"), told, "{}", script.name());
    }
}

#[test]
fn no_script_file_is_forgotten() {
    let scripts = QueueScripts::default();
    let known: BTreeSet<String> = scripts.all().iter().map(|script| format!("{}.lua", script.name())).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/queue");
    let files =
        std::fs::read_dir(folder).unwrap().map(|entry| format!("queue/{}", entry.unwrap().file_name().display()));
    assert_eq!(files.filter(|file| file != "queue/room.lua").collect::<BTreeSet<_>>(), known);
}
