//! Tensors and what the CPU kernels share: memory, matrix products, vector functions.

use espalier::cpu::math::{INV_SQRT_2PI, exp, normal_cdf_pdf};
use espalier::cpu::{Mat, gemm};
use espalier::{DType, Tensor};

#[test]
fn clones_never_see_a_later_write() {
    let a = Tensor::from_slice([2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
    let mut b = a.clone();
    b.slice_mut::<f32>().unwrap()[0] = 9.0;
    assert_eq!(a.slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(b.slice::<f32>().unwrap(), [9.0, 2.0, 3.0, 4.0]);
}

#[test]
fn rows_share_memory_and_reshape_checks_the_size() {
    let a = Tensor::from_slice([3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let rows = a.rows(1, 3).unwrap();
    assert!(rows.is_shared());
    assert_eq!(rows.slice::<f32>().unwrap(), [2.0, 3.0, 4.0, 5.0]);
    assert!(a.reshape([4, 2]).is_err() && a.rows(2, 4).is_err() && a.slice::<i32>().is_err());
}

#[test]
fn storage_is_aligned_to_64_bytes() {
    for n in [1, 7, 100, 4097] {
        let tensor = Tensor::zeros([n], DType::F32);
        assert_eq!(tensor.bytes().unwrap().as_ptr() as usize % 64, 0);
    }
}

fn naive(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    (0..m * n).map(|i| (0..k).map(|x| a[i / n * k + x] * b[x * n + i % n]).sum()).collect()
}

#[test]
fn agrees_with_the_triple_loop_for_every_layout() {
    for (m, n, k) in [(1, 1, 1), (3, 5, 7), (200, 33, 17), (17, 400, 65), (2, 3, 0)] {
        let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.3).cos()).collect();
        let at: Vec<f64> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
        let bt: Vec<f64> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
        let expected = naive(&a, &b, m, n, k);
        for (x, y) in [
            (Mat::new(&a, m, k), Mat::new(&b, k, n)),
            (Mat::new(&at, k, m).t(), Mat::new(&b, k, n)),
            (Mat::new(&a, m, k), Mat::new(&bt, n, k).t()),
        ] {
            let mut c = vec![1.0; m * n];
            gemm(2.0, x, y, 1.0, &mut c, n);
            for (got, want) in c.iter().zip(&expected) {
                approx::assert_abs_diff_eq!(*got, 1.0 + 2.0 * want, epsilon = 1e-9);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (m, n, k) = (700, 130, 300);
    let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.3).cos()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut c = vec![0f32; m * n];
        pool.install(|| gemm(1.0, Mat::new(&a, m, k), Mat::new(&b, k, n), 0.0, &mut c, n));
        c
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn exp_agrees_with_the_library() {
    for i in -8700..8800 {
        let x = i as f32 * 0.01;
        approx::assert_relative_eq!(exp(x), x.exp(), max_relative = 4e-7);
    }
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn normal_cdf_agrees_with_erfc() {
    for i in -1400..1400 {
        let x = i as f32 * 0.01;
        let (cdf, pdf) = normal_cdf_pdf(x);
        let exact = 0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2);
        approx::assert_abs_diff_eq!(f64::from(cdf), exact, epsilon = 1.5e-7);
        let density = (-0.5 * f64::from(x).powi(2)).exp() * INV_SQRT_2PI;
        approx::assert_abs_diff_eq!(f64::from(pdf), density, epsilon = 1e-7);
    }
    assert!(normal_cdf_pdf(f32::NAN).0.is_nan());
}

#[cfg(feature = "sim")]
#[test]
fn a_constant_tensor_on_a_device_has_zeros_behind_its_rows() {
    use espalier::Device;
    let like = Tensor::zeros([1], DType::F32).to_device(Device::CudaSim).unwrap();
    for (rows, cols, stored) in [(3, 5, 8), (2, 16, 16), (1, 9, 16)] {
        let tensor = like.new_full([rows, cols], 2.5).unwrap();
        assert_eq!(tensor.to_f64s().unwrap(), vec![2.5; rows * cols]);
        let bytes = tensor.stored_bytes().unwrap();
        let memory: Vec<f32> = bytes.chunks(4).map(|v| f32::from_ne_bytes([v[0], v[1], v[2], v[3]])).collect();
        assert_eq!(memory.len(), rows * stored);
        let is_right = |(i, v): (usize, &f32)| *v == if i % stored < cols { 2.5 } else { 0.0 };
        assert!(memory.iter().enumerate().all(is_right), "{rows} x {cols}: {memory:?}");
    }
}

/// To nearest, ties to even, and what is beyond a tie by the last bit of an `f32` is none.
#[test]
fn halves_are_rounded_by_every_bit() {
    for (dtype, tie, one) in [(DType::BF16, 0x8000, 0x3f80u16), (DType::F16, 0x1000, 0x3c00)] {
        let values = [tie - 1, tie, tie + 1, 3 * tie - 1, 3 * tie].map(|low| f32::from_bits(0x3f80_0000 + low));
        let rounded = Tensor::from_slice([5], &values).unwrap().to_dtype(dtype).unwrap();
        let bits: Vec<u16> =
            rounded.bytes().unwrap().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(bits, [one, one, one + 1, one + 1, one + 2], "{dtype:?}");
    }
}
