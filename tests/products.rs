//! Matrix products large enough to be cut into pieces: every element right, whatever the cut, and equal bits at 1, 2 and 3 threads.

use espalier::{Tensor, Var, ops};

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
