//! A picture of a pruned structure: the heads and hidden widths kept in each block, against the dense model.

use super::svg::{LEFT, Panel, RIGHT, WIDTH, document, fill, rect, text};

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
        columns("Heads", dense_heads, heads, true, 0),
        columns("Hidden units", dense_hidden, hidden, false, 1),
        embedding(dense_embed, embed),
    ])
}

/// `Heads: 44 of 72 kept (61 %)`.
fn title(what: &str, dense: usize, kept: usize) -> String {
    let share = if dense == 0 { String::new() } else { format!(" ({:.0} %)", kept as f64 * 100.0 / dense as f64) };
    text("title", LEFT, 24.0, &format!("{what}: {kept} of {dense} kept{share}"))
}

/// One column a block; `cells` splits it into its units where they are tall enough to see.
fn columns(what: &str, dense: &[usize], kept: &[usize], cells: bool, color: usize) -> Panel {
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
        let mut draw = |class: &str, fill: &str, from: usize, units: usize| {
            let corner = [middle - width / 2.0, floor - (from + units) as f64 * unit];
            body += &rect(class, fill, corner, [width, units as f64 * unit]);
        };
        draw("ghost", "", 0, dense);
        if cells && unit >= 5.0 {
            (0..kept).for_each(|cell| draw("cell", &fill(color), cell, 1));
        } else if kept > 0 {
            draw("cell", &fill(color), 0, kept);
        }
        if block % every == 0 {
            let above = floor - dense.max(kept) as f64 * unit - 5.0;
            body += &text("small mid", middle, above, &kept.to_string());
            body += &text("small mid", middle, floor + 16.0, &block.to_string());
        }
    }
    body += &format!("<path class=\"axis\" d=\"M{LEFT} {floor}H{}\"/>\n", WIDTH - RIGHT);
    body += &text("mid", (LEFT + WIDTH - RIGHT) / 2.0, floor + 34.0, "block");
    Panel { height: floor + 44.0, body }
}

fn embedding(dense: usize, kept: usize) -> Panel {
    let unit = (WIDTH - LEFT - RIGHT) / dense.max(kept).max(1) as f64;
    let bar = |class: &str, fill: &str, units: usize| rect(class, fill, [LEFT, 38.0], [units as f64 * unit, 18.0]);
    let title = title("Embedding channels", dense, kept);
    Panel { height: 72.0, body: title + &bar("ghost", "", dense) + &bar("cell", &fill(2), kept) }
}
