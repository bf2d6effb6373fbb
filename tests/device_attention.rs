//! Attention in 16 bits on the simulated card against the CPU in `f64` on the same rounded values: on tensor cores at every
//! length and width that cuts its tiles, rounds and stages differently; beyond their reach by the plain kernels.
#![cfg(feature = "sim")]

mod common;

use common::{check_guards, cotangent, distance, gpu_under_test, reverse_order};
use espalier::ops::case::Draw;
use espalier::{DType, Device, Result, Tape, Tensor, ops};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The types, with the largest relative error of one rounding.
const HALVES: [(DType, f64); 2] = [(DType::BF16, 1.0 / 256.0), (DType::F16, 1.0 / 2048.0)];
/// What `f32` kernels may be off by, relative to the largest value.
const F32_TOLERANCE: f64 = 2e-5;
/// Roundings that errors may add up to, relative to the largest value: of the output, of the probabilities and their
/// gradients as factors, and of the output that delta is found from.
const ROUNDINGS: f64 = 3.0;

/// The order of warps is the simulator's, so tests that need one take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ORDER: Mutex<()> = Mutex::new(());
    ORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Case {
    size: [usize; 4],
    masked: bool,
    /// Of the values: at 1 scores are of order 1.
    spread: f64,
}

impl Case {
    /// Normal values times the spread, rounded to `dtype`.
    fn qkv(&self, dtype: DType) -> Tensor {
        let [batch, tokens, heads, width] = self.size;
        let normal = Draw::random(vec![1], (tokens * 100 + width) as u64).normal([batch, tokens, 3 * heads * width]);
        let values: Vec<f64> = normal.to_f64s().unwrap().iter().map(|v| v * self.spread).collect();
        Tensor::from_slice(*normal.shape(), &values).unwrap().to_dtype(dtype).unwrap()
    }

    /// The first image has no key at all.
    fn mask(&self, dtype: DType) -> Option<Tensor> {
        let [batch, tokens, ..] = self.size;
        self.masked.then(|| Draw::random(vec![1], tokens as u64).mask([batch, tokens]).to_dtype(dtype.wide()).unwrap())
    }

    /// Output and gradient of the values of `rounded`, computed in `dtype` on `device`.
    fn run(&self, device: Device, rounded: DType, dtype: DType) -> Result<[Tensor; 2]> {
        let [_, _, heads, width] = self.size;
        let tape = Tape::new();
        let qkv = tape.leaf(self.qkv(rounded).to_dtype(dtype)?.to_device(device)?);
        let mask = self.mask(dtype).map(|mask| mask.to_device(device)).transpose()?;
        let y = ops::attention(&qkv, heads, width, mask.as_ref())?;
        let seed = cotangent(&Tensor::empty(*y.shape(), rounded), 0).to_dtype(dtype)?.to_device(device)?;
        let mut grads = tape.backward_from(&[(&y, seed)])?;
        Ok([y.tensor().clone(), grads.take(&qkv).expect("the gradient of qkv")])
    }

    /// Close to the CPU's, with zeros behind the rows, and with the same bits when the warps run in reverse.
    fn check(&self) {
        let _held = alone();
        for (dtype, epsilon) in HALVES {
            let what = format!("{:?}, masked: {}, {dtype:?}", self.size, self.masked);
            let run = |reverse| {
                reverse_order(reverse);
                self.run(gpu_under_test(), dtype, dtype).unwrap_or_else(|e| panic!("{what}: {e}"))
            };
            let (got, again) = (run(false), run(true));
            reverse_order(false);
            let want = self.run(Device::Cpu, dtype, DType::F64).unwrap();
            for (name, ((got, again), want)) in ["y", "dqkv"].iter().zip(got.iter().zip(&again).zip(&want)) {
                let (gap, top) = distance(&got.to_device(Device::Cpu).unwrap(), want);
                let roundings = (gap / top - F32_TOLERANCE) / epsilon;
                assert!(
                    gap <= (F32_TOLERANCE + ROUNDINGS * epsilon) * top,
                    "{what}: {name} is {roundings:.2} roundings off"
                );
                assert!(got.stored_bytes().unwrap() == again.stored_bytes().unwrap(), "{what}: {name} has other bits");
                let (cols, stored) = (got.shape().rows_cols().1 * 2, got.stored_width() * 2);
                let clean = |row: &[u8]| row[cols..].iter().all(|byte| *byte == 0);
                assert!(
                    got.stored_bytes().unwrap().chunks(stored).all(clean),
                    "{what}: {name} goes on behind its rows"
                );
            }
        }
        check_guards().unwrap();
    }
}

/// Tensor cores: fewer keys than a tile, one more than a tile, several rounds of rows, and rows that the smallest card's
/// shared memory has no room for (577 tokens).
#[test]
fn tensor_cores_agree_with_the_processor_at_every_length_and_width() {
    for tokens in [1, 16, 17, 65, 197, 325, 577] {
        for width in [32, 60, 64] {
            let [batch, heads] = if tokens < 100 { [2, 3] } else { [1, 1] };
            for masked in [false, true] {
                // With a mask the first of two images has no key; of long rows there is one image, with keys.
                let batch = if masked { batch.max(2) } else { batch };
                Case { size: [batch, tokens, heads, width], masked, spread: 1.0 }.check();
            }
        }
    }
}

/// So many heads that blocks take several rounds; widths that leave rows aligned to 2, 4 and 8 bytes; no tensor cores.
#[test]
fn rounds_in_a_block_odd_widths_and_wide_heads() {
    for size in [[4, 130, 2, 32], [2, 33, 3, 7], [1, 50, 2, 45], [2, 20, 3, 30], [1, 17, 2, 1], [1, 70, 1, 100]] {
        for masked in [false, true] {
            Case { size, masked, spread: 1.0 }.check();
        }
    }
}

/// Scores up to some hundreds: the top moves after the first keys, and 2^score alone would overflow.
#[test]
fn large_scores_move_the_top() {
    for size in [[1, 197, 1, 64], [2, 100, 2, 20], [1, 577, 1, 60]] {
        Case { size, masked: size[0] > 1, spread: 4.0 }.check();
    }
}

/// The maps go by the plain kernels; each weight is rounded once, when it is written.
#[test]
fn maps_of_halves_agree_with_the_processor() {
    let _held = alone();
    for size in [[2, 17, 3, 20], [1, 70, 1, 100], [2, 5, 2, 1], [1, 197, 2, 64]] {
        for (dtype, epsilon) in HALVES {
            let (case, [batch, tokens, heads, width]) = (Case { size, masked: false, spread: 1.0 }, size);
            let rounded = case.qkv(dtype);
            let got = ops::attention_map(&rounded.to_device(gpu_under_test()).unwrap(), heads, width).unwrap();
            assert_eq!((got.dtype(), &got.shape()[..]), (dtype, &[batch, heads, tokens, tokens][..]));
            let want = ops::attention_map(&rounded.to_dtype(DType::F64).unwrap(), heads, width).unwrap();
            let pairs = got.to_f64s().unwrap().into_iter().zip(want.to_f64s().unwrap());
            for (i, (got, want)) in pairs.enumerate() {
                let most = epsilon * want + F32_TOLERANCE;
                assert!((got - want).abs() <= most, "{size:?} {dtype:?}, weight {i}: {got}, expected {want}");
            }
        }
    }
    check_guards().unwrap();
}

/// The simulated card has four multiprocessors. Alone an image's head is cut into as many blocks as have work for a quarter of a
/// multiprocessor each, eight images leave a block to every head and its rounds; between them blocks have several rounds each.
#[test]
fn the_number_of_blocks_changes_no_bit() {
    let _held = alone();
    let (tokens, width) = (197, 32);
    for (heads, dtype) in [(1, DType::BF16), (2, DType::F16)] {
        let all = Case { size: [8, tokens, heads, width], masked: false, spread: 1.0 }.qkv(dtype);
        let all = all.to_device(gpu_under_test()).unwrap();
        let dy = cotangent(&all.new_empty([8, tokens, heads * width]).unwrap(), 0);
        let run = |first: usize| {
            let tape = Tape::new();
            let qkv = tape.leaf(all.rows(first, 8).unwrap());
            let y = ops::attention(&qkv, heads, width, None).unwrap();
            let mut grads = tape.backward_from(&[(&y, dy.rows(first, 8).unwrap())]).unwrap();
            [y.tensor().clone(), grads.take(&qkv).expect("the gradient of qkv")]
        };
        let together = run(0);
        for images in [1, 2, 4] {
            for (few, together) in run(8 - images).iter().zip(&together) {
                let together = together.rows(8 - images, 8).unwrap();
                assert!(few.stored_bytes().unwrap() == together.stored_bytes().unwrap(), "{images} images, {dtype:?}");
            }
        }
    }
    check_guards().unwrap();
}
