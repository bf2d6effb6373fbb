//! What `scripts/gpu_check.sh` checks on a card, in one executable: the tests of kernels, fused ops, tensors and training,
//! run on the device that `ESPALIER_TEST_DEVICE` names, and the golden cases of `ESPALIER_GOLDEN`, with no need of the source
//! tree. Cargo runs those tests as targets of their own, so this one only when it is named. For one thread: captures and the
//! simulator's order concern the whole device.
#![cfg(feature = "sim")]
#![allow(clippy::duplicate_mod, reason = "each file brings what it shares with the others")]

#[path = "device_attention.rs"]
mod device_attention;
#[path = "device_fused.rs"]
mod device_fused;
#[path = "device_precision.rs"]
mod device_precision;
#[path = "device_tensor.rs"]
mod device_tensor;
#[path = "device_training.rs"]
mod device_training;
#[allow(dead_code)]
#[path = "golden_runner/mod.rs"]
mod golden_runner;
#[path = "kernels.rs"]
mod kernels;

#[test]
fn golden_cases_agree() {
    let folder = std::env::var("ESPALIER_GOLDEN").unwrap_or_else(|_| "tests/golden".into());
    let selection = std::env::var("ESPALIER_GOLDEN_KINDS").unwrap_or_default();
    let kinds = golden_runner::kinds::kinds();
    let failed = golden_runner::run::run(folder.as_ref(), &selection, kinds, &mut |line| println!("{line}"));
    assert_eq!(failed, 0, "golden cases failed");
}
