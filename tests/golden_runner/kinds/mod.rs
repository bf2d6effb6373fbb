//! What each kind of case computes with the library.

mod base;
mod deit;
mod reader;
mod support;
mod training;

use super::case::Case;
use super::produced::Produced;

/// Computes a case's results; every size and option comes from the case.
pub type KindFn = fn(&Case) -> Result<Produced, String>;

/// The kinds that the library can compute yet; a case of any other kind fails.
pub fn kinds() -> &'static [(&'static str, KindFn)] {
    &[
        ("base/adamw", training::adamw),
        ("base/checkpoint_reader", reader::checkpoint_reader),
        ("base/cosine_schedules", base::cosine_schedules),
        ("base/deit", deit::deit),
        ("base/deit_lr_used_per_epoch", base::deit_lr_used_per_epoch),
        ("base/losses", base::losses),
        ("base/pos_interp", base::pos_interp),
        ("base/real_weights", deit::real_weights),
        ("base/resize_crop_normalize", base::resize_crop_normalize),
        ("base/train_steps", training::train_steps),
        ("savit/finetune_step", training::finetune_step),
    ]
}
