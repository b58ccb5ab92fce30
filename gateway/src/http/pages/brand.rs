//! What a concert's organiser gives its pages, where there are no scripts to show it.

use common::colour::Colour;
use common::language::Language;
use serde::Deserialize;
use serde_json::Value;

use super::colours;
use super::site::Site;
use super::template::escape;

/// As core-api tells it; nothing, where it tells none or in another shape.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Branding {
    colour: Option<Colour>,
    message: Option<Message>,
    logo: Option<Logo>,
}

#[derive(Debug, Deserialize)]
struct Message {
    ko: String,
    en: String,
}

#[derive(Debug, Deserialize)]
struct Logo {
    url: String,
    width: u32,
    height: u32,
}

impl Branding {
    /// Of a concert.
    pub(super) fn of(concert: &Value) -> Self {
        Self::deserialize(&concert["branding"]).unwrap_or_default()
    }

    /// What makes a page's colours those of the organiser.
    pub(super) fn style(&self, site: &Site, language: Language) -> String {
        self.colour.map_or_else(String::new, |colour| {
            format!("<link rel=\"stylesheet\" href=\"{}/{}\">\n", site.base(language), colours::name_of(colour))
        })
    }

    /// Their logo. The name of the concert stands beside it, so it says nothing more.
    pub(super) fn logo(&self) -> String {
        self.logo.as_ref().map_or_else(String::new, |Logo { url, width, height }| {
            let url = escape(url);
            format!("<img class=\"logo\" src=\"{url}\" alt=\"\" width=\"{width}\" height=\"{height}\">\n")
        })
    }

    /// What they tell buyers.
    pub(super) fn message(&self, site: &Site, language: Language) -> String {
        self.message.as_ref().map_or_else(String::new, |message| {
            let said = match language {
                Language::Korean => &message.ko,
                Language::English => &message.en,
            };
            let from = escape(site.text(language, "brand.from").unwrap_or_default());
            format!("<p class=\"notice\"><strong>{from}</strong> {}</p>\n", escape(said))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_an_organiser_says_can_be_a_tag_and_no_colour_is_anything_else() {
        let site = Site::shared().unwrap();
        let said = "<script>\"&'</script>";
        let branding = |colour: &str| {
            Branding::of(&json!({ "branding": { "colour": colour, "message": { "ko": said, "en": said },
                "logo": { "url": "/x\"onerror=\"y", "width": 3, "height": 2 } } }))
        };
        let good = branding("#00abff");
        assert!(good.style(site, Language::English).ends_with("/en/colour-00abff.css\">\n"));
        assert!(good.message(site, Language::Korean).contains("&lt;script&gt;&quot;&amp;&#39;&lt;/script&gt;"));
        assert!(good.logo().contains("src=\"/x&quot;onerror=&quot;y\""));
        let bad = branding("red;}");
        let shown = [bad.style(site, Language::English), bad.logo(), bad.message(site, Language::English)].concat();
        assert_eq!(shown, "", "what is not understood is not shown");
        assert_eq!(Branding::of(&json!({})).logo(), "");
    }
}
