//! A picture of a pruned structure: the heads and hidden widths kept in each block, against the dense model.

use super::svg::{COLORS, LEFT, Panel, RIGHT, document};

const HEIGHT: f64 = 120.0;
const FLOOR: f64 = 172.0;

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
    let mut embedding = titled("Embedding channels", dense_embed, embed);
    let unit = (RIGHT - LEFT) / dense_embed.max(embed).max(1) as f64;
    for (class, color, channels) in [("ghost", "none", dense_embed), ("cell", COLORS[2], embed)] {
        embedding.rect(class, color, [LEFT, 38.0], [channels as f64 * unit, 18.0]);
    }
    embedding.height = 72.0;
    let heads = columns("Heads", dense_heads, heads, true, COLORS[0]);
    document(&[heads, columns("Hidden units", dense_hidden, hidden, false, COLORS[1]), embedding])
}

/// A panel headed `Heads: 44 of 72 kept (61 %)`.
fn titled(what: &str, dense: usize, kept: usize) -> Panel {
    let share = if dense == 0 { String::new() } else { format!(" ({:.0} %)", kept as f64 * 100.0 / dense as f64) };
    Panel::new(&format!("{what}: {kept} of {dense} kept{share}"))
}

/// One column a block; `cells` splits it into its units where they are tall enough to see.
fn columns(what: &str, dense: &[usize], kept: &[usize], cells: bool, color: &str) -> Panel {
    let mut panel = titled(what, dense.iter().sum(), kept.iter().sum());
    let blocks = dense.len().max(kept.len());
    let tallest = dense.iter().chain(kept).copied().max().unwrap_or(0).max(1);
    let (band, unit) = ((RIGHT - LEFT) / blocks.max(1) as f64, HEIGHT / tallest as f64);
    let (width, digits) = ((band * 0.72).min(44.0), tallest.to_string().len() as f64 * 6.6 + 3.0);
    let every = (digits.max(20.0) / band).ceil().max(1.0) as usize;
    for block in 0..blocks {
        let [dense, kept] = [dense, kept].map(|units| units.get(block).copied().unwrap_or(0));
        let middle = LEFT + band * (block as f64 + 0.5);
        let mut bar = |class: &str, fill: &str, below: usize, units: usize| {
            let corner = [middle - width / 2.0, FLOOR - (below + units) as f64 * unit];
            panel.rect(class, fill, corner, [width, units as f64 * unit]);
        };
        bar("ghost", "none", 0, dense);
        let units = if cells && unit >= 5.0 { 1 } else { kept.max(1) };
        (0..kept).step_by(units).for_each(|below| bar("cell", color, below, units));
        if block % every == 0 {
            panel.text("small mid", middle, FLOOR - dense.max(kept) as f64 * unit - 5.0, &kept.to_string());
            panel.text("small mid", middle, FLOOR + 16.0, &block.to_string());
        }
    }
    panel.floor(FLOOR, "block");
    panel
}
