//! The `f32` kernels against the `f64` instances of the same code, fused ops against plain ones, thread counts; and the CUDA
//! kernels, run by the simulator, against those of the processor.

mod common;

use common::{FULL, distance, for_all_cases, gradient_bound, run};
use espalier::ops::case::{Case, Draw};
use espalier::{DType, Tensor};

/// `max|f32 - f64| / max|f64|` that the `f32` kernels may reach, forward and backward.
const F32_TOLERANCE: f64 = 2e-5;

/// Each of `got` as near to `want` as `tolerance` of the largest value, or of 1 where all are smaller: inputs are about 1.
fn close(what: &str, got: &[Option<Tensor>], want: &[Option<Tensor>], tolerance: f64) -> Result<(), String> {
    close_rounded(what, got, want, tolerance, 0.0)
}

/// The same with `rounding` of the largest value itself besides: what is stored in 16 bits is rounded relatively, so that
/// small results have to be right, too.
fn close_rounded(
    what: &str, got: &[Option<Tensor>], want: &[Option<Tensor>], tolerance: f64, rounding: f64,
) -> Result<(), String> {
    for (k, (got, want)) in got.iter().zip(want).enumerate() {
        let (Some(got), Some(want)) = (got, want) else {
            if got.is_some() != want.is_some() {
                return Err(format!("{what} {k}: one side has no value"));
            }
            continue;
        };
        let (gap, top) = distance(got, want);
        if gap > tolerance * top.max(1.0) + rounding * top {
            return Err(format!("{what} {k} {:?}: {gap:.2e} apart at magnitude {top:.2e}", want.shape()));
        }
    }
    Ok(())
}

fn some(tensors: Vec<Tensor>) -> Vec<Option<Tensor>> {
    tensors.into_iter().map(Some).collect()
}

/// Whether a case has a reference of plain ops.
fn is_fused(case: &Case) -> bool {
    let instance = (case.draw)(&mut Draw::random(vec![2, 3, 4, 5], 1));
    instance.reference.is_some()
}

#[test]
fn f32_kernels_agree_with_f64_forward_and_backward() {
    let checked = for_all_cases(
        FULL,
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
    let checked = for_all_cases(FULL, is_fused, |_, instance| {
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
        }
        let differentiable = cases.iter().any(|case| gradient_bound(case).is_some());
        let reasoned = differentiable || ["adamw", "score", "drop_path"].contains(&op.name);
        assert!(reasoned, "{} has no gradient case", op.name);
    }
}

#[cfg(feature = "sim")]
mod simulated {
    use super::*;
    use common::{Extent, Results, check_guards, cotangent, gpu_under_test, moved, odd_widths, reverse_order};
    use common::{run_on, through_tape};
    use espalier::Result;
    use espalier::gpu::sim::Order;
    use espalier::ops::case::Instance;
    use espalier::{Device, Var, ops};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    const EXTENT: Extent = Extent { shapes: 32, elements: 1500 };
    /// `max|CUDA - CPU| / max|CPU|` in `f64`.
    const F64_TOLERANCE: f64 = 1e-11;

    /// Roundings to a type of 16 bits that errors may add up to: an output is rounded once; what a gradient is found from was
    /// rounded when it was saved, and its factors may be larger than the result.
    const ROUNDINGS: f64 = 4.0;

    /// Cases that round something before they find a wide result, and what.
    const ROUNDED_INSIDE: [(&str, &str); 11] = [
        ("gelu/bias", "dx, which is summed to the gradient of the bias"),
        ("gelu/bias_gate", "the same"),
        ("gate/shared_twice", "the first product"),
        ("layernorm/residual", "the sum"),
        ("linear/shared_weight", "the first layer's result"),
        ("patch_embed/conv", "the pixels, and the gradients of the patches"),
        ("conv2d/images", "the same"),
        ("conv2d/patches", "the same"),
        ("activation/silu", "dx, which is summed to the gradient of the bias"),
        ("activation/sigmoid", "the same"),
        ("cast/narrow", "the values"),
    ];

    /// Cases whose results can be smaller than the rounded values they are differences or sums of, and these, which are about
    /// 1: one rounding of 1 is allowed besides.
    const CANCELLED: [(&str, &str); 5] = [
        ("softmax/plain", "p and the sum of p dy"),
        ("softmax/masked", "the same"),
        ("cross_entropy/soft", "e^l from the saved l, less the target"),
        ("linear/shared_weight", "the first layer's result and the gradient at it"),
        ("gelu/bias_gate", "dx of many rows"),
    ];

    /// Cases whose work a graph cannot record, and why.
    const NOT_CAPTURED: [(&str, &str); 3] = [
        ("select/columns", "every call uploads the list of columns; only hooks of searches pick columns"),
        ("adamw/step", "the case's numbers come from the host; a training step has them in device memory"),
        ("adamw/ema_norm", "the case wants the norm on the host; a training step leaves it in device memory"),
    ];

    /// The simulator, which all tests share, for one test: its order is a setting, and one capture at a time can be.
    fn alone() -> MutexGuard<'static, ()> {
        static SIM: Mutex<()> = Mutex::new(());
        SIM.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that a run gave, with the names of its parts.
    fn parts((outputs, grads): &Results) -> Vec<(String, Tensor)> {
        let outputs = outputs.iter().enumerate().map(|(k, y)| (format!("output {k}"), y.clone()));
        let grads = grads.iter().enumerate().filter_map(|(k, g)| Some((format!("gradient {k}"), g.clone()?)));
        outputs.chain(grads).collect()
    }

    /// Stored bytes of every part: of equal length and value when everything is equal, zeros behind the rows among it.
    fn stored(results: &Results) -> Result<Vec<(String, Vec<u8>)>> {
        parts(results).into_iter().map(|(name, t)| Ok((name, t.stored_bytes()?))).collect()
    }

    /// An error unless zeros, of either sign, stand behind every row.
    fn padding_is_zero(results: &Results) -> Result<(), String> {
        for (name, t) in parts(results) {
            let (width, size) = (t.stored_width().max(1), t.dtype().size());
            let cols = t.shape().rows_cols().1 * size;
            let bytes = t.stored_bytes().map_err(|e| e.to_string())?;
            // All bits but the sign, which comes last.
            let is_zero = |value: &[u8]| value[..size - 1].iter().all(|b| *b == 0) && value[size - 1] & 0x7f == 0;
            if !bytes.chunks(width * size).all(|row| row[cols..].chunks(size).all(is_zero)) {
                return Err(format!("{name} {:?} has something else than zeros behind its rows", t.shape()));
            }
        }
        Ok(())
    }

    /// A run on the simulator in one order of warps and blocks, with the guard zones looked at.
    fn simulate(instance: &Instance, reference: bool, dtype: DType, order: Order) -> Result<Results> {
        reverse_order(order == Order::Reverse);
        let results = run_on(instance, reference, dtype, gpu_under_test())?;
        check_guards().map(|()| results)
    }

    /// What the kernels give in `dtype`: with zeros behind the rows, and the same bits in another run in another order.
    fn simulated(instance: &Instance, dtype: DType) -> Result<Results, String> {
        let simulate = |order| simulate(instance, false, dtype, order).map_err(|e| format!("{dtype:?}: {e}"));
        let (forward, reverse) = (simulate(Order::Forward)?, simulate(Order::Reverse)?);
        padding_is_zero(&forward)?;
        let bits = |results| stored(results).map_err(|e| e.to_string());
        for ((name, a), (_, b)) in bits(&forward)?.into_iter().zip(bits(&reverse)?) {
            if a != b {
                return Err(format!("{dtype:?} {name} has other bits when warps run in reverse order"));
            }
        }
        Ok(forward)
    }

    fn both_close(dtype: DType, got: Results, want: Results, tolerance: f64) -> Result<(), String> {
        close(&format!("{dtype:?} output"), &some(got.0), &some(want.0), tolerance)?;
        close(&format!("{dtype:?} gradient"), &got.1, &want.1, tolerance)
    }

    /// The CUDA kernels give what the processor's give.
    fn agrees(instance: &Instance) -> Result<(), String> {
        for (dtype, tolerance) in [(DType::F32, F32_TOLERANCE), (DType::F64, F64_TOLERANCE)] {
            let want = run(instance, false, dtype).map_err(|e| e.to_string())?;
            both_close(dtype, simulated(instance, dtype)?, want, tolerance)?;
        }
        Ok(())
    }

    /// The types of 16 bits, with the largest relative error of one rounding.
    const HALVES: [(DType, f64); 2] = [(DType::BF16, 1.0 / 256.0), (DType::F16, 1.0 / 2048.0)];

    /// The processor in `f64` on the values that the kernels were given in `dtype`, from the cotangents that their outputs,
    /// `like`, were given.
    fn on_rounded_values(instance: &Instance, dtype: DType, like: &[Tensor]) -> Result<Results> {
        let inputs = instance.inputs_in(dtype)?;
        let wide = |t: &Tensor| if t.dtype() == DType::I32 { Ok(t.clone()) } else { t.to_dtype(DType::F64) };
        let inputs = inputs.iter().map(wide).collect::<Result<Vec<_>>>()?;
        let seeds = like.iter().enumerate().map(|(k, y)| cotangent(y, k).to_device(Device::Cpu)?.to_dtype(DType::F64));
        let seeds = seeds.collect::<Result<Vec<_>>>()?;
        through_tape(instance, &instance.run, &inputs, |_, k| seeds[k].clone())
    }

    /// The same in types of 16 bits. What is stored wide has errors of `f32` alone, since it is computed so, unless something
    /// was rounded on the way; of that few columns may make much.
    fn agrees_in_halves(case: &Case, instance: &Instance) -> Result<(), String> {
        let rounded_inside = ROUNDED_INSIDE.iter().any(|(name, _)| *name == case.name);
        let cancelled = CANCELLED.iter().any(|(name, _)| *name == case.name);
        for (dtype, epsilon) in HALVES {
            let got = simulated(instance, dtype)?;
            let want = on_rounded_values(instance, dtype, &got.0).map_err(|e| e.to_string())?;
            let all = |(outputs, gradients)| some(outputs).into_iter().chain::<Vec<Option<Tensor>>>(gradients);
            for (k, (got, want)) in all(got).zip(all(want)).enumerate() {
                let rounded = rounded_inside || got.as_ref().is_some_and(|got| got.dtype() == dtype);
                let rounding = if rounded { ROUNDINGS * epsilon } else { 0.0 };
                let tolerance = F32_TOLERANCE + if rounded && cancelled { epsilon } else { 0.0 };
                close_rounded(&format!("{dtype:?} result {k}"), &[got], &[want], tolerance, rounding)?;
            }
        }
        Ok(())
    }

    /// Of small results, too: a mean's gradients over some hundred elements.
    #[test]
    fn the_bound_of_halves_refuses_zeros_and_an_error_of_a_tenth() {
        for (_, epsilon) in HALVES {
            let close = |factor: f64| {
                let result = |factor: f64| [Some(Tensor::full([3], DType::F64, 2e-3 * factor))];
                close_rounded("result", &result(factor), &result(1.0), F32_TOLERANCE, ROUNDINGS * epsilon)
            };
            assert!(close(1.0 + epsilon).is_ok() && close(0.0).is_err() && close(0.9).is_err() && close(1.1).is_err());
        }
    }

    #[test]
    fn half_kernels_agree_with_the_processor() {
        let _sim = alone();
        let checked = for_all_cases(EXTENT, |_| true, |case, instance| agrees_in_halves(case, &instance));
        assert!(checked >= 24);
    }

    #[test]
    fn cuda_kernels_agree_with_the_processors_in_any_order() {
        let _sim = alone();
        let checked = for_all_cases(EXTENT, |_| true, |_, instance| agrees(&instance));
        assert!(checked >= 24);
    }

    #[test]
    fn cuda_kernels_agree_at_odd_widths() {
        let _sim = alone();
        let mut failures = Vec::new();
        for case in espalier::ops::all().iter().flat_map(|op| (op.cases)()) {
            let instances = odd_widths(&case, 10_000);
            assert!(instances.len() >= 4, "{} is checked at {} odd widths only", case.name, instances.len());
            for instance in instances {
                let shapes: Vec<_> = instance.inputs.iter().map(|(t, _)| *t.shape()).collect();
                let enlarged = ["layernorm/residual", "linear/shared_weight"].contains(&case.name);
                let enlarged = enlarged && instance.inputs[0].0.dim(-1) < 8; // what was rounded inside
                let halves = || if enlarged { Ok(()) } else { agrees_in_halves(&case, &instance) };
                let outcome = agrees(&instance).and_then(|()| halves());
                failures.extend(outcome.err().map(|e| format!("{} {shapes:?}: {e}", case.name)));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn fused_cuda_ops_agree_with_plain_ones() {
        let _sim = alone();
        let checked = for_all_cases(EXTENT, is_fused, |_, instance| {
            let simulate = |plain| simulate(&instance, plain, DType::F64, Order::Forward).map_err(|e| e.to_string());
            let ((y, g), (plain_y, plain_g)) = (simulate(false)?, simulate(true)?);
            close("output", &some(y), &some(plain_y), F64_TOLERANCE)?;
            close("gradient", &g, &plain_g, F64_TOLERANCE)
        });
        assert!(checked >= 5);
    }

    /// Tensors of four axes have no zeros behind their rows, and slices of them may begin anywhere.
    #[test]
    fn unaligned_tensors_give_what_the_processor_gives() {
        let _sim = alone();
        for (dtype, rounding) in [(DType::F32, 0.0), (DType::BF16, ROUNDINGS / 256.0)] {
            for width in [1, 3, 4, 5, 12, 40] {
                let mut draw = Draw::random(vec![], 3);
                let inputs = |draw: &mut Draw| draw.normal([3, 2, 3, width]).to_dtype(dtype);
                let [x, b] = [inputs(&mut draw).unwrap(), inputs(&mut draw).unwrap()];
                let column = draw.normal([width]).to_dtype(dtype.wide()).unwrap();
                let run = |device: Device, dtype: DType| -> Result<Vec<Tensor>> {
                    let slice = |t: &Tensor| t.to_dtype(dtype)?.to_device(device)?.rows(1, 3).map(Var::constant);
                    let (x, b, v) = (slice(&x)?, slice(&b)?, column.to_dtype(dtype.wide())?.to_device(device)?);
                    let (v, mask) = (Var::constant(v.clone()), v);
                    let mut sum = x.tensor().clone();
                    sum.accumulate(b.tensor())?;
                    let outputs = [
                        ops::add(x.clone(), &b)?,
                        ops::scale(&x, -0.7)?,
                        ops::dot(&x, &b)?,
                        ops::mse(&x, &b)?,
                        ops::bias_gelu(x.clone(), Some(&v), Some(&v))?,
                        ops::gate(&x, &v, 1)?,
                        ops::masked_softmax(&x, Some(&mask))?,
                        ops::layernorm(&x, &v, &v, 0.1)?,
                        ops::kd(&x, b.tensor(), 2.0, ops::Reduction::PerSample)?,
                        x.reshape([4, 3 * width])?,
                    ];
                    Ok(outputs.iter().map(|y| y.tensor().clone()).chain([sum]).collect())
                };
                let got = run(gpu_under_test(), dtype).expect("kernels");
                let want = run(Device::Cpu, DType::F64).expect("processor");
                let what = format!("{dtype:?} {width} output");
                close_rounded(&what, &some(got), &some(want), F32_TOLERANCE, rounding).expect("close");
                check_guards().expect("guards");
            }
        }
    }

    /// Forward and backward recorded as a graph, which no read-back would survive, and replayed twice.
    fn replayed(instance: &Instance, dtype: DType) -> Result<[Results; 2]> {
        let Some(gpu) = gpu_under_test().gpu()? else { unreachable!("it is a GPU") };
        let inputs = moved(&instance.inputs_in(dtype)?, gpu_under_test())?;
        let run = |seed: &dyn Fn(&Tensor, usize) -> Tensor| through_tape(instance, &instance.run, &inputs, seed);
        let eager = run(&cotangent)?;
        let seeds: Vec<Tensor> = eager.0.iter().enumerate().map(|(k, y)| cotangent(y, k)).collect();
        let (graph, recorded) = gpu.capture(|| run(&|_, k| seeds[k].clone()))?;
        graph.replay()?;
        graph.replay()?;
        Ok([eager, recorded])
    }

    #[test]
    fn every_op_can_be_captured_and_replayed() {
        let _sim = alone();
        let extent = Extent { shapes: 8, ..EXTENT };
        let captured = |case: &Case| NOT_CAPTURED.iter().all(|(name, _)| *name != case.name);
        let checked = for_all_cases(extent, captured, |_, instance| {
            let bits = |results: &Results| stored(results).map_err(|e| e.to_string());
            for dtype in [DType::F32, DType::BF16] {
                let [eager, recorded] = replayed(&instance, dtype).map_err(|e| e.to_string())?;
                if bits(&eager)? != bits(&recorded)? {
                    return Err(format!("a replay in {dtype:?} gives other bits"));
                }
            }
            Ok(())
        });
        assert!(checked >= 24);
    }
}
