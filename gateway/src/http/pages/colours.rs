//! Any colour an organiser picks, as one that can be read: a stylesheet that is told by its name alone.
//!
//! Nothing is looked up for it, so it costs microseconds, is the same at every gateway, is there when nothing else is, and
//! can be kept for good.

use std::fmt::Write as _;

use axum::response::{IntoResponse as _, Response};
use common::colour::Colour;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use super::language;

/// What text needs against what it stands on (WCAG 2.2, 1.4.3).
const READABLE: f64 = 4.5;
/// In how many steps a colour goes to black or white.
const STEPS: u16 = 64;
/// How much of the colour is in the ground that free seats stand on, of [`STEPS`].
const TINT: u16 = 10;

/// What `style.css` has where it is light, or dark.
struct Scheme {
    ground: Colour,
    panel: Colour,
    /// What a colour that can't be read goes towards.
    end: Colour,
}

const LIGHT: Scheme = Scheme { ground: Colour([0xff; 3]), panel: Colour([0xf3, 0xf5, 0xf8]), end: Colour([0; 3]) };
const DARK: Scheme =
    Scheme { ground: Colour([0x14, 0x17, 0x1c]), panel: Colour([0x20, 0x25, 0x2d]), end: Colour([0xff; 3]) };

/// What a stylesheet of a colour is called; the same as in `brand.js`.
pub(super) fn name_of(colour: Colour) -> String {
    format!("colour-{}.css", &colour.to_string()[1..])
}

/// The stylesheet with this name, if it is one of those that are made for a colour.
pub(super) fn stylesheet(tag: &str, file: &str, cached: HeaderValue) -> Option<Response> {
    language::named(tag)?;
    let colour: Colour = format!("#{}", file.strip_prefix("colour-")?.strip_suffix(".css")?).parse().ok()?;
    // One address for each: what is cached is not cached twice.
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, cached),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (file == name_of(colour)).then(|| (headers, rules(colour)).into_response())
}

/// Links and buttons in the colour; what stands on buttons is as readable as they are, as it has the ground's colour.
fn rules(colour: Colour) -> String {
    let of = |scheme: &Scheme| {
        let (main, free) = (scheme.readable(colour), mixed(scheme.ground, colour, TINT));
        format!(":root{{--main:{main};--on-main:{};--free:{free}}}", scheme.ground)
    };
    let mut rules = of(&LIGHT);
    let _ = write!(rules, "@media(prefers-color-scheme:dark){{{}}}", of(&DARK));
    rules
}

impl Scheme {
    /// The nearest colour on the way to black or white that can be read on whatever text stands on here. At its end it can.
    fn readable(&self, colour: Colour) -> Colour {
        // A panel is nearer to the colour than the ground is: what can be read there can be read on both.
        let is_readable = |colour: &Colour| contrast(self.panel, *colour) >= READABLE;
        (0..=STEPS).map(|step| mixed(colour, self.end, step)).find(is_readable).unwrap_or(self.end)
    }
}

/// So many of [`STEPS`] on the way from one colour to another.
fn mixed(Colour(from): Colour, Colour(to): Colour, step: u16) -> Colour {
    let channel = |at: usize| {
        let sum = u16::from(from[at]) * (STEPS - step) + u16::from(to[at]) * step;
        // An average of two bytes.
        u8::try_from(sum / STEPS).unwrap_or(u8::MAX)
    };
    Colour([channel(0), channel(1), channel(2)])
}

/// WCAG 2.2, contrast ratio: from 1 to 21.
fn contrast(one: Colour, other: Colour) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// WCAG 2.2, relative luminance: from 0 to 1.
fn luminance(Colour(channels): Colour) -> f64 {
    let linear = channels.map(|channel| {
        let part = f64::from(channel) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/pages/style.css"));

    /// A colour's value in `style.css` where it is light, and where it is dark.
    fn in_style(name: &str) -> [Colour; 2] {
        let values: Vec<Colour> = STYLE
            .split(&format!(" --{name}: "))
            .skip(1)
            .map(|rest| rest.split(';').next().unwrap())
            .map(|value| if value == "#fff" { "#ffffff" } else { value }.parse().unwrap())
            .collect();
        values.try_into().unwrap()
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        let of = |one: &str, other: &str| contrast(one.parse().unwrap(), other.parse().unwrap());
        assert!((of("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        assert!((of("#777777", "#ffffff") - 4.478).abs() < 1e-3);
        assert!((of("#1d4ed8", "#f3f5f8") - of("#f3f5f8", "#1d4ed8")).abs() < 1e-9);
    }

    #[test]
    fn grounds_are_those_of_the_stylesheet() {
        assert_eq!(in_style("ground"), [LIGHT.ground, DARK.ground]);
        assert_eq!(in_style("panel"), [LIGHT.panel, DARK.panel]);
    }

    #[test]
    fn every_colour_can_be_read_in_light_and_dark() {
        let inks = in_style("ink");
        let channel = || (0..=255_u8).step_by(15);
        for (scheme, ink) in [&LIGHT, &DARK].into_iter().zip(inks) {
            for colour in channel().flat_map(|r| channel().flat_map(move |g| channel().map(move |b| Colour([r, g, b]))))
            {
                let main = scheme.readable(colour);
                for ground in [scheme.ground, scheme.panel] {
                    assert!(contrast(main, ground) >= READABLE, "{colour} as {main} on {ground}");
                }
                let free = mixed(scheme.ground, colour, TINT);
                assert!(contrast(ink, free) >= READABLE, "{ink} on {free} of {colour}");
            }
        }
        assert_eq!(LIGHT.readable(Colour([0x1d, 0x4e, 0xd8])).to_string(), "#1d4ed8", "what can be read stays");
    }

    #[test]
    fn a_stylesheet_is_told_by_its_name_and_nothing_else_has_one() {
        let made = |tag: &str, file: &str| stylesheet(tag, file, HeaderValue::from_static("no-store")).is_some();
        assert!(made("ko", &name_of(Colour([0, 171, 255]))));
        for (tag, file) in [
            ("fr", "colour-00abff.css"),
            ("ko", "colour-00ABFF.css"),
            ("ko", "colour-00abf.css"),
            ("ko", "colour-;}*{x.css"),
            ("ko", "colour-.css"),
            ("ko", "style.css"),
        ] {
            assert!(!made(tag, file), "{tag} {file}");
        }
        assert!(rules(Colour([0xff, 0xff, 0])).len() < 200);
    }
}
