//! Speed of generation against depth, as an SVG picture: measured points, and the predicted band.

use std::fmt::Write as _;

use lazuli::planner::Estimate;

use super::measure::Decode;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
/// Left, top, right and bottom of the axes.
const AXES: [f64; 4] = [70.0, 50.0, 770.0, 420.0];
/// Points of the predicted line.
const STEPS: usize = 32;

/// The picture; `predict` gives the speed at a depth, where that is known.
pub fn svg(title: &str, measured: &[Decode], predict: &dyn Fn(usize) -> Option<Estimate>) -> String {
    let deepest = measured.iter().map(|one| one.depth).max().unwrap_or(0).max(1);
    let line: Vec<(usize, Estimate)> = (0..=STEPS)
        .map(|step| step * deepest / STEPS)
        .filter_map(|depth| Some((depth, predict(depth)?)))
        .collect();
    let fastest = measured.iter().map(|one| one.tok_s.max).chain(line.iter().map(|(_, e)| e.high));
    let top = nice(fastest.fold(0.0, f64::max));
    let x = |depth: usize| AXES[0] + (AXES[2] - AXES[0]) * depth as f64 / deepest as f64;
    let y = |speed: f64| AXES[3] - (AXES[3] - AXES[1]) * (speed / top).clamp(0.0, 1.0);
    let mut svg = head(title);
    for step in 0..=4 {
        let (depth, speed) = (step * deepest / 4, top * step as f64 / 4.0);
        let (at_x, at_y) = (x(depth), y(speed));
        let _ = writeln!(svg, "<path d=\"M{} {at_y:.1}H{}\" stroke=\"#ddd\"/>", AXES[0], AXES[2]);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{speed:.0}</text>",
            AXES[0] - 8.0,
            at_y + 4.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{at_x:.1}\" y=\"{}\" text-anchor=\"middle\">{depth}</text>",
            AXES[3] + 20.0
        );
    }
    if !line.is_empty() {
        let point = |depth: usize, speed: f64| format!("{:.1},{:.1}", x(depth), y(speed));
        let upper = line.iter().map(|(depth, e)| point(*depth, e.high));
        let lower = line.iter().rev().map(|(depth, e)| point(*depth, e.low));
        let band: Vec<String> = upper.chain(lower).collect();
        let _ = writeln!(svg, "<polygon points=\"{}\" fill=\"#7aa6d8\" opacity=\"0.3\"/>", band.join(" "));
        let middle: Vec<String> = line.iter().map(|(depth, e)| point(*depth, e.p50)).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#2f6db5\" stroke-width=\"2\"/>",
            middle.join(" ")
        );
    }
    for one in measured {
        let (at_x, speed) = (x(one.depth), one.tok_s);
        let _ = writeln!(
            svg,
            "<path d=\"M{at_x:.1} {:.1}V{:.1}\" stroke=\"#c0392b\"/>",
            y(speed.min),
            y(speed.max)
        );
        let _ = writeln!(
            svg,
            "<circle cx=\"{at_x:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"#c0392b\"/>",
            y(speed.median)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(title: &str) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{0}\" y=\"28\" font-size=\"16\">{title}</text>\n\
         <text x=\"{1}\" y=\"462\" text-anchor=\"middle\">tokens in the cache</text>\n\
         <text x=\"{2}\" y=\"28\" text-anchor=\"end\">tok/s: <tspan fill=\"#c0392b\">measured</tspan>, \
         <tspan fill=\"#2f6db5\">predicted</tspan></text>\n",
        AXES[0],
        AXES[0].midpoint(AXES[2]),
        AXES[2],
    )
}

/// The next of 1, 2, 4, 5, 8, 10, 20, ..: labels at quarters stay short.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|&top| top >= value).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_above_what_they_show() {
        assert_eq!(
            [0.7, 3.0, 41.0, 100.0, 801.0].map(nice).map(|n| (n * 10.0).round() / 10.0),
            [0.8, 4.0, 50.0, 100.0, 1000.0]
        );
    }

    #[test]
    fn a_picture_without_numbers_is_still_one() {
        let picture = svg("a < b & c", &[], &|_| None);
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        assert!(picture.contains("a &lt; b &amp; c") && !picture.contains("NaN"));
    }
}
