//! The fused ops on the simulated card against the CPU, where their cases do not reach: tiles of attention that begin, end
//! and repeat, vectors used twice, four axes, work in place.
#![cfg(feature = "sim")]

mod common;

use common::{check_guards, cotangent, distance, gpu_under_test, reverse_order};
use espalier::gpu::params::StepNumbers;
use espalier::ops::{AdamwTensor, Numbers, case::Draw};
use espalier::tensor::Device;
use espalier::{DType, Result, Tape, Tensor, Var, ops};

type Op<'a> = &'a dyn Fn(&[Var]) -> Result<Vec<Var>>;

/// Outputs and gradients of `op` on `device`, read back.
fn run(device: Device, inputs: &[Tensor], op: Op) -> Result<Vec<Tensor>> {
    let tape = Tape::new();
    let leaves: Vec<Var> = inputs.iter().map(|t| Ok(tape.leaf(t.to_device(device)?))).collect::<Result<_>>()?;
    let outputs = op(&leaves)?;
    let seed = |(k, y): (usize, &Var)| cotangent(&y.tensor().to_device(Device::Cpu)?, k).to_device(device);
    let seeds: Vec<Tensor> = outputs.iter().enumerate().map(seed).collect::<Result<_>>()?;
    let grads = tape.backward_from(&outputs.iter().zip(seeds).collect::<Vec<_>>())?;
    let found = outputs.iter().map(Var::tensor).chain(leaves.iter().filter_map(|leaf| grads.get(leaf)));
    found.map(|t| check_padding(t).and_then(|()| t.to_device(Device::Cpu))).collect()
}

/// Behind the rows of a tensor on the card there are still zeros.
fn check_padding(t: &Tensor) -> Result<()> {
    let (cols, stored, size) = (t.shape().rows_cols().1, t.stored_width(), t.dtype().size());
    if stored != cols {
        let clean = t.stored_bytes()?.chunks(stored * size).all(|row| row[cols * size..].iter().all(|byte| *byte == 0));
        assert!(clean, "written behind the rows of {:?}", t.shape());
    }
    Ok(())
}

/// The card's results are the CPU's, in both precisions, and have the same bits again and with the warps in reverse.
fn compare(what: &str, inputs: &[Tensor], op: Op) {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        let inputs: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
        let want = run(Device::Cpu, &inputs, op).unwrap();
        let got = run(gpu_under_test(), &inputs, op).unwrap();
        assert_eq!(got.len(), want.len(), "{what}");
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let (gap, top) = distance(got, want);
            assert!(gap <= tolerance * top.max(1.0), "{what} {dtype:?}, tensor {k}: {gap:.1e} apart at {top:.1e}");
        }
        reverse_order(true);
        let again = run(gpu_under_test(), &inputs, op).unwrap();
        reverse_order(false);
        let same = got.iter().zip(&again).all(|(a, b)| a.bytes().unwrap() == b.bytes().unwrap());
        assert!(same, "{what} {dtype:?}: other bits in the second run");
    }
    check_guards().unwrap();
}

/// Normal values.
fn normal<const N: usize>(shape: [usize; N]) -> Tensor {
    Draw::random(vec![1], shape.iter().sum::<usize>() as u64).normal(shape)
}

#[test]
fn attention_of_any_length_and_head_width() {
    let sizes = [[1, 577, 1, 64], [2, 65, 2, 100], [1, 70, 1, 256], [1, 130, 3, 32], [2, 67, 2, 60], [1, 129, 2, 1]];
    for [batch, n, heads, width] in sizes {
        let qkv = normal([batch, n, 3 * heads * width]);
        let mask = Draw::random(vec![1], n as u64).mask([batch + 1, n]).rows(1, batch + 1).unwrap(); // a living key each
        for mask in [None, Some(mask)] {
            let what = format!("[{batch}, {n}, {heads}, {width}], mask: {}", mask.is_some());
            compare(&what, std::slice::from_ref(&qkv), &|v| {
                let as_qkv = |m: &Tensor| m.to_dtype(v[0].dtype())?.to_device(v[0].tensor().device());
                let mask = mask.as_ref().map(as_qkv).transpose()?;
                Ok(vec![ops::attention(&v[0], heads, width, mask.as_ref())?])
            });
        }
    }
}

#[test]
fn attention_maps_and_rows_that_are_too_long_for_shared_memory() {
    let map = |heads, width| move |v: &[Var]| Ok(vec![Var::constant(ops::attention_map(v[0].tensor(), heads, width)?)]);
    compare("map", &[normal([2, 37, 3 * 2 * 20])], &map(2, 20));
    compare("map of long rows", &[normal([1, 1003, 3])], &map(1, 1));
    compare("long rows", &[normal([1, 2600, 3 * 3])], &|v| Ok(vec![ops::attention(&v[0], 1, 3, None)?]));
}

#[test]
fn gradients_of_vectors_that_are_used_twice_add_up() {
    compare("gelu", &[normal([70, 21]), normal([21]), normal([21])], &|v| {
        let once = ops::bias_gelu(v[0].clone(), Some(&v[1]), Some(&v[2]))?;
        Ok(vec![ops::bias_gelu(once, Some(&v[1]), Some(&v[2]))?])
    });
    compare("gate", &[normal([70, 21]), normal([7])], &|v| {
        Ok(vec![ops::gate(&ops::gate(&v[0], &v[1], 3)?, &v[1], 3)?])
    });
    compare("layernorm", &[normal([70, 21]), normal([21]), normal([21])], &|v| {
        Ok(vec![ops::layernorm(&ops::layernorm(&v[0], &v[1], &v[2], 0.1)?, &v[1], &v[2], 0.1)?])
    });
}

#[test]
fn four_axes_are_contiguous() {
    let inputs = [normal([2, 3, 5, 9]), normal([9]), normal([3])];
    compare("four axes", &inputs, &|v| {
        let y = ops::gate(&ops::bias_gelu(v[0].clone(), Some(&v[1]), None)?, &v[2], 3)?;
        let (sum, y) = ops::add_layernorm(ops::add_bias(&y, &v[1])?, &v[0], None, &v[1], &v[1], 1e-3)?;
        Ok(vec![sum, y])
    });
}

#[test]
fn a_sole_owner_is_overwritten_and_a_shared_tensor_is_not() {
    let x = normal([5, 9]).to_device(gpu_under_test()).unwrap();
    let (at, before) = (x.address().unwrap(), x.to_f64s().unwrap());
    let y = ops::bias_gelu(Var::constant(x.clone()), None, None).unwrap();
    assert!(y.tensor().address().unwrap() != at && x.to_f64s().unwrap() == before);
    let in_place = ops::bias_gelu(Var::constant(x), None, None).unwrap();
    assert!(in_place.tensor().address().unwrap() == at);
    assert_eq!(in_place.tensor().to_f64s().unwrap(), y.tensor().to_f64s().unwrap());

    let vector = Var::constant(normal([9]).to_device(gpu_under_test()).unwrap());
    let add = |x: Var| ops::add_layernorm(x, &y, None, &vector, &vector, 1e-6).unwrap();
    let (shared, _) = add(in_place.clone());
    assert!(shared.tensor().address().unwrap() != at);
    let (sum, _) = add(in_place);
    assert!(sum.tensor().address().unwrap() == at);
    assert_eq!(sum.tensor().to_f64s().unwrap(), shared.tensor().to_f64s().unwrap());
}

/// Whole numbers of this size: sums and differences of their products have no rounding error in `f32`.
fn whole<const N: usize>(shape: [usize; N], size: f64) -> Tensor {
    let values: Vec<f64> = normal(shape).to_f64s().unwrap().iter().map(|v| (v * size).round()).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// `e^x` of such values is infinite in `f32` and in `f64`.
#[test]
fn large_values_do_not_overflow() {
    let x = [whole([5, 37], 2000.0)];
    compare("softmax", &x, &|v| Ok(vec![ops::softmax(&v[0])?, ops::log_softmax(&v[0])?]));
    let mask = Draw::random(vec![1], 3).mask([5, 37]);
    compare("masked softmax", &x, &|v| {
        let mask = mask.to_dtype(v[0].dtype())?.to_device(v[0].tensor().device())?;
        Ok(vec![ops::masked_softmax(&v[0], Some(&mask))?])
    });
    compare("losses", &x, &|v| {
        let there = |t: Tensor| t.to_dtype(v[0].dtype())?.to_device(v[0].tensor().device());
        let target = there(ops::one_hot(&[0, 3, 36, 5, 20], 37, 0.1, DType::F64)?)?;
        let teacher = there(whole([5, 37], 2001.0))?;
        let kd = ops::kd(&v[0], &teacher, 2.0, ops::Reduction::PerSample)?;
        Ok(vec![ops::cross_entropy(&v[0], &target)?, kd, ops::bce_with_logits(&v[0], &target)?])
    });
    let qkv = [whole([2, 70, 3 * 2 * 16], 40.0)];
    let map = |v: &[Var]| Ok(vec![Var::constant(ops::attention_map(v[0].tensor(), 2, 16)?)]);
    compare("attention map", &qkv, &map);
    compare("attention", &qkv, &|v| Ok(vec![ops::attention(&v[0], 2, 16, None)?]));
}

/// Longer than two partial sums, with zeros behind the rows.
#[test]
fn sums_of_many_elements() {
    let (a, b) = (normal([3, 3001]), normal([3, 3001]));
    compare("sums", &[a.clone(), b.clone()], &|v| Ok(vec![ops::dot(&v[0], &v[1])?, ops::mse(&v[0], &v[1])?]));
    let norm = |device| {
        let there = [&a, &b].map(|t| t.to_device(device).unwrap());
        ops::global_norm(&there).unwrap()
    };
    let (found, expected) = (norm(gpu_under_test()), norm(Device::Cpu));
    assert!((found - expected).abs() <= 1e-12 * expected, "{found} and {expected}");
}

/// Three launches of up to 384, of tensors without elements, of a few, and of several pieces.
#[test]
fn more_tensors_than_a_launch_takes() {
    let shape = |k: usize| [k % 7, if k % 97 == 1 { 4099 } else { 1 + k % 29 }];
    let many = |dtype: DType, seed: u64| -> Vec<Tensor> {
        let one = |k: usize| Draw::random(vec![], seed + k as u64).normal(shape(k)).to_dtype(dtype).unwrap();
        (0..1000).map(one).collect()
    };
    let there =
        |all: &[Tensor]| -> Vec<Tensor> { all.iter().map(|t| t.to_device(gpu_under_test()).unwrap()).collect() };
    for half in [DType::BF16, DType::F16] {
        let all = many(DType::F32, 1);
        let placed = there(&all);
        let rounded = Tensor::all_to_dtype(&placed.iter().collect::<Vec<_>>(), half).unwrap();
        assert_eq!(rounded.len(), all.len());
        for (k, (got, want)) in rounded.iter().zip(&all).enumerate() {
            check_padding(got).unwrap();
            assert!(got.bytes().unwrap() == want.to_dtype(half).unwrap().bytes().unwrap(), "{half:?}, tensor {k}");
        }
    }
    let grads = many(DType::F64, 2);
    let [found, expected] = [there(&grads), grads.clone()].map(|grads| ops::global_norm(&grads).unwrap());
    assert!((found - expected).abs() <= 1e-12 * expected, "{found} and {expected}");

    let numbers =
        StepNumbers { lr: 0.1, bias1: 0.1, bias2: 0.2, loss_scale: 1.0, grad_scale: 0.5, grad_norm: 0.0, step: 0 };
    let step = |place: &dyn Fn(&[Tensor]) -> Vec<Tensor>| -> Vec<Tensor> {
        let grads = place(&grads);
        let [mut params, mut m, mut v, mut averages] = [3, 4, 5, 6].map(|seed| {
            let squared = |t: &Tensor| t.to_f64s().unwrap().iter().map(|x| x * x).collect::<Vec<_>>();
            let all = many(DType::F64, 1000 * seed);
            // second moments are positive
            place(&all.iter().map(|t| Tensor::from_slice(*t.shape(), &squared(t)).unwrap()).collect::<Vec<_>>())
        });
        let all = params.iter_mut().zip(&mut m).zip(&mut v).zip(&mut averages).zip(&grads).enumerate();
        let list = all.map(|(k, ((((param, m), v), average), grad))| AdamwTensor {
            param,
            m,
            v,
            grad,
            weight_decay: 0.01 * (k % 3) as f64,
            lr_scale: 1.0 + k as f64,
            average: (k % 2 == 0).then_some((average, 0.9)),
        });
        ops::adamw(list.collect(), (0.9, 0.999), 1e-8, Numbers::Host(numbers)).unwrap();
        [params, m, v, averages].concat()
    };
    for (k, (got, want)) in step(&there).iter().zip(&step(&|all| all.to_vec())).enumerate() {
        let (gap, top) = distance(got, want);
        assert!(gap <= 1e-12 * top.max(1.0), "tensor {k}: {gap:.1e} apart at {top:.1e}");
    }
    check_guards().unwrap();
}
