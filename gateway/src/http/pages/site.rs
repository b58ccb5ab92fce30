//! All pages and files, made once for the process.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context as _;
use common::language::Language;

use super::asset::{Stored, hash_of};
use super::language::other;
use super::template::{escape, fill};

/// A page that is the same for everybody.
pub(super) struct Page {
    /// What it is called: its file, and its title among the texts.
    pub(super) name: &'static str,
    /// Where it is.
    pub(super) path: &'static str,
    main: &'static str,
    /// Its script, and what that takes in: loaded side by side, not one after the other has been read.
    scripts: &'static [&'static str],
    /// Beside that of all pages.
    styles: &'static [&'static str],
    /// Where it sends whoever has no scripts.
    without_scripts: Option<&'static str>,
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/pages/", $name))
    };
}

/// The pages.
pub(super) const PAGES: &[Page] = &[
    Page {
        name: "home",
        path: "/",
        main: file!("home.html"),
        scripts: &["home.js", "ui.js", "api.js", "texts.js"],
        styles: &[],
        without_scripts: Some("/wait"),
    },
    Page {
        name: "sale",
        path: "/sale/{concertId}",
        main: file!("sale.html"),
        scripts: &["sale.js", "queue.js", "notify.js", "brand.js", "ui.js", "api.js", "texts.js"],
        styles: &[],
        without_scripts: Some("?plain"),
    },
    Page {
        name: "seats",
        path: "/sale/{concertId}/seats",
        main: file!("seats.html"),
        scripts: &["seats.js", "hall.js", "brand.js", "ui.js", "api.js", "texts.js"],
        styles: &[],
        without_scripts: None,
    },
    Page {
        name: "my",
        path: "/my",
        main: file!("my.html"),
        scripts: &["my.js", "basket.js", "ui.js", "api.js", "texts.js"],
        styles: &[],
        without_scripts: None,
    },
    Page {
        name: "account",
        path: "/account",
        main: file!("account.html"),
        scripts: &["account.js", "account-words.js", "ui.js", "api.js", "texts.js", "account-texts.js"],
        styles: &[],
        without_scripts: None,
    },
    Page {
        name: "waitlist",
        path: "/sale/{concertId}/waitlist",
        main: file!("waitlist.html"),
        scripts: &["waitlist.js", "account-words.js", "ui.js", "api.js", "texts.js", "account-texts.js"],
        styles: &[],
        without_scripts: None,
    },
    Page {
        name: "login",
        path: "/login",
        main: file!("login.html"),
        scripts: &["login.js", "ui.js", "api.js", "texts.js"],
        styles: &[],
        without_scripts: None,
    },
    Page {
        name: "admin",
        path: "/admin/",
        main: file!("admin.html"),
        scripts: &["admin.js", "admin-words.js", "ui.js", "api.js", "texts.js", "admin-texts.js"],
        styles: &["admin.css"],
        without_scripts: None,
    },
    Page {
        name: "admin-new",
        path: "/admin/new",
        main: file!("admin-new.html"),
        scripts: &["admin-new.js", "admin-words.js", "ui.js", "api.js", "texts.js", "admin-texts.js"],
        styles: &["admin.css"],
        without_scripts: None,
    },
    Page {
        name: "admin-brand",
        path: "/admin/sale/{concertId}/branding",
        main: file!("admin-brand.html"),
        scripts: &["admin-brand.js", "brand.js", "admin-words.js", "ui.js", "api.js", "texts.js", "admin-texts.js"],
        styles: &["admin.css"],
        without_scripts: None,
    },
    Page {
        name: "admin-sale",
        path: "/admin/sale/{concertId}",
        main: file!("admin-sale.html"),
        scripts: &[
            "admin-sale.js",
            "admin-graphs.js",
            "admin-steer.js",
            "admin-record.js",
            "admin-words.js",
            "ui.js",
            "api.js",
            "texts.js",
            "admin-texts.js",
        ],
        styles: &["admin.css"],
        without_scripts: None,
    },
];

const FILES: &[(&str, &str, &str)] = &[
    ("style.css", CSS, file!("style.css")),
    ("icon.svg", "image/svg+xml", file!("icon.svg")),
    ("api.js", SCRIPT, file!("api.js")),
    ("ui.js", SCRIPT, file!("ui.js")),
    ("home.js", SCRIPT, file!("home.js")),
    ("sale.js", SCRIPT, file!("sale.js")),
    ("queue.js", SCRIPT, file!("queue.js")),
    ("notify.js", SCRIPT, file!("notify.js")),
    ("brand.js", SCRIPT, file!("brand.js")),
    ("seats.js", SCRIPT, file!("seats.js")),
    ("hall.js", SCRIPT, file!("hall.js")),
    ("my.js", SCRIPT, file!("my.js")),
    ("basket.js", SCRIPT, file!("basket.js")),
    ("login.js", SCRIPT, file!("login.js")),
    ("account.js", SCRIPT, file!("account.js")),
    ("account-words.js", SCRIPT, file!("account-words.js")),
    ("waitlist.js", SCRIPT, file!("waitlist.js")),
    ("admin.css", CSS, file!("admin.css")),
    ("admin.js", SCRIPT, file!("admin.js")),
    ("admin-new.js", SCRIPT, file!("admin-new.js")),
    ("admin-brand.js", SCRIPT, file!("admin-brand.js")),
    ("admin-sale.js", SCRIPT, file!("admin-sale.js")),
    ("admin-graphs.js", SCRIPT, file!("admin-graphs.js")),
    ("admin-steer.js", SCRIPT, file!("admin-steer.js")),
    ("admin-record.js", SCRIPT, file!("admin-record.js")),
    ("admin-words.js", SCRIPT, file!("admin-words.js")),
];
const LAYOUT: &str = file!("layout.html");
/// The texts by the module that scripts find them in: who waits does not load those of accounts, nor any buyer those of
/// operators.
const TEXTS: &[(&str, &str)] = &[
    ("texts.js", file!("texts.json")),
    ("account-texts.js", file!("account-texts.json")),
    ("admin-texts.js", file!("admin-texts.json")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const LANGUAGES: [Language; 2] = [Language::Korean, Language::English];

type Texts = BTreeMap<String, String>;
/// By language.
type InAll<T> = BTreeMap<&'static str, T>;

/// Everything that the pages are made of.
#[derive(Debug)]
pub(in crate::http) struct Site {
    version: String,
    texts: InAll<Texts>,
    /// By name.
    pages: InAll<BTreeMap<&'static str, Stored>>,
    assets: InAll<BTreeMap<&'static str, Stored>>,
}

impl Site {
    /// The one of this process, made when first asked for.
    pub(in crate::http) fn shared() -> anyhow::Result<&'static Self> {
        static SITE: LazyLock<Result<Site, String>> =
            LazyLock::new(|| Site::build().map_err(|error| format!("{error:#}")));
        SITE.as_ref().map_err(|error| anyhow::anyhow!("the pages can't be made: {error}"))
    }

    fn build() -> anyhow::Result<Self> {
        let everything: String =
            FILES.iter().map(|(_, _, text)| *text).chain(TEXTS.iter().map(|(_, text)| *text)).collect();
        let version = hash_of(everything.as_bytes());
        let texts = LANGUAGES.iter().map(|language| (language.tag(), Texts::new())).collect();
        let mut site = Self { version, texts, pages: BTreeMap::new(), assets: BTreeMap::new() };
        for language in LANGUAGES {
            let assets = site.assets_in(language)?;
            site.assets.insert(language.tag(), assets);
            let mut pages = BTreeMap::new();
            for page in PAGES {
                let text = site.page_text(page, language).with_context(|| page.name)?;
                pages.insert(page.name, Stored::new("text/html; charset=utf-8", text)?);
            }
            site.pages.insert(language.tag(), pages);
        }
        Ok(site)
    }

    /// The same files for each language, but for those with its texts: so scripts find them by one name. Takes in the
    /// texts on the way.
    fn assets_in(&mut self, language: Language) -> anyhow::Result<BTreeMap<&'static str, Stored>> {
        let mut assets = BTreeMap::new();
        for (name, kind, text) in FILES {
            assets.insert(*name, Stored::new(kind, (*text).to_owned())?);
        }
        for (module, texts) in TEXTS {
            let mut read: BTreeMap<String, Texts> = serde_json::from_str(texts).context(*module)?;
            let texts = read.remove(language.tag()).context("a language without texts")?;
            let text = format!("export default {};\n", serde_json::to_string(&texts)?);
            assets.insert(*module, Stored::new(SCRIPT, text)?);
            self.texts.entry(language.tag()).or_default().extend(texts);
        }
        Ok(assets)
    }

    fn page_text(&self, page: &Page, language: Language) -> anyhow::Result<String> {
        let base = self.base(language);
        let head = page
            .without_scripts
            .map(|url| format!("<noscript><meta http-equiv=\"refresh\" content=\"0;url={url}\"></noscript>\n"));
        let taken_in = page.scripts.iter().skip(1);
        let taken_in = taken_in.map(|script| format!("<link rel=\"modulepreload\" href=\"{base}/{script}\">\n"));
        let first = page.scripts.iter().take(1);
        let first = first.map(|script| format!("<script type=\"module\" src=\"{base}/{script}\"></script>\n"));
        let styles = page.styles.iter().map(|style| format!("<link rel=\"stylesheet\" href=\"{base}/{style}\">\n"));
        let head: String = head.into_iter().chain(styles).chain(taken_in).chain(first).collect();
        let main = fill(page.main, |name| self.text(language, name).map(escape))?;
        let title = self.text(language, &format!("title.{}", page.name)).context("no title")?;
        self.framed(language, title, &head, &main)
    }

    /// A page around `main`, which is HTML as `head` is; `title` is text.
    pub(super) fn framed(&self, language: Language, title: &str, head: &str, main: &str) -> anyhow::Result<String> {
        fill(LAYOUT, |name| {
            Some(match name {
                "lang" => language.tag().into(),
                "other" => other(language).tag().into(),
                "title" => escape(title),
                "head" => head.into(),
                "main" => main.into(),
                "base" => Cow::Owned(self.base(language)),
                name => escape(self.text(language, name)?),
            })
        })
    }

    /// A sentence or a word.
    pub(super) fn text(&self, language: Language, name: &str) -> Option<&str> {
        self.texts.get(language.tag())?.get(name).map(String::as_str)
    }

    /// A page that is the same for everybody.
    pub(super) fn page(&self, name: &str, language: Language) -> Option<&Stored> {
        self.pages.get(language.tag())?.get(name)
    }

    /// A file.
    pub(super) fn asset(&self, language: &str, file: &str) -> Option<&Stored> {
        self.assets.get(language)?.get(file)
    }

    /// Names what all files are now.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Where all files are.
    pub(super) fn base(&self, language: Language) -> String {
        format!("/assets/{}/{}", self.version, language.tag())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands between `begin` and `end` in a text, wherever it does.
    fn between<'a>(text: &'a str, begin: &str, end: char) -> BTreeSet<&'a str> {
        text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
    }

    #[test]
    fn both_languages_say_everything_that_is_to_be_said() {
        let site = Site::build().unwrap();
        let names =
            |language: Language| -> BTreeSet<&str> { site.texts[language.tag()].keys().map(String::as_str).collect() };
        let known = names(Language::Korean);
        assert_eq!(known, names(Language::English));
        let of_each = TEXTS.iter().map(|(_, texts)| serde_json::from_str::<BTreeMap<String, Texts>>(texts).unwrap());
        assert_eq!(of_each.map(|texts| texts["ko"].len()).sum::<usize>(), known.len(), "a name stands for one text");
        for (name, korean) in &site.texts["ko"] {
            let english = &site.texts["en"][name];
            assert_eq!(between(korean, "{", '}'), between(english, "{", '}'), "{name}");
        }
        for (file, kind, text) in FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT) {
            for name in between(text, " t(\"", '"').into_iter().chain(between(text, "(t(\"", '"')) {
                assert!(known.contains(name), "{file} ({kind}): {name}");
            }
            let families = [" t(`", "(t(`", "{t(`"].map(|begin| between(text, begin, '$'));
            for family in families.into_iter().flatten() {
                assert!(known.iter().any(|name| name.starts_with(family)), "{file}: {family}");
            }
            for name in between(text, "[\"do.", '"') {
                assert!(known.contains(format!("do.{name}").as_str()), "{file}: do.{name}");
            }
        }
        for source in [include_str!("wait.rs"), include_str!("error_page.rs"), include_str!("brand.rs")] {
            for name in between(source, "say(\"", '"').into_iter().chain(between(source, "text(\"", '"')) {
                assert!(known.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn a_page_loads_all_that_its_script_takes_in() {
        let text_of = |name: &str| FILES.iter().find(|(file, ..)| *file == name).map_or("", |(.., text)| text);
        for page in PAGES {
            for script in page.scripts {
                for import in between(text_of(script), "from \"./", '"') {
                    assert!(page.scripts.contains(&import), "{}: {script} takes in {import}", page.name);
                }
            }
        }
    }
}
