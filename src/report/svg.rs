//! Line plots and grouped bars as SVG text: the same input gives the same bytes, readable on light and dark pages.

use std::fmt::Write;

/// The width of every picture.
pub const WIDTH: f64 = 720.0;
pub(super) const LEFT: f64 = 76.0;
pub(super) const RIGHT: f64 = 24.0;
const PLOT: f64 = 220.0;
/// Beyond this a curve has more points than the picture has pixels.
const MOST_POINTS: usize = 1600;
/// Mid-tones that stand out from white and from black.
pub const COLORS: [&str; 8] = ["#2f7fd1", "#d9700f", "#239a60", "#cf4a8d", "#8a66d6", "#a8851a", "#1d97a3", "#d2504a"];

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

/// A part of a picture over its full width.
#[derive(Debug, Clone)]
pub struct Panel {
    pub(super) height: f64,
    pub(super) body: String,
}

/// A whole SVG file: the panels under one another.
pub fn document(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(|panel| panel.height).sum::<f64>().max(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let mut top = 0.0;
    for Panel { height, body } in panels {
        let _ = write!(svg, "<g transform=\"translate(0 {top})\">\n{body}</g>\n");
        top += height;
    }
    svg + "</svg>\n"
}

/// Text as XML may hold it: markup escaped, forbidden characters replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// One line of text.
pub(super) fn text(class: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escape(text))
}

/// A rectangle by its upper left corner and size.
pub(super) fn rect(class: &str, fill: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) -> String {
    let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    format!("<rect class=\"{class}\" {place} {fill}/>\n")
}

/// A colour as the `fill` of a shape.
pub(super) fn fill(index: usize) -> String {
    format!("fill=\"{}\"", COLORS[index % COLORS.len()])
}

/// Curves over one pair of axes. A value that cannot be drawn breaks its curve and leaves a cross on the axis.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Above the plot.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: String,
    /// The name of the vertical axis.
    pub y: String,
    /// A logarithmic vertical axis; values from 0 down cannot be drawn on it.
    pub log_y: bool,
    /// Name and points of each curve.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Lines {
    /// A plot without curves.
    pub fn new(title: &str, x: &str, y: &str) -> Lines {
        Lines { title: title.into(), x: x.into(), y: y.into(), log_y: false, series: Vec::new() }
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
        let drawable = |y: f64| usable(y) && (!self.log_y || y > 0.0);
        let points = || self.series.iter().flat_map(|series| &series.1).filter(|point| usable(point.0));
        let x = Axis::new(points().map(|point| point.0), false, false, 8);
        let y = Axis::new(points().map(|point| point.1).filter(|&y| drawable(y)), self.log_y, true, 5);
        let mut frame = Frame::new(&self.title, self.series.iter().map(|series| series.0.as_str()));
        frame.y_axis(&y, &self.y);
        let floor = frame.floor();
        for &tick in &x.ticks {
            frame.x_tick(x.at(tick, LEFT, WIDTH - RIGHT), &x.label(tick), true);
        }
        frame.x_name(&self.x, points().next().is_none());
        for (index, (_, points)) in self.series.iter().enumerate() {
            let place = |&(px, py): &(f64, f64)| {
                let height = drawable(py).then(|| y.at(py, floor, frame.top));
                (x.at(px, LEFT, WIDTH - RIGHT), height)
            };
            let points: Vec<_> = thin(points).iter().filter(|point| usable(point.0)).map(place).collect();
            frame.body += &curve(&points, index, floor);
        }
        frame.panel()
    }

    /// The plot as an SVG file.
    pub fn svg(&self) -> String {
        document(&[self.panel()])
    }
}

/// Bars in groups: one group a category, one bar a series.
#[derive(Debug, Clone)]
pub struct Bars {
    /// Above the plot.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: String,
    /// The name of the vertical axis.
    pub y: String,
    /// The names under the groups.
    pub categories: Vec<String>,
    /// Name and values of each series, one value a category.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// The plot as a part of a picture.
    pub fn panel(&self) -> Panel {
        let groups = self.series.iter().map(|series| series.1.len()).chain([self.categories.len()]).max().unwrap_or(0);
        let values = || self.series.iter().flat_map(|series| &series.1).copied().filter(|&value| usable(value));
        let y = Axis::new(values().chain([0.0]), false, true, 5);
        let mut frame = Frame::new(&self.title, self.series.iter().map(|series| series.0.as_str()));
        frame.y_axis(&y, &self.y);
        let (floor, top, zero) = (frame.floor(), frame.top, y.at(0.0, frame.floor(), frame.top));
        let band = (WIDTH - LEFT - RIGHT) / groups.max(1) as f64;
        let longest = self.categories.iter().map(|name| text_width(&shorten(name))).fold(14.0, f64::max);
        let every = ((longest + 6.0) / band).ceil() as usize;
        for (group, name) in self.categories.iter().enumerate().step_by(every) {
            frame.x_tick(LEFT + band * (group as f64 + 0.5), &shorten(name), false);
        }
        let width = band * 0.8 / self.series.len().max(1) as f64;
        for (index, (_, values)) in self.series.iter().enumerate() {
            for (group, &value) in values.iter().enumerate().filter(|(_, value)| usable(**value)) {
                let (x, end) = (LEFT + band * (group as f64 + 0.1) + width * index as f64, y.at(value, floor, top));
                let size = [width, (end - zero).abs()];
                frame.body += &rect("cell", &fill(index), [x, end.min(zero)], size);
            }
        }
        frame.x_name(&self.x, values().next().is_none());
        frame.panel()
    }

    /// The plot as an SVG file.
    pub fn svg(&self) -> String {
        document(&[self.panel()])
    }
}

/// Larger numbers would overflow the arithmetic of an axis.
fn usable(value: f64) -> bool {
    value.abs() < 1e300
}

/// At most [`MOST_POINTS`] points or so: of each run of points the lowest, the highest and one that cannot be drawn.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let pick = |run: &[(f64, f64)]| {
        let finite = || (0..run.len()).filter(|&at| usable(run[at].1));
        let by = |a: &usize, b: &usize| run[*a].1.total_cmp(&run[*b].1);
        let mut kept: Vec<usize> =
            [finite().min_by(by), finite().max_by(by), (0..run.len()).find(|&at| !usable(run[at].1))]
                .into_iter()
                .flatten()
                .collect();
        kept.sort_unstable();
        kept.dedup();
        kept.into_iter().map(|at| run[at]).collect::<Vec<_>>()
    };
    points.chunks(points.len().div_ceil(MOST_POINTS / 2)).flat_map(pick).collect()
}

/// The path through the points that have a height; a point alone is a dot, one without height a cross on the axis.
fn curve(points: &[(f64, Option<f64>)], index: usize, floor: f64) -> String {
    let color = COLORS[index % COLORS.len()];
    let (mut path, mut rest) = (String::new(), String::new());
    for run in points.chunk_by(|a, b| a.1.is_some() == b.1.is_some()) {
        match run {
            [(x, Some(y))] => {
                let _ = writeln!(rest, "<circle fill=\"{color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
            }
            [(_, Some(_)), ..] => run.iter().enumerate().for_each(|(at, (x, y))| {
                let _ = write!(path, "{}{x:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, y.unwrap_or(floor));
            }),
            _ => run.iter().for_each(|(x, _)| {
                let (l, t) = (x - 3.5, floor - 3.5);
                let _ = writeln!(rest, "<path class=\"bad\" d=\"M{l:.1} {t:.1}l7 7m0 -7l-7 7\"/>");
            }),
        }
    }
    let dash = if index < COLORS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
    if !path.is_empty() {
        path = format!("<path class=\"line\" stroke=\"{color}\"{dash} d=\"{path}\"/>\n");
    }
    path + &rest
}

/// A range, what is marked on it and where a value lies.
struct Axis {
    lo: f64,
    hi: f64,
    log: bool,
    step: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// About `wanted` round ticks over the values; `round` lets the range end on ticks.
    fn new(values: impl Iterator<Item = f64> + Clone, log: bool, round: bool, wanted: usize) -> Axis {
        let whole = !round && values.clone().all(|value| value.fract() == 0.0);
        let (mut lo, mut hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        if lo > hi {
            (lo, hi) = if log { (0.1, 1.0) } else { (0.0, 1.0) };
        }
        let size = lo.abs().max(hi.abs());
        if size < 1e-280 {
            (lo, hi) = if log { (1e-280, 1e-279) } else { (0.0, 1.0) };
        } else if hi - lo < 1e-9 * size {
            (lo, hi) = (lo - 0.1 * size, hi + 0.1 * size);
        }
        let decades = (hi / lo).log10();
        if log && decades > 0.7 {
            return Axis::decades(lo, hi);
        }
        let raw = (hi - lo) / wanted as f64;
        let magnitude = 10f64.powf((raw.log10() + 1e-9).floor());
        let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * magnitude >= raw * 0.999).unwrap_or(10.0);
        let step = if whole { (factor * magnitude).max(1.0) } else { factor * magnitude };
        if round && !log {
            (lo, hi) = ((lo / step + 1e-6).floor() * step, (hi / step - 1e-6).ceil() * step);
        }
        let (first, last) = ((lo / step - 1e-6).ceil() as i64, (hi / step + 1e-6).floor() as i64);
        Axis { lo, hi, log, step, ticks: (first..=last).map(|n| n as f64 * step).collect() }
    }

    /// Powers of ten, and 2 and 5 of them over a short range.
    fn decades(lo: f64, hi: f64) -> Axis {
        let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
        let every = ((last - first) as usize / 7).max(1);
        let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = (first..=last).step_by(every).flat_map(|n| factors.iter().map(move |f| f * 10f64.powi(n)));
        let ticks = ticks.filter(|tick| (lo * 0.999..=hi * 1.001).contains(tick)).collect();
        Axis { lo, hi, log: true, step: 0.0, ticks }
    }

    /// Where `value` lies when `lo` lies at `from` and `hi` at `to`.
    fn at(&self, value: f64, from: f64, to: f64) -> f64 {
        let scale = |v: f64| if self.log { v.log10() } else { v };
        from + (to - from) * (scale(value) - scale(self.lo)) / (scale(self.hi) - scale(self.lo))
    }

    /// A tick with the digits that tell it from its neighbours.
    fn label(&self, tick: f64) -> String {
        let power = |v: f64| (v.abs().log10() + 1e-9).floor() as i32;
        let step = if self.step == 0.0 { tick } else { self.step };
        let size = if self.step == 0.0 { tick } else { self.lo.abs().max(self.hi.abs()) };
        if tick.abs() < step * 1e-6 {
            "0".to_string()
        } else if size >= 1e6 || power(step) < -4 {
            format!("{tick:.0$e}", (power(tick) - power(step)).max(0) as usize)
        } else {
            format!("{tick:.0$}", (-power(step)).max(0) as usize)
        }
    }
}

fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.8
}

/// A name that fits a legend.
fn shorten(name: &str) -> String {
    if name.chars().count() <= 40 { name.into() } else { name.chars().take(39).chain(['…']).collect() }
}

/// What stands around a plot.
struct Frame {
    body: String,
    top: f64,
}

impl Frame {
    /// Title and legend, the legend on as many lines as it needs.
    fn new<'a>(title: &str, names: impl Iterator<Item = &'a str>) -> Frame {
        let mut body = text("title", LEFT, 24.0, title);
        let (mut x, mut y) = (LEFT, 46.0);
        for (index, name) in names.map(shorten).enumerate() {
            let width = 32.0 + text_width(&name);
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + 18.0);
            }
            body += &rect("key", &fill(index), [x, y - 6.0], [12.0, 4.0]);
            body += &text("", x + 17.0, y, &name);
            x += width;
        }
        Frame { body, top: y + 16.0 }
    }

    fn floor(&self) -> f64 {
        self.top + PLOT
    }

    fn y_axis(&mut self, axis: &Axis, name: &str) {
        let (right, left, middle) = (WIDTH - RIGHT, LEFT - 8.0, self.top + PLOT / 2.0);
        for &tick in &axis.ticks {
            let y = axis.at(tick, self.floor(), self.top);
            let _ = writeln!(self.body, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            self.body += &text("small end", left, y + 4.0, &axis.label(tick));
        }
        let turned = format!("transform=\"translate(14 {middle}) rotate(-90)\"");
        let _ = writeln!(self.body, "<text class=\"mid\" {turned}>{}</text>", escape(name));
    }

    fn x_tick(&mut self, x: f64, label: &str, mark: bool) {
        let floor = self.floor();
        if mark {
            let _ = writeln!(self.body, "<path class=\"axis\" d=\"M{x:.1} {floor}v4\"/>");
        }
        self.body += &text("small mid", x, floor + 18.0, label);
    }

    fn x_name(&mut self, name: &str, empty: bool) {
        let (floor, right, middle) = (self.floor(), WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2.0);
        let _ = writeln!(self.body, "<path class=\"axis\" d=\"M{LEFT} {floor}H{right}\"/>");
        self.body += &text("mid", middle, floor + 36.0, name);
        if empty {
            self.body += &text("mid", middle, floor - PLOT / 2.0, "no data");
        }
    }

    fn panel(self) -> Panel {
        Panel { height: self.floor() + 48.0, body: self.body }
    }
}
