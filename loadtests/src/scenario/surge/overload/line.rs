//! Who stands in a line that nobody is let in from, and what they ask: to join, and where they stand.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use reqwest::Url;
use uuid::Uuid;

use super::super::super::accounts::Accounts;
use super::super::super::queue::join_body;

/// One of so many requests is to join again, as by a page that is loaded anew; the others are polls.
const JOIN_EVERY: u64 = 10;

/// Everybody in the line.
pub(super) struct Line {
    accounts: Arc<Accounts>,
    /// Host and port.
    address: String,
    join_body: String,
    /// The newest of each person, empty before they have joined.
    tickets: Vec<Mutex<Box<str>>>,
}

/// A request, ready to be sent.
pub(super) struct Asked {
    /// Whose it is.
    pub(super) who: usize,
    pub(super) bytes: Vec<u8>,
}

impl Line {
    /// `people` of the accounts are in it, once they have joined.
    pub(super) fn new(accounts: Arc<Accounts>, people: u32, concert: Uuid, origin: &str) -> Result<Self> {
        let url: Url = origin.parse()?;
        let host = url.host_str().context("the origin has no host")?;
        Ok(Self {
            accounts,
            address: format!("{host}:{}", url.port_or_known_default().context("the origin has no port")?),
            join_body: join_body(concert),
            tickets: (0..people).map(|_| Mutex::default()).collect(),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The request of that number: everybody takes turns, and who is not in line yet joins.
    pub(super) fn ask(&self, number: u64) -> Asked {
        let people = u64::try_from(self.tickets.len()).unwrap_or(u64::MAX).max(1);
        let who = usize::try_from(number % people).unwrap_or_default();
        let ticket = self.tickets[who].lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Counted by rounds, or it would always be the same people who join.
        let joins = ticket.is_empty() || (number / people + number).is_multiple_of(JOIN_EVERY);
        let text = if joins {
            let session = self.accounts.session(u32::try_from(who).unwrap_or_default());
            format!(
                "POST /queue/token HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {session}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                self.address,
                self.join_body.len(),
                self.join_body
            )
        } else {
            format!("GET /queue/status HTTP/1.1\r\nHost: {}\r\nX-Queue-Token: {ticket}\r\n\r\n", self.address)
        };
        Asked { who, bytes: text.into_bytes() }
    }

    /// Keeps the ticket of an answer to them.
    pub(super) fn take_ticket(&self, who: usize, body: &[u8]) {
        let Some(ticket) = token(body) else { return };
        let mut kept = self.tickets[who].lock().unwrap_or_else(PoisonError::into_inner);
        if **kept != *ticket {
            *kept = ticket.into();
        }
    }
}

/// The token of an answer, found without reading the rest of it: this is done ten thousand times in a second.
fn token(body: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once(r#""token":""#)?;
    rest.split_once('"').map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use common::tokens::SessionKeys;

    use super::super::super::super::accounts::SessionMaker;
    use super::*;

    #[test]
    fn all_join_and_then_mostly_poll() {
        let keys = SessionKeys::new(&["a-secret-of-the-test-that-is-long-enough"]).unwrap();
        let accounts = Arc::new(Accounts::new(SessionMaker::new(keys)));
        let line = Line::new(accounts, 20, Uuid::nil(), "http://localhost:81").unwrap();
        let joins = |from: u64| {
            let asked = (from..from + 200).map(|number| line.ask(number));
            asked.filter(|asked| asked.bytes.starts_with(b"POST /queue/token")).count()
        };
        assert_eq!(joins(0), 200);
        for who in 0..20 {
            line.take_ticket(who, br#"{"token":"abc","status":"waiting"}"#);
        }
        assert_eq!(joins(0), 20);
        let poll = String::from_utf8(line.ask(5).bytes).unwrap();
        assert!(poll.contains("Host: localhost:81\r\n") && poll.contains("X-Queue-Token: abc\r\n"), "{poll}");
        assert_eq!(token(br#"{"status":"waiting"}"#), None);
    }
}
