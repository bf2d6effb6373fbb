//! Tiles of a product that stay in registers: 12 rows of 32 columns with AVX-512, 6 rows of 16 with AVX2.
//!
//! A tile walks along `k`. Each step loads one row of a packed panel of `b`, two vectors, and multiplies it with one element of
//! each row of `a`, which is read where it lies: the 12 × 2 sums leave just enough registers for that, and every step has 24
//! multiply-adds for 14 loads. All rows of a result go through the same steps whatever their number, so an element's bits
//! depend on its row of `a`, its column of `b`, and `k` alone.

/// The most elements that a tile has.
pub const MOST: usize = 12 * 32;

/// What a tile reads and writes.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "a line says it for those that belong together")]
pub struct Walk {
    /// Steps.
    pub k: usize,
    /// The first row of `a`: element `(r, k)` is `a_row · r + a_col · k` further.
    pub a: *const f32,
    pub a_row: usize,
    pub a_col: usize,
    /// A panel: `k` rows of a tile's width.
    pub b: *const f32,
    /// The result, `stride` from row to row: `c = alpha a b`, or `c += alpha a b`.
    pub c: *mut f32,
    pub stride: usize,
    pub alpha: f32,
    pub add: bool,
}

/// The tiles of a kind of processor.
#[expect(missing_docs, reason = "a line says it for both")]
pub struct Kernel {
    /// Rows and columns of the largest tile.
    pub rows: usize,
    pub cols: usize,
    /// Tiles of 1, 2, … rows.
    tiles: &'static [unsafe fn(&Walk)],
}

impl Kernel {
    /// That of this processor; `None` where there is only the `gemm` crate.
    pub fn get() -> Option<&'static Self> {
        Self::all().next()
    }

    /// All that this processor has, the widest first.
    #[cfg(target_arch = "x86_64")]
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let wide = is_x86_feature_detected!("avx512f").then_some(&x86::AVX512);
        let narrow = (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&x86::AVX2);
        wide.into_iter().chain(narrow)
    }

    /// None yet for other processors.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn all() -> impl Iterator<Item = &'static Self> {
        std::iter::empty()
    }

    /// One tile of `rows` rows.
    ///
    /// # Safety
    /// `walk` must describe readable `a` (of `rows` rows) and `b`, and a writable `c` that nobody else uses.
    pub unsafe fn run(&self, rows: usize, walk: &Walk) {
        // SAFETY: the caller's promise; `get` and `all` give only kernels that the processor has.
        unsafe { self.tiles[rows - 1](walk) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Walk};
    use std::arch::x86_64::*;

    macro_rules! tile {
        ($name:ident, $feature:literal, $lanes:literal, $zero:ident, $load:ident, $splat:ident, $fma:ident, $mul:ident, $store:ident) => {
            #[target_feature(enable = $feature)]
            unsafe fn $name<const ROWS: usize>(walk: &Walk) {
                let &Walk { k, a, a_row, a_col, mut b, c, stride, alpha, add } = walk;
                // SAFETY: `Kernel::run`'s caller promises that `ROWS` rows of `a` and `c` and `k` rows of `b` are there.
                unsafe {
                    let mut sums = [[$zero(); 2]; ROWS];
                    for step in 0..k {
                        let right = [$load(b), $load(b.add($lanes))];
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let left = $splat(*a.add(r * a_row + step * a_col));
                            *sums = [$fma(left, right[0], sums[0]), $fma(left, right[1], sums[1])];
                        }
                        b = b.add(2 * $lanes);
                    }
                    let alpha = $splat(alpha);
                    for (r, sums) in sums.iter().enumerate() {
                        for (v, sum) in sums.iter().enumerate() {
                            let to = c.add(r * stride + v * $lanes);
                            $store(to, if add { $fma(alpha, *sum, $load(to)) } else { $mul(alpha, *sum) });
                        }
                    }
                }
            }
        };
    }

    tile!(
        avx512, "avx512f", 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_mul_ps,
        _mm512_storeu_ps
    );
    tile!(
        avx2, "avx2,fma", 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_mul_ps,
        _mm256_storeu_ps
    );

    pub static AVX512: Kernel = Kernel {
        rows: 12,
        cols: 32,
        tiles: &[
            avx512::<1>, avx512::<2>, avx512::<3>, avx512::<4>, avx512::<5>, avx512::<6>, avx512::<7>, avx512::<8>,
            avx512::<9>, avx512::<10>, avx512::<11>, avx512::<12>,
        ],
    };
    pub static AVX2: Kernel =
        Kernel { rows: 6, cols: 16, tiles: &[avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>] };
}
