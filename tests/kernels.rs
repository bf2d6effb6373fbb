//! The `f32` kernels against the `f64` instances of the same code, fused ops against plain ones, and thread counts.

mod common;

use common::{distance, for_all_cases, gradient_bound, run};
use espalier::ops::case::{Case, Draw};
use espalier::{DType, Tensor};

/// `max|f32 - f64| / max|f64|` that the `f32` kernels may reach, forward and backward.
const F32_TOLERANCE: f64 = 2e-5;

fn close(what: &str, got: &[Option<Tensor>], want: &[Option<Tensor>], tolerance: f64) -> Result<(), String> {
    for (k, (got, want)) in got.iter().zip(want).enumerate() {
        let (Some(got), Some(want)) = (got, want) else {
            if got.is_some() != want.is_some() {
                return Err(format!("{what} {k}: one side has no value"));
            }
            continue;
        };
        let (gap, top) = distance(got, want);
        if gap > tolerance * top.max(1.0) {
            return Err(format!("{what} {k} {:?}: {gap:.2e} apart at magnitude {top:.2e}", want.shape()));
        }
    }
    Ok(())
}

fn some(tensors: Vec<Tensor>) -> Vec<Option<Tensor>> {
    tensors.into_iter().map(Some).collect()
}

#[test]
fn f32_kernels_agree_with_f64_forward_and_backward() {
    let checked = for_all_cases(
        |_| true,
        |_, instance| {
            let (y32, g32) = run(&instance, false, DType::F32).map_err(|e| e.to_string())?;
            let (y64, g64) = run(&instance, false, DType::F64).map_err(|e| e.to_string())?;
            close("output", &some(y32), &some(y64), F32_TOLERANCE)?;
            close("gradient", &g32, &g64, F32_TOLERANCE)
        },
    );
    assert!(checked >= 24);
}

#[test]
fn fused_ops_agree_with_plain_ones_forward_and_backward() {
    let fused = |case: &Case| {
        let instance = (case.draw)(&mut Draw::random(vec![2, 3, 4, 5], 1));
        instance.reference.is_some()
    };
    let checked = for_all_cases(fused, |_, instance| {
        let (y, g) = run(&instance, false, DType::F64).map_err(|e| e.to_string())?;
        let (plain_y, plain_g) = run(&instance, true, DType::F64).map_err(|e| e.to_string())?;
        close("output", &some(y), &some(plain_y), 1e-12)?;
        close("gradient", &g, &plain_g, 1e-11)
    });
    assert!(checked >= 5);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()) {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            pool.install(|| {
                let instance = (case.draw)(&mut Draw::random(vec![3, 67, 45, 33, 21], 5));
                let (outputs, grads) = run(&instance, false, DType::F32).expect("run");
                let all = outputs.into_iter().chain(grads.into_iter().flatten());
                all.map(|t| t.bytes().unwrap().to_vec()).collect::<Vec<_>>()
            })
        };
        let one = on(1);
        assert!(one == on(2) && one == on(3), "{} depends on the number of threads", case.name);
    }
}

#[test]
fn every_case_has_a_cost_and_every_op_a_gradient_case_or_a_reason() {
    for op in espalier::ops::all() {
        let cases = (op.cases)();
        assert!(!cases.is_empty(), "{} has no case", op.name);
        for case in &cases {
            assert!(case.name.starts_with(&format!("{}/", op.name)), "{} is not named after its file", case.name);
            let reasoned = gradient_bound(case).is_some() || op.name == "adamw" || op.name == "score";
            assert!(reasoned, "{} has no gradient case", case.name);
        }
    }
}
