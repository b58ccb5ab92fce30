//! Accounts: who signs up, who signs in.

use common::ids::UserId;
use common::tokens::Role;
use serde::{Deserialize, Deserializer, de};

use super::Fault;
use super::text::Text;

/// What a person is called.
pub type Username = Text<1, 255>;
/// A password that is being chosen.
pub type NewPassword = Text<8, 128>;
/// A password that is being tried.
pub type TriedPassword = Text<1, 128>;

/// An email address: one `@` with something on both sides, in lower case, since an email belongs to one account whatever
/// its case. Only a letter to it could prove more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Reads an address; surrounding spaces do not count.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = Text::<3, 255>::parse(text)?;
        let address = Text::<3, 255>::parse(&text.as_str().trim_matches(' ').to_lowercase())?;
        if address.as_str().contains(char::is_whitespace) {
            return Err("an email has no space in it".to_owned());
        }
        match address.as_str().split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.contains('@') => {
                Ok(Self(address.as_str().to_owned()))
            }
            _ => Err("an email has one @ with something before and behind it".to_owned()),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Email(…)")
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// By what a person says who they are. Two are equal where they name the same account by the same kind of name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Login {
    /// The account's id.
    Id(UserId),
    /// Its email.
    Email(Email),
    /// Neither: no account has it.
    Nobody(Text<1, 255>),
}

impl From<&Text<1, 255>> for Login {
    fn from(text: &Text<1, 255>) -> Self {
        let name = text.as_str().trim();
        match (name.parse(), Email::parse(name)) {
            (Ok(id), _) => Self::Id(id),
            (_, Ok(email)) => Self::Email(email),
            _ => Self::Nobody(text.clone()),
        }
    }
}

/// What signing in needs to know of an account.
#[derive(Clone)]
pub struct Account {
    /// Which one.
    pub user: UserId,
    /// What it may do.
    pub role: Role,
    /// Its password's hash, a PHC string.
    pub password_hash: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Why there is no new account.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The email has one.
    #[error("the email has an account")]
    EmailTaken,
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_lower_case_and_have_one_at() {
        assert_eq!(Email::parse(" Alice@Example.COM ").unwrap().as_str(), "alice@example.com");
        for bad in
            ["", "@", "a@", "@b", "a", "a@b@c", "a\0@b", "a b@c", "\u{2003}a@b", &format!("{}@b", "a".repeat(254))]
        {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_text_may_be_tried_as_a_login() {
        let login = |text: &str| Login::from(&Text::parse(text).unwrap());
        assert!(matches!(login("0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"), Login::Id(_)));
        assert!(matches!(login("A@b.c"), Login::Email(email) if email.as_str() == "a@b.c"));
        assert!(matches!(login("' OR 1=1 --"), Login::Nobody(_)));
    }

    #[test]
    fn a_login_is_the_same_however_it_is_written() {
        let login = |text: &str| Login::from(&Text::parse(text).unwrap());
        assert_eq!(login(" A@B.c"), login("a@b.C "));
        assert_eq!(login("0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"), login(" 0190D8A4-5A3E-7C3F-9D1E-2B6F8A7C1D20 "));
        assert_ne!(login("nobody"), login("somebody"));
    }
}
