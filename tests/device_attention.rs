//! Attention in 16 bits on the simulated card against the CPU in `f64` on the same rounded values: on tensor cores at every
//! length and width that cuts its tiles, rounds and stages differently; beyond their reach by the plain kernels.
#![cfg(feature = "sim")]

mod common;

use common::{check_guards, cotangent, distance, gpu_under_test, reverse_order};
use espalier::ops::case::Draw;
use espalier::{DType, Device, Result, Tape, Tensor, ops};
use std::sync::{Mutex, PoisonError};

/// The types, with the largest relative error of one rounding.
const HALVES: [(DType, f64); 2] = [(DType::BF16, 1.0 / 256.0), (DType::F16, 1.0 / 2048.0)];
/// What `f32` kernels may be off by, relative to the largest value.
const F32_TOLERANCE: f64 = 2e-5;
/// Roundings that errors may add up to, relative to the largest value: of the output, of the probabilities and their
/// gradients as factors, and of the output that delta is found from.
const ROUNDINGS: f64 = 3.0;

struct Case {
    size: [usize; 4],
    masked: bool,
}

impl Case {
    /// Normal values, rounded to `dtype`.
    fn qkv(&self, dtype: DType) -> Tensor {
        let [batch, tokens, heads, width] = self.size;
        Draw::random(vec![1], (tokens * 100 + width) as u64)
            .normal([batch, tokens, 3 * heads * width])
            .to_dtype(dtype)
            .unwrap()
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
        static ORDER: Mutex<()> = Mutex::new(());
        let _held = ORDER.lock().unwrap_or_else(PoisonError::into_inner);
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
                Case { size: [batch, tokens, heads, width], masked }.check();
            }
        }
    }
}

/// So many heads that blocks take several rounds; widths that leave rows aligned to 2, 4 and 8 bytes; no tensor cores.
#[test]
fn rounds_in_a_block_odd_widths_and_wide_heads() {
    for size in [[4, 130, 2, 32], [2, 33, 3, 7], [1, 50, 2, 45], [2, 20, 3, 30], [1, 17, 2, 1], [1, 70, 1, 100]] {
        for masked in [false, true] {
            Case { size, masked }.check();
        }
    }
}
