//! What a run leaves behind and shows on the way: tables, SVG pictures, the run folder, progress, timings.

pub mod bench;
pub mod heads;
pub mod progress;
pub mod run;
pub mod svg;
pub mod table;

pub use bench::{Rival, Timing, interleaved};
pub use heads::structure_svg;
pub use progress::{Progress, Show, exit_code, tell};
pub use run::{RunFolder, read_log};
pub use table::Table;
