//! Pictures as PNG, twice as fine as the picture's own units. Text is set in a bitmap font: no font of the system is
//! looked for.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, PremultipliedColorU8, Stroke, Transform};

use super::{Anchor, Colour, HEIGHT, Point, Shape, WIDTH};
use crate::cli::Failure;

const SCALE: f32 = 2.0;
const FONT: RasterHeight = RasterHeight::Size24;
/// Pixels from a glyph's top to the line that it stands on.
const ASCENT: i32 = 19;

pub fn draw(shapes: &[Shape]) -> Result<Vec<u8>, Failure> {
    let size = |length: f32| (length * SCALE) as u32;
    let mut picture = Pixmap::new(size(WIDTH), size(HEIGHT))
        .ok_or_else(|| Failure::error("a picture of this size cannot be made"))?;
    picture.fill(Color::WHITE);
    for shape in shapes {
        match shape {
            Shape::Area { points, fill } => area(&mut picture, outline(points, true), *fill),
            Shape::Line { points, stroke, width } => line(&mut picture, points, *stroke, *width),
            Shape::Disc { at: [x, y], radius, fill } => {
                area(&mut picture, PathBuilder::from_circle(*x, *y, *radius), *fill);
            }
            Shape::Text { at, anchor, fill, text } => write(&mut picture, text, *at, *anchor, *fill),
        }
    }
    picture.encode_png().map_err(|error| Failure::error(format!("the picture cannot be encoded: {error}")))
}

fn paint(Colour([red, green, blue]): Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

/// Nothing if there are fewer than two points.
fn outline(points: &[Point], closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (first, rest) = points.split_first()?;
    path.move_to(first[0], first[1]);
    for [x, y] in rest {
        path.line_to(*x, *y);
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn area(picture: &mut Pixmap, path: Option<Path>, fill: Colour) {
    if let Some(path) = path {
        picture.fill_path(&path, &paint(fill), FillRule::Winding, Transform::from_scale(SCALE, SCALE), None);
    }
}

fn line(picture: &mut Pixmap, points: &[Point], stroke: Colour, width: f32) {
    if let Some(path) = outline(points, false) {
        let how = Stroke { width, ..Stroke::default() };
        picture.stroke_path(&path, &paint(stroke), &how, Transform::from_scale(SCALE, SCALE), None);
    }
}

/// Characters outside of ASCII become question marks.
fn write(picture: &mut Pixmap, text: &str, [x, y]: Point, anchor: Anchor, Colour(fill): Colour) {
    let advance = get_raster_width(FontWeight::Regular, FONT) as i32;
    let width = text.chars().count() as i32 * advance;
    let before = match anchor {
        Anchor::Start => 0,
        Anchor::Middle => width / 2,
        Anchor::End => width,
    };
    let (left, top) = ((x * SCALE) as i32 - before, (y * SCALE) as i32 - ASCENT);
    for (index, character) in text.chars().enumerate() {
        let glyph = |character| get_raster(character, FontWeight::Regular, FONT);
        let Some(glyph) = glyph(character).or_else(|| glyph('?')) else { continue };
        for (row, line) in glyph.rows().enumerate() {
            for (column, &cover) in line.iter().enumerate() {
                blend(picture, left + index as i32 * advance + column as i32, top + row as i32, fill, cover);
            }
        }
    }
}

/// Lays a colour over a pixel, which is opaque; nothing outside of the picture.
fn blend(picture: &mut Pixmap, x: i32, y: i32, fill: [u8; 3], cover: u8) {
    let (width, height) = (picture.width() as i32, picture.height() as i32);
    if cover == 0 || !(0..width).contains(&x) || !(0..height).contains(&y) {
        return;
    }
    let pixel = &mut picture.pixels_mut()[(y * width + x) as usize];
    let mix = |old: u8, new: u8| {
        let cover = u32::from(cover);
        ((u32::from(old) * (255 - cover) + u32::from(new) * cover) / 255) as u8
    };
    let mixed = [mix(pixel.red(), fill[0]), mix(pixel.green(), fill[1]), mix(pixel.blue(), fill[2])];
    if let Some(mixed) = PremultipliedColorU8::from_rgba(mixed[0], mixed[1], mixed[2], 255) {
        *pixel = mixed;
    }
}
