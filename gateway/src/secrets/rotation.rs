//! New keys for a running site, without ending anyone's session: `docs/KEYS.md` says in which order.
//!
//! Of each list the first key signs and all verify. So a new key has to be known everywhere before it signs anywhere: it is
//! added at the end, put to use once every process has been started with it, and only then are the others dropped.

use std::collections::BTreeSet;

use clap::ValueEnum;
use common::tokens::{
    EntryTicketSigner, KeyError, PassKeys, SessionKeys, TicketKeys, generate_pass_key, public_pass_key,
};

use super::env_file::{EnvFile, ListError};

/// More keys at a time than any rotation needs; a bound all the same.
const KEYS_MAX: usize = 8;
const PASS_PUBLIC_KEYS: &str = "PASS_PUBLIC_KEYS";

/// One step of a rotation; between two of them, every process is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// Append a new key to each list: it verifies, and does not sign yet
    Add,
    /// Move the last key of each list to its front: it signs from now on
    Use,
    /// Remove all keys but the one that signs
    Drop,
}

/// A list of keys that rotates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyList {
    /// Of user sessions
    #[value(name = "SESSION_SECRET")]
    SessionSecret,
    /// Of queue tickets
    #[value(name = "TICKET_SECRET")]
    TicketSecret,
    /// Of passes, with `PASS_PUBLIC_KEYS`
    #[value(name = "PASS_PRIVATE_KEYS")]
    PassPrivateKeys,
    /// Of the tickets that are shown at the door; dropped only where it is named
    #[value(name = "ENTRY_TICKET_PRIVATE_KEYS")]
    EntryTicketPrivateKeys,
}

impl KeyList {
    fn name(self) -> &'static str {
        match self {
            Self::SessionSecret => "SESSION_SECRET",
            Self::TicketSecret => "TICKET_SECRET",
            Self::PassPrivateKeys => "PASS_PRIVATE_KEYS",
            Self::EntryTicketPrivateKeys => "ENTRY_TICKET_PRIVATE_KEYS",
        }
    }

    /// Whether a step that names no list is for this one. Tickets are printed and kept for months: who drops their old
    /// keys with those of sessions turns people away at the door.
    fn takes_unnamed(self, step: Step) -> bool {
        self != Self::EntryTicketPrivateKeys || step != Step::Drop
    }

    /// Refuses what the services would refuse at their start.
    fn check(self, keys: &[String]) -> Result<(), KeyError> {
        match self {
            Self::SessionSecret => SessionKeys::new(keys).map(drop),
            Self::TicketSecret => TicketKeys::new(keys).map(drop),
            Self::PassPrivateKeys => PassKeys::new(&public_keys(keys)?).map(drop),
            Self::EntryTicketPrivateKeys => EntryTicketSigner::new(keys).map(drop),
        }
    }
}

/// Why a step is not taken. None of its sentences holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// What a shell does to the file that its output goes to.
    #[error("nothing came on standard input (a shell empties the file that output goes to; write to another file)")]
    Nothing,
    /// The file's line of a list is missing or not clear.
    #[error("{0} {1}")]
    List(&'static str, ListError),
    /// A list has keys that no service would start with.
    #[error("{0} {1}")]
    Keys(&'static str, KeyError),
    /// core-apis would not know what gateways sign with, or know what they should not.
    #[error("PASS_PUBLIC_KEYS are not the public keys of PASS_PRIVATE_KEYS")]
    NotAPair,
    /// `use` with one key.
    #[error("{0} has no key besides the one that signs: `add` one, and restart every process, first")]
    NothingToUse(&'static str),
    /// `drop` with one key.
    #[error("{0} has no key besides the one that signs: there is nothing to drop")]
    NothingToDrop(&'static str),
    /// `add` again and again.
    #[error("{0} has {KEYS_MAX} keys already: `drop` the old ones first")]
    TooMany(&'static str),
}

/// Takes a step in the text of an environment file, for the lists `only` or, where it is empty, for all; but no entry
/// ticket's key is dropped unless its list is named. All of it or nothing: where one list can't take the step, none does.
pub fn rotate(text: &str, step: Step, only: &[KeyList]) -> Result<String, RotationError> {
    if text.trim().is_empty() {
        return Err(RotationError::Nothing);
    }
    let mut file = EnvFile::new(text);
    let wanted = |list: &&KeyList| only.contains(list) || (only.is_empty() && list.takes_unnamed(step));
    for list in KeyList::value_variants().iter().filter(wanted) {
        rotate_list(&mut file, step, *list)?;
    }
    Ok(file.text())
}

fn rotate_list(file: &mut EnvFile, step: Step, list: KeyList) -> Result<(), RotationError> {
    let name = list.name();
    let unreadable = |error| RotationError::List(name, error);
    let unusable = |error| RotationError::Keys(name, error);
    let mut keys = file.list(name).map_err(unreadable)?;
    if list == KeyList::PassPrivateKeys {
        let public = file.list(PASS_PUBLIC_KEYS).map_err(|error| RotationError::List(PASS_PUBLIC_KEYS, error))?;
        are_a_pair(&public_keys(&keys).map_err(unusable)?, &public)?;
    }
    take(step, name, &mut keys)?;
    list.check(&keys).map_err(unusable)?;
    file.set_list(name, &keys).map_err(unreadable)?;
    if list == KeyList::PassPrivateKeys {
        let public = public_keys(&keys).map_err(unusable)?;
        file.set_list(PASS_PUBLIC_KEYS, &public).map_err(|error| RotationError::List(PASS_PUBLIC_KEYS, error))?;
    }
    Ok(())
}

fn take(step: Step, name: &'static str, keys: &mut Vec<String>) -> Result<(), RotationError> {
    match step {
        Step::Add if keys.len() >= KEYS_MAX => return Err(RotationError::TooMany(name)),
        // A pass key's seed is as good a secret as any: 32 random bytes in base64url.
        Step::Add => keys.push(generate_pass_key().map_err(|error| RotationError::Keys(name, error))?.0),
        Step::Use if keys.len() < 2 => return Err(RotationError::NothingToUse(name)),
        Step::Use => keys.rotate_right(1),
        Step::Drop if keys.len() < 2 => return Err(RotationError::NothingToDrop(name)),
        // Before `use` this takes `add` back: harmless too, as the key that goes has signed nothing.
        Step::Drop => keys.truncate(1),
    }
    Ok(())
}

fn public_keys(private: &[String]) -> Result<Vec<String>, KeyError> {
    private.iter().map(|key| public_pass_key(key)).collect()
}

fn are_a_pair(derived: &[String], written: &[String]) -> Result<(), RotationError> {
    let (derived, written): (BTreeSet<_>, BTreeSet<_>) = (derived.iter().collect(), written.iter().collect());
    if derived == written { Ok(()) } else { Err(RotationError::NotAPair) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY_TICKETS: &str = "ENTRY_TICKET_PRIVATE_KEYS";
    const LISTS: [&str; 5] = ["SESSION_SECRET", "TICKET_SECRET", "PASS_PRIVATE_KEYS", PASS_PUBLIC_KEYS, ENTRY_TICKETS];

    fn file() -> String {
        let secrets = crate::secrets::generate().unwrap();
        format!("# Onsale\nPUBLIC_URL=https://x\n\n{secrets}# the end: SESSION_SECRET=\nBURST=50")
    }

    fn keys(text: &str, name: &str) -> Vec<String> {
        EnvFile::new(text).list(name).unwrap()
    }

    fn others(text: &str) -> Vec<&str> {
        text.split('\n').filter(|line| !LISTS.iter().any(|name| line.starts_with(name))).collect()
    }

    /// The file after these steps.
    fn after(text: &str, steps: &[Step]) -> String {
        steps.iter().fold(text.to_owned(), |text, step| rotate(&text, *step, &[]).unwrap())
    }

    #[test]
    fn a_rotation_ends_with_one_new_key_in_each_list() {
        let before = file();
        let added = after(&before, &[Step::Add]);
        let used = after(&added, &[Step::Use]);
        let kept = after(&used, &[Step::Drop]);
        assert_eq!(keys(&kept, ENTRY_TICKETS), keys(&used, ENTRY_TICKETS), "printed tickets outlive a rotation");
        let dropped = rotate(&kept, Step::Drop, &[KeyList::EntryTicketPrivateKeys]).unwrap();
        for name in LISTS {
            let old = keys(&before, name)[0].clone();
            let [first, new] = keys(&added, name).try_into().unwrap();
            assert_eq!(first, old, "{name}: a new key does not sign at once");
            assert_ne!(new, old);
            assert_eq!(keys(&used, name), [new.clone(), old]);
            assert_eq!(keys(&dropped, name), [new]);
        }
        for text in [&added, &used, &dropped] {
            assert_eq!(others(text), others(&before));
            let names =
                |text: &str| text.lines().map(|line| line.split('=').next().unwrap().to_owned()).collect::<Vec<_>>();
            assert_eq!(names(text), names(&before), "the order of lines");
            let private = keys(text, "PASS_PRIVATE_KEYS");
            assert_eq!(keys(text, PASS_PUBLIC_KEYS), public_keys(&private).unwrap());
        }
    }

    #[test]
    fn each_new_secret_is_another() {
        let text = after(&file(), &[Step::Add, Step::Add]);
        let all: BTreeSet<String> = LISTS.iter().flat_map(|name| keys(&text, name)).collect();
        assert_eq!(all.len(), 15);
    }

    #[test]
    fn other_lists_stay_where_only_some_are_named() {
        let before = file();
        for (only, changed) in [
            (KeyList::SessionSecret, &["SESSION_SECRET"][..]),
            (KeyList::TicketSecret, &["TICKET_SECRET"]),
            (KeyList::PassPrivateKeys, &["PASS_PRIVATE_KEYS", PASS_PUBLIC_KEYS]),
            (KeyList::EntryTicketPrivateKeys, &[ENTRY_TICKETS]),
        ] {
            let text = rotate(&before, Step::Add, &[only]).unwrap();
            for name in LISTS {
                assert_eq!(keys(&text, name) != keys(&before, name), changed.contains(&name), "{only:?} {name}");
            }
        }
        // A file of core-apis has no ticket secret, and its sessions can rotate all the same.
        let partial = before.replace("TICKET_SECRET", "X");
        assert!(rotate(&partial, Step::Add, &[KeyList::SessionSecret]).is_ok());
        assert_eq!(rotate(&partial, Step::Add, &[]), Err(RotationError::List("TICKET_SECRET", ListError::Missing)));
    }

    #[test]
    fn steps_that_make_no_sense_are_refused() {
        let one = file();
        let refused = |text: &str, step| rotate(text, step, &[]).unwrap_err();
        assert_eq!(refused(&one, Step::Use), RotationError::NothingToUse("SESSION_SECRET"));
        assert_eq!(refused(&one, Step::Drop), RotationError::NothingToDrop("SESSION_SECRET"));
        assert_eq!(refused(" \n", Step::Add), RotationError::Nothing);
        let full = after(&one, &[Step::Add; KEYS_MAX - 1]);
        assert_eq!(refused(&full, Step::Add), RotationError::TooMany("SESSION_SECRET"));
        // One list has been rotated by itself: the others have nothing to use, and it is not used either.
        let uneven = rotate(&one, Step::Add, &[KeyList::SessionSecret]).unwrap();
        assert_eq!(refused(&uneven, Step::Use), RotationError::NothingToUse("TICKET_SECRET"));
    }

    #[test]
    fn drop_before_use_takes_add_back() {
        let before = file();
        let added = after(&before, &[Step::Add]);
        let dropped = after(&added, &[Step::Drop]);
        assert_eq!(rotate(&dropped, Step::Drop, &[KeyList::EntryTicketPrivateKeys]).unwrap(), before);
    }

    #[test]
    fn public_keys_of_others_are_not_thrown_away_unasked() {
        let text = file();
        let stranger = generate_pass_key().unwrap().1;
        let own = &keys(&text, PASS_PUBLIC_KEYS)[0];
        for public in [stranger.clone(), format!("{own},{stranger}")] {
            let text = text.replace(own.as_str(), &public);
            assert_eq!(rotate(&text, Step::Add, &[]), Err(RotationError::NotAPair));
            assert!(rotate(&text, Step::Add, &[KeyList::TicketSecret]).is_ok());
        }
    }

    #[test]
    fn keys_that_no_service_starts_with_are_named_and_not_shown() {
        let text = file();
        let private = &keys(&text, "PASS_PRIVATE_KEYS")[0];
        let session = &keys(&text, "SESSION_SECRET")[0];
        for (text, sentence) in [
            (
                text.replace(private.as_str(), "hunter2"),
                "PASS_PRIVATE_KEYS has a key that is not 32 bytes in base64url",
            ),
            (text.replace(session.as_str(), "hunter2"), "SESSION_SECRET has a secret of fewer than 32 characters"),
            (text.replace(session.as_str(), &format!("{session},{session}")), "SESSION_SECRET has the same key twice"),
        ] {
            assert_eq!(rotate(&text, Step::Add, &[]).unwrap_err().to_string(), sentence);
        }
    }
}
