//! What each kind of case computes with the library.

mod savit;
mod savit_run;
mod savit_scores;

use super::case::Case;
use super::produced::Produced;

/// Computes a case's results; every size and option comes from the case.
pub type KindFn = fn(&Case) -> Result<Produced, String>;

/// The kinds that the library can compute yet; a case of any other kind fails.
pub fn kinds() -> &'static [(&'static str, KindFn)] {
    &[
        ("savit/gated_block", savit::gated_block),
        ("savit/gated_model", savit::gated_model),
        ("savit/deploy", savit::deploy),
        ("savit/losses", savit::losses),
        ("savit/flops_published", savit::flops_published),
        ("savit/scores", savit_scores::scores),
        ("savit/hessian", savit_scores::hessian),
        ("savit/iterative_momentum", savit_scores::iterative_momentum),
        ("savit/search", savit_run::search),
        ("savit/prune_run", savit_run::prune_run),
    ]
}
