//! What the pages of a concert show of its organiser.

use common::colour::Colour;
use serde::Serialize;

use super::logo::{Logo, LogoFacts};
use super::text::Text;

/// What an organiser tells buyers, in one language.
pub type Words = Text<1, 200>;

/// A message in both languages: whoever reads the other one is not to be told nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// In Korean.
    pub ko: String,
    /// In English.
    pub en: String,
}

/// All of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branding {
    /// The organiser's colour. Pages take the nearest one to it that can be read.
    pub colour: Option<Colour>,
    /// What buyers are told.
    pub message: Option<Message>,
    /// Their logo.
    pub logo: Option<LogoFacts>,
}

/// What is given is changed, to nothing where it is given as nothing; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct BrandingEdit {
    /// The organiser's colour.
    pub colour: Option<Option<Colour>>,
    /// What buyers are told.
    pub message: Option<Option<Message>>,
    /// Their logo.
    pub logo: Option<Option<Logo>>,
}

impl Branding {
    /// Whether pages look as they do without it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What an edit makes of it.
    #[must_use]
    pub fn edited(&self, edit: &BrandingEdit) -> Self {
        let logo = edit.logo.as_ref().map(|logo| logo.as_ref().map(|logo| logo.facts.clone()));
        Self {
            colour: edit.colour.unwrap_or(self.colour),
            message: edit.message.clone().unwrap_or_else(|| self.message.clone()),
            logo: logo.unwrap_or_else(|| self.logo.clone()),
        }
    }
}
