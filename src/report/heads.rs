//! A picture of a pruned structure: the heads and hidden widths kept in each block, against the dense model.

use super::svg::{COLORS, LEFT, Panel, RIGHT, document};

const HEIGHT: f64 = 120.0;
const FLOOR: f64 = 172.0;

/// `[dense, kept]` heads and hidden widths by block and embedding width: filled what is kept, outlined what was there.
/// A block that one of a pair of slices lacks counts as 0 there.
pub fn structure_svg(heads: [&[usize]; 2], hidden: [&[usize]; 2], embed: [usize; 2]) -> String {
    let mut embedding = titled("Embedding channels", embed);
    let unit = (RIGHT - LEFT) / embed[0].max(embed[1]).max(1) as f64;
    for (class, color, channels) in [("ghost", "none", embed[0]), ("cell", COLORS[2], embed[1])] {
        embedding.rect(class, color, [LEFT, 38.0], [channels as f64 * unit, 18.0]);
    }
    embedding.height = 72.0;
    let heads = columns("Heads", heads, true, COLORS[0]);
    document(&[heads, columns("Hidden units", hidden, false, COLORS[1]), embedding])
}

/// A panel headed `Heads: 44 of 72 kept (61 %)`.
fn titled(what: &str, [dense, kept]: [usize; 2]) -> Panel {
    let share = if dense == 0 { String::new() } else { format!(" ({:.0} %)", kept as f64 * 100.0 / dense as f64) };
    Panel::new(&format!("{what}: {kept} of {dense} kept{share}"))
}

/// One column a block; `cells` splits it into its units where they are tall enough to see.
fn columns(what: &str, units: [&[usize]; 2], cells: bool, color: &str) -> Panel {
    let mut panel = titled(what, units.map(|units| units.iter().sum()));
    let blocks = units[0].len().max(units[1].len());
    let tallest = units.concat().into_iter().max().unwrap_or(0).max(1);
    let (band, unit) = ((RIGHT - LEFT) / blocks.max(1) as f64, HEIGHT / tallest as f64);
    let (width, digits) = ((band * 0.72).min(44.0), tallest.to_string().len() as f64 * 6.6 + 3.0);
    let every = (digits.max(20.0) / band).ceil().max(1.0) as usize;
    for block in 0..blocks {
        let [dense, kept] = units.map(|units| units.get(block).copied().unwrap_or(0));
        let middle = LEFT + band * (block as f64 + 0.5);
        let mut bar = |class: &str, fill: &str, below: usize, units: usize| {
            let corner = [middle - width / 2.0, FLOOR - (below + units) as f64 * unit];
            panel.rect(class, fill, corner, [width, units as f64 * unit]);
        };
        bar("ghost", "none", 0, dense);
        let cell = if cells && unit >= 5.0 { 1 } else { kept.max(1) };
        (0..kept).step_by(cell).for_each(|below| bar("cell", color, below, cell));
        if block % every == 0 {
            panel.text("small mid", middle, FLOOR - dense.max(kept) as f64 * unit - 5.0, &kept.to_string());
            panel.text("small mid", middle, FLOOR + 16.0, &block.to_string());
        }
    }
    panel.floor(FLOOR, "block");
    panel
}
