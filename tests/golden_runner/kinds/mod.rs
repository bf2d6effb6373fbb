//! What each kind of case computes with the library.

mod base;
mod base_augment;
mod base_data;
mod base_reader;
mod base_swin;
mod base_train;
mod formula;
mod lvvit;
mod parts;
mod regnet;
mod savit;
mod savit_run;
mod savit_scores;

use super::case::Case;
use super::produced::Produced;

/// Computes a case's results; every size and option comes from the case.
pub type KindFn = fn(&Case) -> Result<Produced, String>;

/// The kinds that the library can compute yet; a case of any other kind fails.
pub fn kinds() -> &'static [(&'static str, KindFn)] {
    use parts::told;
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
        // The base models and their training.
        ("base/deit", |case| told(base::deit(case))),
        ("base/swin", |case| told(base_swin::swin(case))),
        ("base/losses", |case| told(base::losses(case))),
        ("base/adamw", |case| told(base_train::adamw(case))),
        ("base/train_steps", |case| told(base_train::train_steps(case))),
        ("base/cosine_schedules", |case| told(base_train::cosine_schedules(case))),
        ("base/deit_lr_used_per_epoch", |case| told(base_train::deit_lr_used_per_epoch(case))),
        ("base/pos_interp", |case| told(base_data::pos_interp(case))),
        ("base/resize_crop_normalize", |case| told(base_data::resize_crop_normalize(case))),
        ("base/random_resized_crop", |case| told(base_augment::random_resized_crop(case))),
        ("base/randaugment_ops", |case| told(base_augment::randaugment_ops(case))),
        ("base/random_erasing", |case| told(base_augment::random_erasing(case))),
        ("base/train_pipeline", |case| told(base_augment::train_pipeline(case))),
        ("base/mixup", |case| told(base_augment::mixup(case))),
        ("base/repeated_augmentation_sampler", |case| told(base_augment::repeated_augmentation_sampler(case))),
        ("sit/mixup", |case| told(base_augment::sit_mixup(case))),
        ("base/real_weights", |case| told(base_data::real_weights(case))),
        ("base/checkpoint_reader", |case| told(base_reader::checkpoint_reader(case))),
        ("base/regnety", |case| told(regnet::regnety(case))),
        ("savit/regnety", |case| told(regnet::regnety(case))),
        ("sit/stem", |case| told(lvvit::stem(case))),
        ("sit/lvvit", |case| told(lvvit::backbone(case))),
        ("sit/full_lvvit", |case| told(lvvit::full(case))),
        ("sit/token_label_lvvit", |case| told(lvvit::token_label(case))),
        ("sit/pos_resize", |case| told(base_data::pos_resize(case))),
        ("savit/finetune_step", |case| told(base_train::finetune_step(case))),
    ]
}
