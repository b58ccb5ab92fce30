//! Line charts as inline SVG: no script, no file, no network.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
const GRID_LINES: u32 = 4;
/// As many colours the style sheet has; further lines begin again.
const COLOURS: usize = 8;

/// One line of a chart.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    /// Points of (seconds, value), ordered by time.
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with its title and legend. `unit` goes to the numbers of the axis. Without any point:
/// a sentence that says so.
pub(super) fn lines(title: &str, unit: &str, series: &[Series<'_>]) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return format!("<figure><figcaption>{}</figcaption><p>Nothing to show.</p></figure>", escape(title));
    }
    let x_max = points().map(|point| point.0).fold(1.0, f64::max);
    let y_max = nice(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |value: f64| LEFT + value / x_max * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_max * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        r#"<figure><figcaption>{0} {1}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{0}">"#,
        escape(title),
        legend(series)
    );
    for step in 0..=GRID_LINES {
        let value = y_max * f64::from(step) / f64::from(GRID_LINES);
        push(
            &mut svg,
            &format!(
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{1:.1}" y2="{1:.1}"/><text x="{2:.1}" y="{3:.1}" text-anchor="end">{4}</text>"#,
                WIDTH - RIGHT,
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
                label(value, unit)
            ),
        );
        let time = x_max * f64::from(step) / f64::from(GRID_LINES);
        push(
            &mut svg,
            &format!(
                r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{} s</text>"#,
                x(time).min(WIDTH - RIGHT - 14.0),
                HEIGHT - 8.0,
                label(time, "")
            ),
        );
    }
    for (index, line) in series.iter().enumerate() {
        let path: Vec<_> = line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        push(&mut svg, &format!(r#"<polyline class="line s{}" points="{}"/>"#, index % COLOURS, path.join(" ")));
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn push(text: &mut String, more: &str) {
    // Writing to a String can't fail.
    let _ = write!(text, "{more}");
}

fn legend(series: &[Series<'_>]) -> String {
    series
        .iter()
        .enumerate()
        .map(|(index, line)| format!(r#"<span class="key s{}">{}</span>"#, index % COLOURS, escape(line.name)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The end of an axis for values up to `max`: 1, 2 or 5 times a power of ten.
fn nice(max: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(max.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|end| *end >= max).unwrap_or(max)
}

fn label(value: f64, unit: &str) -> String {
    let number = if value >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// Text as HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (max, end) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (37.0, 50.0), (99.0, 100.0), (0.03, 0.05)] {
            assert!((nice(max) - end).abs() < 1e-9, "{max}: {}", nice(max));
        }
    }

    #[test]
    fn points_lie_within_the_picture() {
        let svg = lines("a & b", "ms", &[Series { name: "p<50", points: vec![(0.0, 0.0), (10.0, 100.0)] }]);
        // Zero at the lower left corner of the plot, the highest value at its upper right one.
        assert!(svg.contains(r#"points="64.0,210.0 848.0,12.0""#), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("p&lt;50") && svg.contains("100 ms"), "{svg}");
    }

    #[test]
    fn no_points_are_no_picture() {
        let none = lines("t", "", &[Series { name: "n", points: Vec::new() }]);
        assert!(none.contains("Nothing to show") && !none.contains("<svg"));
    }
}
