// Element-wise losses: a block takes a chunk of 4,096 stored elements (common/chunks.cuh), writes every element's gap, which is
// all that the gradient needs, and the chunk's sum. Cross entropy is not 0 at zeros, so it leaves out those behind the rows.
#include "common/chunks.cuh"

KERNEL(mse_fwd, MseFwd) {
  const auto square = [](A& gap, A a, A b) {
    gap = a - b;
    return gap * gap;
  };
  chunk_partials<T, A>(p.partials, (T*)p.gap, p.count, square, elements<T>(p.a), elements<T>(p.b));
}

KERNEL(bce_fwd, BceFwd) {
  const auto entropy = [](A& gap, A z, A t, A inside) {
    if (inside == A(0)) return A(0);
    gap = A(1) / (A(1) + exp_(-z)) - t;
    return max_(z, A(0)) - z * t + log1p_(exp_(-abs_(z)));
  };
  chunk_partials<T, A>(p.partials, (T*)p.gap, p.count, entropy, elements<T>(p.z), elements<T>(p.t), Inside{p.cols, p.stride});
}
