//! A picture of a pruned structure: the heads and hidden widths kept in each block, against the dense model.

use std::fmt::Write;

use super::svg::{COLORS, LEFT, Panel, RIGHT, WIDTH, document, escape};

const HEIGHT: f64 = 120.0;
const TOP: f64 = 52.0;

/// Heads and hidden widths by block and the embedding width: filled what is kept, outlined what was there.
///
/// A block that one of a pair of slices lacks counts as 0 there.
pub fn structure_svg(
    dense_heads: &[usize],
    heads: &[usize],
    dense_hidden: &[usize],
    hidden: &[usize],
    dense_embed: usize,
    embed: usize,
) -> String {
    document(&[
        columns("Heads", dense_heads, heads, true, COLORS[0]),
        columns("Hidden units", dense_hidden, hidden, false, COLORS[1]),
        embedding(dense_embed, embed),
    ])
}

/// `Heads: 44 of 72 kept (61 %)`.
fn title(what: &str, dense: usize, kept: usize) -> String {
    let share = if dense == 0 { String::new() } else { format!(" ({:.0} %)", kept as f64 * 100.0 / dense as f64) };
    format!("<text class=\"title\" x=\"{LEFT}\" y=\"24\">{}: {kept} of {dense} kept{share}</text>\n", escape(what))
}

/// One column a block; `cells` splits it into its units where they are tall enough to see.
fn columns(what: &str, dense: &[usize], kept: &[usize], cells: bool, color: &str) -> Panel {
    let blocks = dense.len().max(kept.len());
    let get = |slice: &[usize], block: usize| slice.get(block).copied().unwrap_or(0);
    let tallest = dense.iter().chain(kept).copied().max().unwrap_or(0).max(1);
    let (band, unit) = ((WIDTH - LEFT - RIGHT) / blocks.max(1) as f64, HEIGHT / tallest as f64);
    let digits = tallest.to_string().len() as f64 * 6.6 + 3.0;
    let every = (digits.max(20.0) / band).ceil().max(1.0) as usize;
    let (width, floor) = ((band * 0.72).min(44.0), TOP + HEIGHT);
    let mut body = title(what, dense.iter().sum(), kept.iter().sum());
    for block in 0..blocks {
        let (dense, kept, middle) = (get(dense, block), get(kept, block), LEFT + band * (block as f64 + 0.5));
        let mut rect = |class: &str, fill: &str, from: f64, units: f64| {
            let (x, y, height) = (middle - width / 2.0, floor - (from + units) * unit, units * unit);
            let _ = writeln!(
                body,
                "<rect class=\"{class}\"{fill} x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        };
        rect("ghost", "", 0.0, dense as f64);
        let fill = format!(" fill=\"{color}\"");
        if cells && unit >= 5.0 {
            (0..kept).for_each(|cell| rect("cell", &fill, cell as f64, 1.0));
        } else if kept > 0 {
            rect("cell", &fill, 0.0, kept as f64);
        }
        if block % every == 0 {
            let above = floor - dense.max(kept) as f64 * unit - 5.0;
            let _ = writeln!(body, "<text class=\"small mid\" x=\"{middle:.1}\" y=\"{above:.1}\">{kept}</text>");
            let below = floor + 16.0;
            let _ = writeln!(body, "<text class=\"small mid\" x=\"{middle:.1}\" y=\"{below:.1}\">{block}</text>");
        }
    }
    let (right, middle, below) = (WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2.0, floor + 34.0);
    let _ = writeln!(body, "<path class=\"axis\" d=\"M{LEFT} {floor}H{right}\"/>");
    let _ = writeln!(body, "<text class=\"mid\" x=\"{middle}\" y=\"{below}\">block</text>");
    Panel { height: floor + 44.0, body }
}

fn embedding(dense: usize, kept: usize) -> Panel {
    let unit = (WIDTH - LEFT - RIGHT) / dense.max(kept).max(1) as f64;
    let mut body = title("Embedding channels", dense, kept);
    let shape = "y=\"38\" height=\"18\"";
    let _ = writeln!(body, "<rect class=\"ghost\" x=\"{LEFT}\" {shape} width=\"{:.1}\"/>", dense as f64 * unit);
    let (color, width) = (COLORS[2], kept as f64 * unit);
    let _ = writeln!(body, "<rect class=\"cell\" fill=\"{color}\" x=\"{LEFT}\" {shape} width=\"{width:.1}\"/>");
    Panel { height: 72.0, body }
}
