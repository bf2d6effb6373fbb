//! Many tensors in one launch, cut into pieces of equal size: see `cuda/common/pieces.cuh`.

/// Elements that a block takes, as in `cuda/common/pieces.cuh`.
const PIECE: usize = 4096;

/// The first block of each of `counts` elements, and the number of blocks of all.
pub fn pieces(counts: impl IntoIterator<Item = usize>) -> (Vec<i64>, usize) {
    let mut blocks = 0;
    let mut next = |count: usize| {
        let first = blocks;
        blocks += count.div_ceil(PIECE);
        first as i64
    };
    let firsts = counts.into_iter().map(&mut next).collect();
    (firsts, blocks)
}
