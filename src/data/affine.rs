//! Shear, translation and rotation, bit by bit as Pillow 9.5's affine `transform` and `rotate`. With the matrix
//! (a b c; d e f), output pixel (x, y) shows the place
//!
//! ```text
//! xs = a(x + ½) + b(y + ½) + c        ys = d(x + ½) + e(y + ½) + f
//! ```
//!
//! of the input, between pixels interpolated along x, then along y; a place outside the image shows the fill colour, taps
//! outside repeat the border. The cubic is the one with a = −1, unlike the resize's; results are cut off to [0, 255] and
//! truncated.

use super::{image::RgbImage, resize::Filter};
use crate::cpu::simd;

/// The rows (a, b, c) and (d, e, f).
pub type Matrix = [[f64; 3]; 2];

/// A colour that is computed with; the fourth lane only fills the vector.
type Lanes = [f64; 4];

/// The matrix of a rotation by `degrees` counter-clockwise about the centre of a `width` × `height` image. Sine and
/// cosine are rounded to 15 decimals.
pub fn rotation(degrees: f64, width: usize, height: usize) -> Matrix {
    let angle = -(degrees.rem_euclid(360.0) * (std::f64::consts::PI / 180.0));
    let rounded = |value: f64| format!("{value:.15}").parse().unwrap_or(value);
    let (cos, sin) = (rounded(libm::cos(angle)), rounded(libm::sin(angle)));
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [[cos, sin, cos * -x + sin * -y + x], [-sin, cos, -sin * -x + cos * -y + y]]
}

/// The image under `matrix`, at the same size.
pub fn transform(image: &RgbImage, matrix: Matrix, filter: Filter, fill: [u8; 3]) -> RgbImage {
    let lanes = |&[r, g, b]: &[u8; 3]| [r, g, b, 0].map(f64::from);
    let source: Vec<Lanes> = image.pixels.as_chunks::<3>().0.iter().map(lanes).collect();
    let source = Source { pixels: &source, width: image.width, height: image.height };
    let mut pixels = Vec::with_capacity(source.pixels.len());
    let mut row = vec![[0.0; 4]; image.width];
    for y in 0..image.height {
        row.fill(lanes(&fill));
        simd(
            #[inline(always)]
            || match filter {
                Filter::Bicubic => source.row(matrix, y, &mut row, -1, cubic),
                Filter::Bilinear => source.row(matrix, y, &mut row, 0, linear),
            },
        );
        pixels.extend(row.iter().map(|[r, g, b, _]| [*r as u8, *g as u8, *b as u8])); // cuts off and truncates
    }
    RgbImage { width: image.width, height: image.height, pixels: pixels.into_flattened() }
}

struct Source<'a> {
    pixels: &'a [Lanes],
    width: usize,
    height: usize,
}

impl Source<'_> {
    /// Row `y` of the result where its places lie in the image: `N` taps along each axis from `first` on.
    #[inline(always)]
    fn row<const N: usize>(
        &self, [[a, b, c], [d, e, f]]: Matrix, y: usize, out: &mut [Lanes], first: isize,
        line: impl Fn(&[Lanes; N], f64) -> Lanes,
    ) {
        let (width, height, y) = (self.width as f64, self.height as f64, y as f64 + 0.5);
        for (x, pixel) in out.iter_mut().enumerate() {
            let x = x as f64 + 0.5;
            let (xs, ys) = (a * x + b * y + c, d * x + e * y + f);
            if (0.0..width).contains(&xs) && (0.0..height).contains(&ys) {
                *pixel = self.at(xs - 0.5, ys - 0.5, first, &line);
            }
        }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, x: f64, y: f64, first: isize, line: impl Fn(&[Lanes; N], f64) -> Lanes) -> Lanes {
        let (left, top) = (x.floor(), y.floor());
        let tap = |from: f64, k: usize| from as isize + first + k as isize;
        let columns: [usize; N] = std::array::from_fn(|k| tap(left, k).clamp(0, self.width as isize - 1) as usize);
        let rows: [Lanes; N] = std::array::from_fn(|k| {
            let start = tap(top, k).clamp(0, self.height as isize - 1) as usize * self.width;
            let pixels = &self.pixels[start..start + self.width];
            line(&columns.map(|column| pixels[column]), x - left)
        });
        line(&rows, y - top)
    }
}

/// p₁ + t(p₂ + t(p₃ + t·p₄)) with p₁ = v₁, p₂ = −v₀ + v₂, p₃ = 2(v₀ − v₁) + v₂ − v₃, p₄ = −v₀ + v₁ − v₂ + v₃.
#[inline(always)]
fn cubic(v: &[Lanes; 4], t: f64) -> Lanes {
    std::array::from_fn(|c| {
        let [v0, v1, v2, v3] = [v[0][c], v[1][c], v[2][c], v[3][c]];
        let (p2, p3, p4) = (-v0 + v2, 2.0 * (v0 - v1) + v2 - v3, -v0 + v1 - v2 + v3);
        v1 + t * (p2 + t * (p3 + t * p4))
    })
}

#[inline(always)]
fn linear(v: &[Lanes; 2], t: f64) -> Lanes {
    std::array::from_fn(|c| v[0][c] + (v[1][c] - v[0][c]) * t)
}
