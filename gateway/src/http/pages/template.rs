//! Filling in: `{{name}}` in a text gives way to what the name stands for.

use std::borrow::Cow;

use anyhow::Context as _;

/// The text with everything filled in; an error where a name stands for nothing, or braces do not close.
pub(super) fn fill<'a>(template: &str, meaning: impl Fn(&str) -> Option<Cow<'a, str>>) -> anyhow::Result<String> {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after.split_once("}}").context("{{ without }}")?;
        filled.push_str(before);
        filled.push_str(&meaning(name).with_context(|| format!("{{{{{name}}}}} stands for nothing"))?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// A text as it can stand in HTML, between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_way_and_unknown_ones_are_an_error() {
        let known = |name: &str| (name == "a").then_some(Cow::Borrowed("{{b}}"));
        assert_eq!(fill("1 {{a}} 2 {{a}}", known).unwrap(), "1 {{b}} 2 {{b}}", "what was filled in is not looked at");
        assert!(fill("{{c}}", known).is_err());
        assert!(fill("{{a", known).is_err());
    }

    #[test]
    fn nothing_that_is_filled_in_can_be_a_tag_or_leave_its_quotes() {
        assert_eq!(escape("<b title=\"x\" id='y'>&"), "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;");
        assert_eq!(escape("겨울밤"), "겨울밤");
    }
}
