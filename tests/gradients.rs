//! Every op's gradient against central differences in `f64`, through the tape closure that `f32` uses; the same for the CUDA
//! sources, run by the simulator.
//!
//! `h = 1e-6 max(1, |x|)`, loss `<r, y>` for a fixed `r`, and `max|a - n| / max(1, max|n|) <= 1e-7` per tensor.

mod common;

use common::{Extent, FULL, cotangent, for_all_cases, gradient_bound, moved, run_on};
use espalier::ops::case::{Gradient, Instance};
use espalier::tape::checkpoint;
use espalier::{DType, Device, Tape, Tensor, Var, ops};

/// The elements of all outputs on `device`.
fn values(instance: &Instance, inputs: &[Tensor], device: Device) -> Vec<f64> {
    let vars: Vec<Var> = moved(inputs, device).expect("device").into_iter().map(Var::constant).collect();
    let outputs = (instance.run)(&vars).expect("forward");
    outputs.iter().flat_map(|y| y.tensor().to_f64s().unwrap()).collect()
}

/// `<r, y(x + h) - y(x - h)> / 2h` for every element of input `k`. The outputs are subtracted before they are summed: what `h`
/// does not reach drops out, and the sum is as accurate as they are.
fn numeric(instance: &Instance, inputs: &[Tensor], k: usize, device: Device, r: &[f64]) -> Vec<f64> {
    let x = inputs[k].to_f64s().unwrap();
    let mut shifted = inputs.to_vec();
    let mut at = |i: usize, value: f64| {
        shifted[k].slice_mut::<f64>().expect("f64")[i] = value;
        let y = values(instance, &shifted, device);
        shifted[k].slice_mut::<f64>().expect("f64")[i] = x[i];
        y
    };
    let difference = |i: usize| {
        let h = 1e-6 * x[i].abs().max(1.0);
        let (above, below) = (at(i, x[i] + h), at(i, x[i] - h));
        above.iter().zip(below).zip(r).map(|((above, below), r)| (above - below) * r).sum::<f64>() / (2.0 * h)
    };
    (0..x.len()).map(difference).collect()
}

fn gradients_equal_differences(device: Device, extent: Extent) {
    let checked = for_all_cases(
        extent,
        |case| gradient_bound(case).is_some(),
        |case, instance| {
            let bound = gradient_bound(case).expect("filtered");
            let (outputs, grads) = run_on(&instance, false, DType::F64, device).map_err(|e| e.to_string())?;
            let inputs = instance.inputs_in(DType::F64).unwrap();
            let cotangents = outputs.iter().enumerate().map(|(k, y)| cotangent(y, k).to_f64s().unwrap());
            let r = cotangents.collect::<Vec<_>>().concat();
            for (k, (input, wanted)) in instance.inputs.iter().enumerate() {
                if !wanted {
                    continue;
                }
                let n = numeric(&instance, &inputs, k, device, &r);
                let a = grads[k].as_ref().map_or(vec![0.0; n.len()], |a| a.to_f64s().unwrap());
                let scale = n.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                let worst = a.iter().zip(&n).map(|(a, n)| (a - n).abs()).fold(0.0, f64::max) / scale;
                if worst.is_nan() || worst > bound {
                    return Err(format!("input {k} {:?}: error {worst:.2e} above {bound:.0e}", input.shape()));
                }
            }
            Ok(())
        },
    );
    println!("{device}: {checked} cases, {} shapes each", extent.shapes);
    assert!(checked >= 20);
}

#[test]
fn analytic_gradients_equal_central_differences() {
    gradients_equal_differences(Device::Cpu, FULL);
}

/// Here the differences are of what the CUDA sources compute, in double.
#[cfg(feature = "sim")]
#[test]
fn analytic_gradients_of_cuda_kernels_equal_central_differences() {
    gradients_equal_differences(common::gpu_under_test(), Extent { shapes: 16, elements: 500 });
}

#[test]
fn at_most_three_cases_are_looser_and_each_says_why() {
    let cases: Vec<_> = espalier::ops::all().iter().flat_map(|op| (op.cases)()).collect();
    let looser = cases.iter().filter(|c| matches!(c.gradient, Gradient::Looser(..))).count();
    assert!(looser <= 3);
    for case in cases {
        if let Gradient::Looser(_, why) | Gradient::None(why) = case.gradient {
            assert!(!why.is_empty(), "{} gives no reason", case.name);
        }
    }
}

#[test]
fn a_checkpointed_block_has_the_gradients_of_the_plain_one() {
    let (x, w) = (cotangent(&Tensor::zeros([4, 3], DType::F64), 1), cotangent(&Tensor::zeros([3, 3], DType::F64), 2));
    let block = |v: &[Var]| ops::gelu(&ops::linear(&v[0], &v[1], None)?);
    let run = |wrapped: bool| {
        let tape = Tape::new();
        let leaves = [tape.leaf(x.clone()), tape.leaf(w.clone())];
        let y = if wrapped { checkpoint(&[&leaves[0], &leaves[1]], block) } else { block(&leaves) }.expect("block");
        let grads = tape.backward_from(&[(&y, cotangent(y.tensor(), 3))]).expect("backward");
        leaves.map(|leaf| grads.get(&leaf).expect("gradient").to_f64s().unwrap())
    };
    assert_eq!(run(true), run(false));

    // A tracked value that is captured instead of passed would lose its gradient: refused. So is another tape's value.
    let (tape, other) = (Tape::new(), Tape::new());
    let (x, w) = (tape.leaf(x), tape.leaf(w));
    let captured = w.clone();
    assert!(checkpoint(&[&x], move |v| ops::linear(&v[0], &captured, None)).is_err());
    let loss = ops::dot(&w, &w).expect("dot");
    assert!(other.backward(&loss).is_err() && tape.backward(&loss).is_ok());
}
