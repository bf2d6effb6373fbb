//! Matrix products large enough to be cut into pieces: every element right, whatever the cut, and equal bits at 1, 2 and 3 threads.

use espalier::cpu::gemm::{packed::Packed, tile::Kernel};
use espalier::cpu::{Mat, gemm};
use espalier::nn::Packs;
use espalier::{DType, Tensor, Var, ops};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Deterministic values about 1.
fn values(count: usize, step: f64) -> Vec<f64> {
    (0..count).map(|i| (i as f64 * step + 0.1).sin()).collect()
}

#[test]
fn pieces_of_a_product_are_those_of_the_whole() {
    // Miri is a thousand times slower.
    const K: usize = if cfg!(miri) { 2 } else { 61 };
    // One piece of columns or several, with a rest or without; one piece of rows or several.
    let sizes = [[5, 1000], [513, 95], [197, 192], [197, 193], [1030, 100], [600, 500], [1025, 385]];
    for [m, n] in sizes.into_iter().take(if cfg!(miri) { 2 } else { 7 }) {
        let (x, w) = (values(m * K, 0.7), values(n * K, 0.3));
        let tensor = |rows: usize, values: &[f64]| Var::constant(Tensor::from_slice([rows, K], values).unwrap());
        let product = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ops::linear(&tensor(m, &x), &tensor(n, &w), None).unwrap().tensor().to_f64s().unwrap())
        };
        let found = product(1);
        for (at, found) in found.iter().enumerate() {
            let (row, column) = (&x[at / n * K..][..K], &w[at % n * K..][..K]);
            let wanted: f64 = row.iter().zip(column).map(|(x, w)| x * w).sum();
            assert!((found - wanted).abs() <= 1e-12, "[{m}, {n}], element {at}: {found} is not {wanted}");
        }
        assert!(found == product(2) && found == product(3), "[{m}, {n}]");
    }
}

/// `c` of `[m, n]` by doubles, from the sums of what `f32` holds.
fn exact([m, n, k]: [usize; 3], a: impl Fn(usize, usize) -> f32, b: impl Fn(usize, usize) -> f32) -> Vec<f64> {
    let sum = |at: usize| (0..k).map(|i| f64::from(a(at / n, i)) * f64::from(b(i, at % n))).sum();
    (0..m * n).map(sum).collect()
}

#[test]
fn every_tile_of_every_processor_is_right() {
    let kernels: Vec<_> = Kernel::all().collect();
    println!("{} kinds of tiles", kernels.len());
    for kernel in kernels {
        // Rows and columns on both sides of a tile's and of a task's, one block of k and several.
        let rows = (1..=kernel.rows + 1).chain([48, 49, 100]);
        let shapes = rows.flat_map(|m| [[m, 1, 7], [m, kernel.cols, 64], [m, 3 * kernel.cols + 5, 400], [m, 200, 1]]);
        for ([m, n, k], variant) in shapes.chain([[5, 9, 0], [0, 9, 4], [197, 197, 769]]).zip((0..16).cycle()) {
            let [a_t, b_t, add, half] = [1, 2, 4, 8].map(|bit| variant & bit != 0);
            let [x, w] = [(m * k, 0.7), (n * k, 0.3)].map(|(count, step)| values(count, step));
            let [x, w] = [x, w].map(|v| v.into_iter().map(|v| v as f32).collect::<Vec<f32>>());
            let a = if a_t { Mat::new(&x, k, m).t() } else { Mat::new(&x, m, k) };
            let b = if b_t { Mat::new(&w, n, k).t() } else { Mat::new(&w, k, n) };
            let (alpha, stride) = (if half { 0.5 } else { 1.0 }, n + 3);
            let mut c = vec![7f32; m * stride];
            let calls = AtomicUsize::new(0);
            Packed::with(kernel, b).multiply(alpha, a, add, &mut c, stride, |row, column, part| {
                calls.fetch_add(part.len(), Ordering::Relaxed);
                part.iter_mut().enumerate().for_each(|(i, c)| *c += (row * 1000 + column + i) as f32);
            });
            let wanted = exact(
                [m, n, k],
                |r, i| if a_t { x[i * m + r] } else { x[r * k + i] },
                |i, c| if b_t { w[c * k + i] } else { w[i * n + c] },
            );
            for (at, found) in c.iter().enumerate() {
                let (row, column) = (at / stride, at % stride);
                let wanted = match column < n {
                    true => {
                        let start = if add { 7.0 } else { 0.0 };
                        start + f64::from(alpha) * wanted[row * n + column] + (row * 1000 + column) as f64
                    }
                    false => 7.0, // between the rows
                };
                let bound = 1e-6 * (k as f64 + 8.0 + wanted.abs());
                assert!(
                    (f64::from(*found) - wanted).abs() <= bound,
                    "[{m}, {n}, {k}] {variant} {at}: {found} {wanted}"
                );
            }
            assert_eq!(calls.into_inner(), m * n, "each element is finished once");
        }
    }
}

#[test]
fn an_element_depends_on_its_row_and_column_alone() {
    const K: usize = 770;
    let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    let (x, w) = (single(values(230 * K, 0.7)), single(values(150 * K, 0.3)));
    let product = |m: usize, n: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut c = vec![0f32; m * n];
        pool.install(|| gemm(1.0, Mat::new(&x[..m * K], m, K), Mat::new(&w[..n * K], n, K).t(), 0.0, &mut c, n));
        c
    };
    let whole = product(230, 150, 1);
    for (m, n, threads) in
        [(230, 150, 2), (230, 150, 3), (1, 150, 2), (13, 150, 1), (197, 150, 2), (50, 1, 2), (197, 33, 1)]
    {
        let part = product(m, n, threads);
        if Kernel::get().is_some() || [m, n] == [230, 150] {
            let equal = part.iter().enumerate().all(|(at, c)| c.to_bits() == whole[at / n * 150 + at % n].to_bits());
            assert!(equal, "{m} rows, {n} columns, {threads} threads");
        }
    }
}

#[test]
fn packed_weights_give_the_bits_of_plain_ones() {
    let tensor = |shape: &[usize], step: f64| {
        let values: Vec<f32> = values(shape.iter().product(), step).into_iter().map(|v| v as f32).collect();
        Var::constant(Tensor::from_slice(shape, &values).unwrap())
    };
    let (x, w, b) = (tensor(&[3, 67, 400], 0.7), tensor(&[210, 400], 0.3), tensor(&[210], 0.9));
    let packs = Packs::default();
    let Some(packed) = packs.get("w", w.tensor()) else {
        return assert!(Kernel::get().is_none());
    };
    let bits = |y: Var| -> Vec<u32> { y.tensor().slice::<f32>().unwrap().iter().map(|y| y.to_bits()).collect() };
    for b in [None, Some(&b)] {
        let plain = bits(ops::linear(&x, &w, b).unwrap());
        assert!(bits(ops::linear_packed(&x, &packed, b).unwrap()) == plain);
    }
    let gelu = ops::bias_gelu(ops::linear(&x, &w, None).unwrap(), Some(&b), None).unwrap();
    assert!(bits(ops::linear_gelu_packed(&x, &packed, Some(&b)).unwrap()) == bits(gelu));
    for wrong in [tensor(&[3, 399], 0.1), Var::constant(Tensor::full([3, 400], DType::F64, 0.0))] {
        let error = ops::linear_packed(&wrong, &packed, None).unwrap_err().to_string();
        assert!(error.contains("400] F32 in main memory"), "{error}");
    }
    assert!(ops::linear_packed(&x, &packed, Some(&tensor(&[209], 0.1))).unwrap_err().to_string().contains("[210]"));
}
