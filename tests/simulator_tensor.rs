//! The simulated tensor cores, 16-bit floats and asynchronous copies, against plain arithmetic.
#![cfg(feature = "sim")]

use bytemuck::Pod;
use half::{bf16, f16};
use num_traits::{Float, cast};
use support::{Buffer, ORDERS, Test, launch, sim, values};

#[path = "common/sim.rs"]
mod support;

/// Floats that a conversion has to get right: every pattern of the upper 16 bits with both ties beside it, and others.
fn floats() -> Vec<f32> {
    let upper = (0..=u16::MAX).flat_map(|upper| [0, 1, 0x7fff, 0x8000, 0x8001].map(|low| u32::from(upper) << 16 | low));
    // Halfway between two neighbours in f16, and next to it.
    let halfway = (0..0x7c00u16).flat_map(|bits| {
        let middle = (f16::from_bits(bits).to_f64() + f16::from_bits(bits + 1).to_f64().min(65536.0)) / 2.0;
        [-1i32, 0, 1].map(|next| (middle as f32).to_bits().wrapping_add_signed(next))
    });
    upper.chain(halfway).map(f32::from_bits).collect()
}

fn check_conversions<T: Pod + Float>(kernel: &str) {
    let sim = sim();
    let run = |mode, count: usize, x: &Buffer, out: &Buffer| {
        let args = Test { out: out.address, x: x.address, count: count as i32, mode, ..Test::default() };
        launch(&sim, kernel, count.div_ceil(256) as u32, 256, 0, &args).unwrap();
    };
    let same = |a: T, b: T| a == b && a.is_sign_negative() == b.is_sign_negative() || a.is_nan() && b.is_nan();
    let wide = floats();
    let (x, out) = (Buffer::of(&sim, &wide), Buffer::new(&sim, wide.len() * 2));
    run(1, wide.len(), &x, &out);
    for (&found, &x) in out.read::<T>().iter().zip(&wide) {
        let expected: T = cast(x).unwrap();
        assert!(same(found, expected), "{kernel} of {x:e} ({:#x})", x.to_bits());
    }
    let narrow: Vec<T> = (0..=u16::MAX).map(bytemuck::cast).collect();
    let (x, out) = (Buffer::of(&sim, &narrow), Buffer::new(&sim, narrow.len() * 4));
    run(0, narrow.len(), &x, &out);
    for (&found, &x) in out.read::<f32>().iter().zip(&narrow) {
        let expected = x.to_f32().unwrap();
        assert!(found == expected || found.is_nan() && expected.is_nan());
        assert_eq!(found.is_sign_negative(), expected.is_sign_negative());
    }
}

#[test]
fn conversions_round_to_nearest_even() {
    check_conversions::<bf16>("test_convert_bf16");
    check_conversions::<f16>("test_convert_f16");
}

/// `c + a b` in f64, `a` of 16 x k and `b` of k x n.
fn product(a: &[f64], b: &[f64], c: &[f64], k: usize, n: usize) -> Vec<f64> {
    let at = |row: usize, col: usize| (0..k).map(|i| a[row * k + i] * b[i * n + col]).sum::<f64>();
    (0..16 * n).map(|i| c[i] + at(i / n, i % n)).collect()
}

fn check_mma<T: Pod + Float>(kernel: &str) {
    let sim = sim();
    let x: Vec<T> = values(512).iter().map(|v| cast(v - 0.5).unwrap()).collect();
    let c: Vec<f32> = values(256).iter().map(|&v| v as f32).collect();
    let wide: Vec<f64> = x.iter().map(|v| v.to_f64().unwrap()).collect();
    let start: Vec<f64> = c.iter().map(|&v| f64::from(v)).collect();
    let from = Buffer::of(&sim, &x);
    let run = |mode, count| {
        let out = Buffer::of(&sim, &c);
        let args = Test { out: out.address, x: from.address, count, mode, ..Test::default() };
        launch(&sim, kernel, 1, 32, 0, &args).unwrap();
        out.read::<f32>()
    };
    for order in ORDERS {
        sim.set_order(order);
        for rows in [16, 9, 0] {
            let mut b = wide[256..].to_vec();
            b[rows * 16..].fill(0.0);
            let expected = product(&wide[..256], &b, &start, 16, 16);
            let found = run(if rows == 16 { 0 } else { 2 }, rows as i32);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((f64::from(*found) - expected).abs() <= 1e-6, "{kernel} {rows} {i}: {found}, {expected}");
            }
        }
        assert!(run(1, 16).iter().all(|v| v.is_nan()), "the copies were not waited for");
    }
}

#[test]
fn tensor_cores_multiply_16_bit_matrices() {
    check_mma::<bf16>("test_mma_bf16");
    check_mma::<f16>("test_mma_f16");
}

#[test]
fn tensor_cores_multiply_tf32_matrices() {
    let sim = sim();
    let x: Vec<f32> = values(192).iter().map(|v| (v - 0.5) as f32).collect();
    // 10 bits of mantissa: to the nearest multiple of 2^-11 of the power of two above.
    let rounded = |x: f32| {
        let unit = 2f64.powf(f64::from(x.abs()).log2().floor() - 10.0);
        (f64::from(x) / unit).round() * unit
    };
    let wide: Vec<f64> = x.iter().map(|&v| rounded(v)).collect();
    let (from, out) = (Buffer::of(&sim, &x), Buffer::new(&sim, 512));
    let args = Test { out: out.address, x: from.address, ..Test::default() };
    launch(&sim, "test_tf32_f32", 1, 32, 0, &args).unwrap();
    for (found, expected) in out.read::<f32>().iter().zip(product(&wide[..128], &wide[128..], &[0.0; 128], 8, 8)) {
        assert!((f64::from(*found) - expected).abs() <= 3e-7, "{found}, {expected}");
    }
}

#[test]
fn tensor_core_words_need_the_whole_warp() {
    let sim = sim();
    let (x, out) = (Buffer::of(&sim, &[0u16; 512]), Buffer::of(&sim, &[0f32; 256]));
    let args = Test { out: out.address, x: x.address, ..Test::default() };
    let text = launch(&sim, "test_mma_bf16", 1, 31, 0, &args).unwrap_err().to_string();
    assert!(text.ends_with("ldmatrix without lane 31"), "{text}");
    let args = Test { x: x.address + 8, ..args };
    let text = launch(&sim, "test_mma_bf16", 1, 32, 0, &args).unwrap_err().to_string();
    assert!(text.contains("async.cuh:") && text.ends_with("is not aligned to 16 bytes"), "{text}");
}
