//! Pictures as SVG text: the same input gives the same bytes, readable on light and dark pages.

use super::table::{one_line, shorten};
use std::collections::BTreeSet;

/// The width of every picture.
const WIDTH: f64 = 720.0;
/// Where plots begin and end.
pub(super) const LEFT: f64 = 76.0;
pub(super) const RIGHT: f64 = WIDTH - 24.0;
const MIDDLE: f64 = (LEFT + RIGHT) / 2.0;
/// The height of a plot.
const PLOT: f64 = 220.0;
/// Beyond this a curve has more points than the picture has pixels.
const MOST_POINTS: usize = 1600;
/// Mid-tones that stand out from white and from black.
pub(super) const COLORS: [&str; 8] =
    ["#2f7fd1", "#d9700f", "#239a60", "#cf4a8d", "#8a66d6", "#a8851a", "#1d97a3", "#d2504a"];

const STYLE: &str = "
.paper{fill:#ffffff} text{fill:#24292f} .title{font-size:14px;font-weight:600} .small{font-size:11px}
.mid{text-anchor:middle} .end{text-anchor:end}
.grid{stroke:#d8dee4;fill:none} .axis{stroke:#6e7781;fill:none} .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.ghost{fill:#eaeef2;stroke:#afb8c1} .cell{stroke:#ffffff;stroke-width:0.8} .bad{stroke:#cf222e;stroke-width:1.6}
@media (prefers-color-scheme: dark){
.paper{fill:#0d1117} text{fill:#d5dbe1} .grid{stroke:#2a313a} .axis{stroke:#8b949e}
.ghost{fill:#1c222b;stroke:#4a535d} .cell{stroke:#0d1117} .bad{stroke:#ff7b72}
}
";

/// A whole SVG file: the panels under one another.
pub fn document(panels: &[Panel]) -> String {
    let (mut height, mut body) = (0.0, String::new());
    for panel in panels {
        body += &format!("<g transform=\"translate(0 {height})\">\n{}</g>\n", panel.body);
        height += panel.height;
    }
    let height = height.max(1.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// A part of a picture over its full width.
#[derive(Debug, Clone)]
pub struct Panel {
    pub(super) height: f64,
    body: String,
}

impl Panel {
    pub(super) fn new(title: &str) -> Panel {
        let mut panel = Panel { height: 0.0, body: String::new() };
        panel.text("title", LEFT, 24.0, title);
        panel
    }

    /// One line of text.
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.body += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n");
    }

    /// A rectangle by its upper left corner and size.
    pub(super) fn rect(&mut self, class: &str, fill: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        self.body += &format!("<rect class=\"{class}\" fill=\"{fill}\" {place}/>\n");
    }

    fn path(&mut self, class: &str, steps: &str) {
        self.body += &format!("<path class=\"{class}\" d=\"{steps}\"/>\n");
    }

    /// A horizontal axis at the height `floor` with its name, which ends the panel.
    pub(super) fn floor(&mut self, floor: f64, name: &str) {
        self.path("axis", &format!("M{LEFT} {floor}H{RIGHT}"));
        self.text("mid", MIDDLE, floor + 35.0, name);
        self.height = floor + 46.0;
    }

    /// The names of the curves on as many lines as they need; where the legend ends.
    fn legend<'a>(&mut self, names: impl Iterator<Item = &'a String>) -> f64 {
        let (mut x, mut y) = (LEFT, 46.0);
        for (index, name) in names.enumerate() {
            let name = shorten(name, 40);
            let width = 32.0 + name.chars().count() as f64 * 6.8;
            if x > LEFT && x + width > RIGHT {
                (x, y) = (LEFT, y + 18.0);
            }
            self.rect("key", COLORS[index % COLORS.len()], [x, y - 6.0], [12.0, 4.0]);
            self.text("", x + 17.0, y, &name);
            x += width;
        }
        y + 16.0
    }

    /// A line through the points that have a height; a point alone is a dot, one without height a cross on the axis.
    fn curve(&mut self, points: &[(f64, Option<f64>)], index: usize, floor: f64) {
        let (color, mut line) = (COLORS[index % COLORS.len()], String::new());
        for run in points.chunk_by(|before, after| before.1.is_some() && after.1.is_some()) {
            match *run {
                [(x, None)] => self.path("bad", &format!("M{:.1} {:.1}l7 7m0 -7l-7 7", x - 3.5, floor - 3.5)),
                [(x, Some(y))] => {
                    self.body += &format!("<circle fill=\"{color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>\n");
                }
                _ => {
                    let places: Vec<_> = run.iter().filter_map(|&(x, y)| Some(format!("{x:.1} {:.1}", y?))).collect();
                    line += &format!("M{}", places.join("L"));
                }
            }
        }
        if !line.is_empty() {
            let dash = if index < COLORS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
            self.body += &format!("<path class=\"line\" stroke=\"{color}\"{dash} d=\"{line}\"/>\n");
        }
    }
}

/// Curves over one pair of axes. A value that cannot be drawn breaks its curve and leaves a cross on the axis.
#[derive(Debug, Clone)]
pub struct Lines {
    title: String,
    x: String,
    /// Name and points of each curve.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Lines {
    /// A plot without curves; `x` names its horizontal axis.
    pub fn new(title: &str, x: &str) -> Lines {
        Lines { title: title.into(), x: x.into(), series: Vec::new() }
    }

    /// Adds a point to the curve of that name, which begins with its first point.
    pub fn push(&mut self, name: &str, x: f64, y: f64) {
        match self.series.iter_mut().find(|series| series.0 == name) {
            Some(series) => series.1.push((x, y)),
            None => self.series.push((name.to_string(), vec![(x, y)])),
        }
    }

    /// The plot as a part of a picture.
    pub fn panel(&self) -> Panel {
        let points = || self.series.iter().flat_map(|series| &series.1).filter(|point| usable(point.0));
        let (xs, ys) = (points().map(|point| point.0), points().map(|point| point.1));
        let x = Axis::new(xs.clone(), 8, xs.clone().all(|x| x.fract() == 0.0), false);
        let y = Axis::new(ys.filter(|&y| usable(y)), 5, false, true);
        let mut panel = Panel::new(&self.title);
        let top = panel.legend(self.series.iter().map(|series| &series.0));
        let floor = top + PLOT;
        for &tick in &y.ticks {
            let at = y.at(tick, floor, top);
            panel.path("grid", &format!("M{LEFT} {at:.1}H{RIGHT}"));
            panel.text("small end", LEFT - 8.0, at + 4.0, &y.label(tick));
        }
        for &tick in &x.ticks {
            let at = x.at(tick, LEFT, RIGHT);
            panel.path("axis", &format!("M{at:.1} {floor}v4"));
            panel.text("small mid", at, floor + 18.0, &x.label(tick));
        }
        panel.floor(floor, &self.x);
        if xs.count() == 0 {
            panel.text("mid", MIDDLE, floor - PLOT / 2.0, "no data");
        }
        for (index, (_, points)) in self.series.iter().enumerate() {
            let place = |(px, py): (f64, f64)| {
                (x.at(px, LEFT, RIGHT), Some(py).filter(|&py| usable(py)).map(|py| y.at(py, floor, top)))
            };
            let points: Vec<_> = thin(points).into_iter().filter(|point| usable(point.0)).map(place).collect();
            panel.curve(&points, index, floor);
        }
        panel
    }
}

/// Larger numbers would overflow the arithmetic of an axis.
fn usable(value: f64) -> bool {
    value.abs() < 1e300
}

/// Of each run of points the lowest, the highest and one that cannot be drawn: about [`MOST_POINTS`] at the most.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pick = |run: &[(f64, f64)]| {
        let (fine, bad): (Vec<usize>, Vec<usize>) = (0..run.len()).partition(|&at| usable(run[at].1));
        let by_height = |a: &usize, b: &usize| run[*a].1.total_cmp(&run[*b].1);
        let (lowest, highest) = (fine.iter().copied().min_by(by_height), fine.iter().copied().max_by(by_height));
        let kept: BTreeSet<usize> = [lowest, highest, bad.first().copied()].into_iter().flatten().collect();
        kept.into_iter().map(|at| run[at]).collect::<Vec<_>>()
    };
    points.chunks(points.len().div_ceil(MOST_POINTS / 2).max(1)).flat_map(pick).collect()
}

/// A range, what is marked on it and where a value lies.
struct Axis {
    lo: f64,
    hi: f64,
    step: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// About `wanted` ticks over the values, `whole` numbers if so asked; a `round` axis begins and ends with a tick.
    fn new(values: impl Iterator<Item = f64>, wanted: usize, whole: bool, round: bool) -> Axis {
        let (mut lo, mut hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let size = lo.abs().max(hi.abs());
        if lo > hi || size < 1e-280 {
            (lo, hi) = (0.0, 1.0);
        } else if hi - lo < 1e-9 * size {
            (lo, hi) = (lo - 0.1 * size, hi + 0.1 * size);
        }
        let raw = (hi - lo) / wanted as f64;
        let magnitude = 10f64.powf((raw.log10() + 1e-9).floor());
        let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * magnitude >= raw * 0.999).unwrap_or(10.0);
        let step = (factor * magnitude).max(if whole { 1.0 } else { 0.0 });
        if round {
            (lo, hi) = ((lo / step + 1e-6).floor() * step, (hi / step - 1e-6).ceil() * step);
        }
        let (first, last) = ((lo / step - 1e-6).ceil() as i64, (hi / step + 1e-6).floor() as i64);
        Axis { lo, hi, step, ticks: (first..=last).map(|n| n as f64 * step).collect() }
    }

    /// Where `value` lies when `lo` lies at `from` and `hi` at `to`.
    fn at(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (to - from) * (value - self.lo) / (self.hi - self.lo)
    }

    /// A tick with the digits that tell it from its neighbours.
    fn label(&self, tick: f64) -> String {
        let power = |v: f64| (v.abs().log10() + 1e-9).floor() as i32;
        if tick.abs() < self.step * 1e-6 {
            "0".to_string()
        } else if self.lo.abs().max(self.hi.abs()) >= 1e6 || power(self.step) < -4 {
            format!("{tick:.0$e}", (power(tick) - power(self.step)).max(0) as usize)
        } else {
            format!("{tick:.0$}", (-power(self.step)).max(0) as usize)
        }
    }
}
