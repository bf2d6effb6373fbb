//! What each kind of case computes with the library.

mod base;
mod parts;

use super::case::Case;
use super::produced::Produced;

/// Computes a case's results; every size and option comes from the case.
pub type KindFn = fn(&Case) -> Result<Produced, String>;

/// The kinds that the library can compute yet; a case of any other kind fails.
pub fn kinds() -> &'static [(&'static str, KindFn)] {
    use parts::told;
    &[
        // The base models and their training.
        ("base/deit", |case| told(base::deit(case))),
    ]
}
