//! The command as people call it: against a stand-in site and against saved answers.
#![expect(clippy::unwrap_used, reason = "a test's helper fails as the test does")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use common::draw::{ALGORITHM, Seed};
use common::ids::ConcertId;
use serde_json::{Value, json};

const ENTRIES: u32 = 1_000;

struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn verify_draw(arguments: &[&str]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_verify-draw")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What a site publishes of one draw.
struct Published {
    concert: ConcertId,
    seed: Seed,
    answer: Value,
}

impl Published {
    fn new() -> Self {
        let (concert, seed) = (ConcertId::generate(), Seed::generate());
        let draw = json!({
            "algorithm": ALGORITHM, "seedHash": seed.hash(), "seed": seed.to_hex(), "entries": ENTRIES,
        });
        let answer = json!({ "concertId": concert, "epoch": 1, "frontier": 7, "waiting": 993, "draw": draw });
        Self { concert, seed, answer }
    }

    /// With other values in its draw.
    fn with(mut self, changes: &[(&str, Value)]) -> Self {
        for (field, value) in changes {
            self.answer["draw"][*field] = value.clone();
        }
        self
    }

    fn position(&self, entry: u32) -> u32 {
        self.seed.positions(self.concert, ENTRIES)[entry as usize - 1]
    }

    /// Checks a saved answer.
    fn verify(&self, arguments: &[&str]) -> Told {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, self.answer.to_string()).unwrap();
        let hash = self.seed.hash();
        let file = file.path().display().to_string();
        verify_draw(&[&["--file", &file, "--published-hash", &hash][..], arguments].concat())
    }
}

/// A site that answers one request with `status` and `body`, and tells what was asked.
fn site(status: &'static str, body: String) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let asked = head.next().unwrap();
        assert!(head.any(|line| line.is_empty()));
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        asked
    });
    (url, served)
}

#[test]
fn a_draw_as_announced_is_verified_and_says_who_got_what() {
    let published = Published::new();
    let told = published.verify(&["--entry", "1", "--entry", "1000"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.starts_with("Verified: ") && told.stdout.contains("1000 entries"), "{}", told.stdout);
    for entry in [1, ENTRIES] {
        let sentence = format!("Entry {entry} was dealt position {}.\n", published.position(entry));
        assert!(told.stdout.contains(&sentence), "{}", told.stdout);
    }
}

#[test]
fn a_position_is_right_or_wrong() {
    let published = Published::new();
    let position = published.position(12);
    let right = published.verify(&["--entry", "12", "--position", &position.to_string()]);
    assert_eq!(right.code, Some(0), "{}", right.stderr);
    let wrong = published.verify(&["--entry", "12", "--position", &(position % ENTRIES + 1).to_string()]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains(&format!("entry 12 was dealt position {position}, not ")), "{}", wrong.stderr);
}

#[test]
fn a_draw_that_is_not_as_announced_is_no_match() {
    let other = Seed::generate();
    for changes in [
        // Another seed than the hash is of; another seed with its own hash, though another one was noted.
        &[("seed", json!(other.to_hex()))][..],
        &[("seed", json!(other.to_hex())), ("seedHash", json!(other.hash()))],
        // A hash that changed is known before the draw.
        &[("seedHash", json!(other.hash())), ("seed", Value::Null), ("entries", Value::Null)],
    ] {
        let told = Published::new().with(changes).verify(&[]);
        assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{changes:?}");
        assert!(told.stderr.starts_with("Does not match: "), "{}", told.stderr);
    }
}

#[test]
fn what_can_not_be_checked_is_neither_right_nor_wrong() {
    for (changes, why) in [
        (&[("seed", Value::Null), ("entries", Value::Null)][..], "not been drawn yet"),
        (&[("entries", Value::Null)], "one is missing"),
        (&[("seed", json!("cafe"))], "64 hexadecimal digits"),
        (&[("entries", json!(u32::MAX))], "are more than"),
        (&[("entries", json!(-1))], "not the answer of"),
        (&[("algorithm", json!("dice"))], "\"dice\""),
    ] {
        let told = Published::new().with(changes).verify(&[]);
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{changes:?}");
        assert!(told.stderr.starts_with("Can't be checked: ") && told.stderr.contains(why), "{}", told.stderr);
    }
    let mut fifo = Published::new();
    fifo.answer["draw"] = Value::Null;
    assert_eq!(fifo.verify(&[]).code, Some(2));
    let published = Published::new();
    for arguments in [
        &["--entry", "1001"][..],
        &["--entry", "0"],
        &["--position", "1"],
        &["--entry", "1", "--entry", "2", "--position", "1"],
        &["--concert", &ConcertId::generate().to_string()],
        &["--url", "http://localhost"],
    ] {
        assert_eq!(published.verify(arguments).code, Some(2), "{arguments:?}");
    }
    for file in ["/nowhere/frontier.json", "Cargo.toml", "/"] {
        let told = verify_draw(&["--file", file, "--published-hash", &"0".repeat(64)]);
        assert_eq!(told.code, Some(2), "{file}");
    }
    assert_eq!(verify_draw(&["--file", "x", "--published-hash", "cafe"]).code, Some(2));
}

#[test]
fn a_site_is_asked_for_the_frontier() {
    let published = Published::new();
    let (url, served) = site("200 OK", published.answer.to_string());
    let (concert, hash) = (published.concert.to_string(), published.seed.hash().to_uppercase());
    let told = verify_draw(&["--url", &url, "--concert", &concert, "--published-hash", &hash]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(served.join().unwrap(), format!("GET /queue/{concert}/frontier HTTP/1.1"));
}

#[test]
fn a_site_that_has_no_answer_can_not_be_checked() {
    let concert = ConcertId::generate().to_string();
    let ask = |url: &str| verify_draw(&["--url", url, "--concert", &concert, "--published-hash", &"0".repeat(64)]);
    for (status, body, why) in [
        ("404 Not Found", r#"{"error":"concert_not_found"}"#, "knows no concert"),
        ("503 Service Unavailable", "{}", "answered 503"),
        ("200 OK", "<html>", "not the answer of"),
        ("200 OK", r#"{"concertId":"0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20","draw":null}"#, "is of concert 0190d8a4"),
    ] {
        let (url, served) = site(status, body.to_owned());
        let told = ask(&url);
        served.join().unwrap();
        assert_eq!(told.code, Some(2), "{status}");
        assert!(told.stderr.contains(why), "{}", told.stderr);
    }
    let port = stack::ports::free_port().unwrap();
    let gone = ask(&format!("http://localhost:{port}"));
    assert!(gone.code == Some(2) && gone.stderr.contains("is not reachable"), "{}", gone.stderr);
    let https = ask("https://tickets.example");
    assert!(https.code == Some(2) && https.stderr.contains("--file"), "{}", https.stderr);
}

#[test]
fn all_entries_are_a_csv_and_nothing_else() {
    let published = Published::new();
    let told = published.verify(&["--all", "--entry", "1"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stderr.contains("Verified: ") && told.stderr.contains("Entry 1 was dealt"), "{}", told.stderr);
    let mut lines = told.stdout.lines();
    assert_eq!(lines.next(), Some("entry,position"));
    let rows: Vec<String> = (1..=ENTRIES).map(|entry| format!("{entry},{}", published.position(entry))).collect();
    assert!(lines.eq(rows));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let published = Published::new().with(&[("entries", json!(500_000))]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, published.answer.to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_verify-draw"))
        .args(["--all", "--published-hash", &published.seed.hash(), "--file"])
        .arg(file.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "entry,position\n");
    assert!(child.wait().unwrap().success());
}
