//! Speed of generation against depth as a picture: measured points, and the predicted band. This file decides what is
//! drawn where; `svg` and `png` draw it.

mod png;
mod svg;

use std::path::Path;

use lazuli::planner::Estimate;

use super::measure::Decode;
use crate::cli::Failure;

const WIDTH: f32 = 800.0;
const HEIGHT: f32 = 480.0;
/// Left, top, right and bottom of the axes.
const AXES: [f32; 4] = [70.0, 50.0, 770.0, 420.0];
/// Points of the predicted line.
const STEPS: usize = 32;

const BLACK: Colour = Colour([0, 0, 0]);
const GREY: Colour = Colour([221, 221, 221]);
const MEASURED: Colour = Colour([192, 57, 43]);
const PREDICTED: Colour = Colour([47, 109, 181]);
const BAND: Colour = Colour([215, 228, 243]);

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Colour([u8; 3]);

type Point = [f32; 2];

/// Which part of a text stands at its point.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// What a picture is made of, the lowest first.
#[derive(Debug)]
enum Shape {
    Area { points: Vec<Point>, fill: Colour },
    Line { points: Vec<Point>, stroke: Colour, width: f32 },
    Disc { at: Point, radius: f32, fill: Colour },
    Text { at: Point, anchor: Anchor, fill: Colour, text: String },
}

/// The kinds of files that pictures are written as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Svg,
    Png,
}

impl Kind {
    /// The kind that a file's name ends with.
    ///
    /// # Errors
    /// If it is another.
    pub fn of(file: &Path) -> Result<Self, Failure> {
        let is = |kind: &str| file.extension().is_some_and(|e| e.eq_ignore_ascii_case(kind));
        match (is("svg"), is("png")) {
            (true, _) => Ok(Self::Svg),
            (_, true) => Ok(Self::Png),
            _ => Err(Failure::usage(format!("'{}' ends neither in .svg nor in .png", file.display()))),
        }
    }
}

/// The picture as a file's contents; `predict` gives the speed at a depth, where that is known.
///
/// # Errors
/// If it cannot be encoded.
pub fn plot(
    kind: Kind,
    title: &str,
    measured: &[Decode],
    predict: &dyn Fn(usize) -> Option<Estimate>,
) -> Result<Vec<u8>, Failure> {
    let shapes = shapes(title, measured, predict);
    match kind {
        Kind::Svg => Ok(svg::draw(&shapes).into_bytes()),
        Kind::Png => png::draw(&shapes),
    }
}

fn shapes(title: &str, measured: &[Decode], predict: &dyn Fn(usize) -> Option<Estimate>) -> Vec<Shape> {
    let deepest = measured.iter().map(|one| one.depth).max().unwrap_or(0).max(1);
    let line: Vec<(usize, Estimate)> = (0..=STEPS)
        .map(|step| step * deepest / STEPS)
        .filter_map(|depth| Some((depth, predict(depth)?)))
        .collect();
    let fastest = measured.iter().map(|one| one.tok_s.max).chain(line.iter().map(|(_, e)| e.high));
    let top = nice(fastest.fold(0.0, f64::max));
    let [left, upper, right, lower] = AXES;
    let x = |depth: usize| left + (right - left) * depth as f32 / deepest as f32;
    let y = |speed: f64| lower - (lower - upper) * (speed / top).clamp(0.0, 1.0) as f32;
    let mut shapes = labels(title);
    for step in 0..=4 {
        let (depth, speed) = (step * deepest / 4, top * step as f64 / 4.0);
        let points = vec![[left, y(speed)], [right, y(speed)]];
        shapes.push(Shape::Line { points, stroke: GREY, width: 1.0 });
        shapes.push(text([left - 8.0, y(speed) + 4.0], Anchor::End, BLACK, format!("{speed:.0}")));
        shapes.push(text([x(depth), lower + 20.0], Anchor::Middle, BLACK, depth.to_string()));
    }
    if !line.is_empty() {
        let at = |of: fn(&Estimate) -> f64| line.iter().map(move |(depth, e)| [x(*depth), y(of(e))]);
        let points = at(|e| e.high).chain(at(|e| e.low).rev()).collect();
        // Below the grid, which the band would hide.
        shapes.insert(0, Shape::Area { points, fill: BAND });
        shapes.push(Shape::Line { points: at(|e| e.p50).collect(), stroke: PREDICTED, width: 2.0 });
    }
    for one in measured {
        let (at, speed) = (x(one.depth), one.tok_s);
        let points = vec![[at, y(speed.min)], [at, y(speed.max)]];
        shapes.push(Shape::Line { points, stroke: MEASURED, width: 1.0 });
        shapes.push(Shape::Disc { at: [at, y(speed.median)], radius: 5.0, fill: MEASURED });
    }
    shapes
}

fn labels(title: &str) -> Vec<Shape> {
    let [left, _, right, lower] = AXES;
    vec![
        text([left, 22.0], Anchor::Start, BLACK, title.to_owned()),
        text([left.midpoint(right), lower + 42.0], Anchor::Middle, BLACK, "tokens in the cache".to_owned()),
        text([left, 41.0], Anchor::End, BLACK, "tok/s".to_owned()),
        text([right - 90.0, 41.0], Anchor::End, MEASURED, "measured".to_owned()),
        text([right, 41.0], Anchor::End, PREDICTED, "predicted".to_owned()),
    ]
}

fn text(at: Point, anchor: Anchor, fill: Colour, text: String) -> Shape {
    Shape::Text { at, anchor, fill, text }
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
        let picture = plot(Kind::Svg, "a < b & c", &[], &|_| None).unwrap_or_default();
        let picture = String::from_utf8_lossy(&picture);
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        assert!(picture.contains("a &lt; b &amp; c") && !picture.contains("NaN"));
    }

    #[test]
    fn a_bitmap_shows_what_the_vectors_say() {
        let predict = |depth: usize| {
            let p50 = 40.0 / (1.0 + depth as f64);
            Some(Estimate { p50, low: 0.8 * p50, high: 1.2 * p50 })
        };
        let Ok(bytes) = plot(Kind::Png, "a title", &[], &predict) else { panic!("it is drawn") };
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
        let Ok(picture) = tiny_skia::Pixmap::decode_png(&bytes) else { panic!("it is a picture") };
        let scale = picture.width() as f32 / WIDTH;
        let colour = |[x, y]: Point| {
            let pixel = picture.pixel((x * scale) as u32, (y * scale) as u32);
            pixel.map(|p| Colour([p.red(), p.green(), p.blue()]))
        };
        // The axis ends at 50: a speed of 40 stands at four fifths of the height, its band a fifth of it around.
        let y = |speed: f32| AXES[3] - (AXES[3] - AXES[1]) * speed / 50.0;
        assert_eq!(colour([AXES[0] + 0.5, y(40.0)]), Some(PREDICTED));
        assert_eq!(colour([AXES[0] + 1.0, y(44.0)]), Some(BAND));
        assert_eq!(colour([AXES[2] - 1.0, y(30.0)]), Some(Colour([255; 3])));
        let dark = |y: u32| {
            let is_dark = |&x: &u32| picture.pixel(x, y).is_some_and(|p| p.red() < 90);
            (0..picture.width()).filter(is_dark).count()
        };
        assert!((20..50).map(dark).sum::<usize>() > 50, "the title is written");
    }

    #[test]
    fn other_pictures_are_refused_by_name() {
        let kind = |name: &str| Kind::of(Path::new(name));
        assert!(matches!((kind("a.svg"), kind("b.PNG")), (Ok(Kind::Svg), Ok(Kind::Png))));
        for name in ["a.jpg", "svg", "a"] {
            let Err(Failure::Usage(error)) = kind(name) else { panic!("{name} is refused") };
            assert!(error.contains(name) && error.contains(".png"), "{error}");
        }
    }
}
