//! Plots, as SVG.

use super::axis::Axis;
use crate::spread::Spread;
use crate::table::shown;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
/// Where names end and values begin.
const LEFT: f64 = 330.0;
const RIGHT: f64 = WIDTH - 90.0;
const TOP: f64 = 40.0;
const ROW: f64 = 26.0;

/// One colour after the other.
const COLOURS: [&str; 8] = [
    "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d",
];

fn colour(number: usize) -> &'static str {
    COLOURS.get(number % COLOURS.len()).copied().unwrap_or("#2563eb")
}

/// Text as it stands in HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            other => escaped.push(other),
        }
    }
    escaped
}

/// A picture that grows.
struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let title = escaped(title);
        Self(format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
             <text class=\"title\" x=\"0\" y=\"16\">{title}</text>\n"
        ))
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        // Writing to a string does not fail.
        writeln!(
            self.0,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        )
        .ok();
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
        writeln!(
            self.0,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        )
        .ok();
    }

    fn bar(&mut self, y: f64, to: f64, colour: &str) {
        let width = to - LEFT;
        writeln!(
            self.0,
            "<rect x=\"{LEFT:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>"
        )
        .ok();
    }

    fn dot(&mut self, x: f64, y: f64, colour: &str, what: &str) {
        let what = escaped(what);
        writeln!(
            self.0,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{what}</title></circle>"
        )
        .ok();
    }

    /// Marks of a horizontal axis, over the whole height.
    fn columns(&mut self, axis: &Axis, bottom: f64) {
        for tick in axis.ticks() {
            let x = axis.at(tick);
            self.line("grid", (x, TOP - 8.0), (x, bottom), "currentColor");
            self.text("tick", x, TOP - 12.0, &short(tick));
        }
    }

    fn end(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

/// A number for an axis.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{value:.4}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn rows(count: usize) -> f64 {
    count as f64
}

/// A bar for each median, with a line from the smallest value to the largest. Empty if there is nothing.
pub(super) fn bars(title: &str, bars: &[(String, Spread)]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let bottom = TOP + ROW * rows(bars.len());
    let max = bars.iter().fold(0.0, |max, (_, spread)| spread.max.max(max));
    let axis = Axis::linear(max, LEFT, RIGHT);
    let mut svg = Svg::new(title, bottom + 8.0);
    svg.columns(&axis, bottom);
    for (number, (label, spread)) in bars.iter().enumerate() {
        let y = TOP + ROW * rows(number);
        svg.text("label", LEFT - 8.0, y + 12.0, label);
        svg.bar(y + 1.0, axis.at(spread.median), colour(number));
        let (min, max) = (axis.at(spread.min), axis.at(spread.max));
        svg.line("spread", (min, y + 8.0), (max, y + 8.0), "currentColor");
        for end in [min, max] {
            svg.line("spread", (end, y + 4.0), (end, y + 12.0), "currentColor");
        }
        svg.text("value", RIGHT + 8.0, y + 12.0, &shown(spread.median));
    }
    svg.end()
}

/// For each row several values, on a logarithmic scale, from the first to the last joined by a line.
pub(super) fn dots(title: &str, of: &[(String, Vec<(&str, f64)>)]) -> String {
    let values = || of.iter().flat_map(|(_, values)| values);
    if values().next().is_none() {
        return String::new();
    }
    let bottom = TOP + ROW * rows(of.len());
    let axis = Axis::log(values().map(|(_, value)| *value), LEFT, RIGHT);
    let mut svg = Svg::new(title, bottom + 8.0);
    svg.columns(&axis, bottom);
    for (number, (label, values)) in of.iter().enumerate() {
        let y = TOP + ROW * rows(number) + 8.0;
        svg.text("label", LEFT - 8.0, y + 4.0, label);
        if let (Some((_, first)), Some((_, last))) = (values.first(), values.last()) {
            svg.line("series", (axis.at(*first), y), (axis.at(*last), y), colour(number));
        }
        for (name, value) in values {
            svg.dot(axis.at(*value), y, colour(number), &format!("{name} {}", shown(*value)));
        }
    }
    svg.end()
}

/// Lines over a logarithmic scale, with the spread of each point. Those of one point are left out.
pub(super) fn lines(title: &str, lines: &[(String, Vec<(f64, Spread)>)]) -> String {
    const HEIGHT: f64 = 260.0;
    let lines: Vec<_> = lines.iter().filter(|(_, points)| points.len() > 1).collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    if lines.is_empty() {
        return String::new();
    }
    let bottom = TOP + HEIGHT;
    let x = Axis::log(points().map(|(x, _)| *x), 70.0, RIGHT);
    let max = points().fold(0.0, |max, (_, spread)| spread.max.max(max));
    let y = Axis::linear(max, bottom, TOP);
    let mut svg = Svg::new(title, bottom + 30.0 + 18.0 * rows(lines.len()));
    for tick in y.ticks() {
        svg.line("grid", (70.0, y.at(tick)), (RIGHT, y.at(tick)), "currentColor");
        svg.text("label", 62.0, y.at(tick) + 4.0, &short(tick));
    }
    for tick in x.ticks() {
        svg.line("grid", (x.at(tick), TOP), (x.at(tick), bottom), "currentColor");
        svg.text("tick", x.at(tick), bottom + 16.0, &short(tick));
    }
    for (number, (label, points)) in lines.iter().enumerate() {
        let colour = colour(number);
        for pair in points.windows(2) {
            if let [(x1, one), (x2, other)] = pair {
                let (from, to) = ((x.at(*x1), y.at(one.median)), (x.at(*x2), y.at(other.median)));
                svg.line("series", from, to, colour);
            }
        }
        for (at, spread) in points {
            let at_x = x.at(*at);
            svg.line("spread", (at_x, y.at(spread.min)), (at_x, y.at(spread.max)), colour);
            let what = format!("{}: {}", shown(*at), shown(spread.median));
            svg.dot(at_x, y.at(spread.median), colour, &what);
        }
        let row = bottom + 36.0 + 18.0 * rows(number);
        svg.dot(76.0, row - 4.0, colour, label);
        svg.text("legend", 90.0, row, label);
    }
    svg.end()
}
