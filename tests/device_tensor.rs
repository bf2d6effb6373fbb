//! Tensors on a GPU, run by the simulator: what goes there comes back, and writes never reach a clone.
#![cfg(feature = "sim")]

mod common;

use common::{check_guards, gpu_under_test};
use espalier::gpu::Matrix;
use espalier::{DType, Device, Tensor, Var, ops};
use std::collections::HashSet;

fn numbers(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32 + 0.5).collect();
    Tensor::from_slice(shape, &values).expect("tensor")
}

fn on_device(tensor: &Tensor) -> Tensor {
    tensor.to_device(gpu_under_test()).expect("device")
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64s().expect("values")
}

#[test]
fn every_shape_goes_there_and_back() {
    let shapes: [&[usize]; 11] =
        [&[], &[0], &[1], &[7], &[8], &[3, 483], &[2, 0], &[0, 5], &[2, 3, 13], &[2, 3, 5, 7], &[1, 1, 2, 3, 5]];
    for shape in shapes {
        let host = numbers(shape);
        let there = on_device(&host);
        assert_eq!((there.device(), there.shape(), there.numel()), (gpu_under_test(), host.shape(), host.numel()));
        assert_eq!(values(&there), values(&host), "{shape:?}");
        let back = there.to_device(Device::Cpu).expect("host");
        assert_eq!(back.slice::<f32>().expect("f32"), host.slice::<f32>().expect("f32"), "{shape:?}");
        let padded = (1..=3).contains(&shape.len());
        let width = shape.last().copied().unwrap_or(1);
        assert_eq!(there.stored_width(), if padded { width.next_multiple_of(8) } else { width }, "{shape:?}");
        assert_eq!(values(&there.new_full(shape, -2.0).expect("full")), vec![-2.0; host.numel()], "{shape:?}");
        assert_eq!(values(&there.new_full(shape, 0.0).expect("zeros")), vec![0.0; host.numel()], "{shape:?}");
    }
    for dtype in [DType::F64, DType::I32, DType::U8, DType::F16, DType::BF16] {
        let host = numbers(&[2, 3]).to_dtype(dtype).expect("dtype");
        assert_eq!(values(&on_device(&host)), values(&host), "{dtype:?}");
    }
    check_guards().expect("guards");
}

#[test]
fn reshape_and_rows_see_the_same_elements() {
    let shapes: [[&[usize]; 2]; 6] = [
        [&[6, 5], &[2, 3, 5]],
        [&[6, 5], &[5, 6]],
        [&[2, 3, 13], &[6, 13]],
        [&[2, 3, 4, 5], &[6, 20]],
        [&[40], &[5, 8]],
        [&[3, 16], &[4, 3, 2, 2]],
    ];
    for [from, to] in shapes {
        let host = numbers(from);
        let there = on_device(&host).reshape(to).expect("reshape");
        assert_eq!(values(&there), values(&host), "{from:?} to {to:?}");
    }
    let host = numbers(&[4, 3, 5]);
    let rows = on_device(&host).rows(1, 3).expect("rows");
    assert_eq!(values(&rows), values(&host.rows(1, 3).expect("rows")));
    assert_eq!(values(&rows.reshape([6, 5]).expect("reshape")), values(&rows));
    assert_eq!(values(&rows.rows(1, 2).expect("rows")), values(&host.rows(2, 3).expect("rows")));
    assert!(on_device(&numbers(&[5])).rows(1, 2).is_err(), "elements of a row are no rows");
}

#[test]
fn clones_never_see_a_later_write() {
    let host = numbers(&[3, 5]);
    let (mut there, more) = (on_device(&host), on_device(&host));
    let clone = there.clone();
    there.accumulate(&more).expect("sum");
    assert_eq!(values(&there), values(&host).iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    assert_eq!(values(&clone), values(&host));
    let part = there.rows(1, 2).expect("rows");
    assert!(there.copy_from(&host).is_err(), "a shared tensor would be copied, and a graph would read the old one");
    drop(part);
    there.copy_from(&host).expect("alone");
    assert_eq!(values(&there), values(&host));
}

#[test]
fn what_lies_apart_is_an_error_that_says_where() {
    let (here, there) = (numbers(&[2, 8]), on_device(&numbers(&[2, 8])));
    let text = |result: espalier::Result<Var>| result.expect_err("two devices").to_string();
    let [cpu, gpu] = [&here, &there].map(|tensor| Var::constant(tensor.clone()));
    let errors = [
        text(ops::add(cpu.clone(), &gpu)),
        text(ops::add(gpu.clone(), &cpu)),
        text(ops::linear(&cpu, &gpu, None)),
        text(ops::linear(&gpu, &cpu, None)),
        text(ops::cross_entropy(&gpu, &here)),
        text(ops::cross_entropy(&cpu, &there)),
        text(ops::masked_softmax(&gpu, Some(&here))),
    ];
    for error in errors {
        assert!(error.contains("tensors on one device"), "{error}");
    }
    assert!(there.slice::<f32>().is_err() && there.clone().slice_mut::<f32>().is_err());
    assert!(here.address().is_err() && Matrix::of(&here).is_err());
}

/// The elements of `there` in memory, each as (within its row, all its bits are 1, all are 0).
fn elements(there: &Tensor) -> HashSet<(bool, bool, bool)> {
    let (size, bytes) = (there.dtype().size(), there.stored_bytes().expect("bytes"));
    let (cols, stored) = (there.dim(-1), there.stored_width());
    let of = |(i, element): (usize, &[u8])| {
        (i % stored < cols, element.iter().all(|b| *b == 0xff), element.iter().all(|b| *b == 0))
    };
    bytes.chunks(size).enumerate().map(of).collect()
}

/// Only what lies behind the rows of new memory is set: within them the simulator's marks for what nothing was written to stay.
/// A replayed graph does it again, whatever was there.
#[test]
fn only_what_lies_behind_the_rows_of_new_memory_is_set() {
    let (untouched, cleared) = ((true, true, false), (false, false, true));
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for shape in [&[483][..], &[1, 1], &[3, 9], &[2, 3, 15]] {
            let there = Tensor::empty_on(gpu_under_test(), shape, dtype).expect("memory");
            assert_eq!(elements(&there), HashSet::from([untouched, cleared]), "{shape:?} {dtype:?}");
        }
        for shape in [&[16][..], &[2, 8], &[1, 2, 3, 5]] {
            let there = Tensor::empty_on(gpu_under_test(), shape, dtype).expect("memory");
            assert_eq!(elements(&there), HashSet::from([untouched]), "{shape:?} {dtype:?}");
        }
    }
    let gpu = gpu_under_test().gpu().expect("device").expect("a GPU");
    let (graph, there) = gpu.capture(|| Tensor::empty_on(gpu_under_test(), [5, 483], DType::F32)).expect("capture");
    assert_eq!(elements(&there), HashSet::from([untouched, (false, true, false)]), "recorded, not run");
    graph.replay().expect("replay");
    assert_eq!(elements(&there), HashSet::from([untouched, cleared]));
    check_guards().expect("guards");
}
