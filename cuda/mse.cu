// Element-wise losses: a block takes a chunk of 4,096 stored elements, writes every element's gap, which is all that the
// gradient needs, and the chunk's sum. Cross entropy is not 0 at zeros, so it leaves out those behind the rows.
#include "common/chunks.cuh"

KERNEL(mse_fwd, MseFwd) {
  const T *a = (const T*)p.a, *b = (const T*)p.b;
  T* gap = (T*)p.gap;
  chunk_partials<A>(p.partials, p.count, [=](long long i) {
    const A g = A(a[i]) - A(b[i]);
    gap[i] = T(g);
    return g * g;
  });
}

KERNEL(bce_fwd, BceFwd) {
  const T *logits = (const T*)p.z, *target = (const T*)p.t;
  T* gap = (T*)p.gap;
  const int cols = p.cols, stride = p.stride;
  chunk_partials<A>(p.partials, p.count, [=](long long i) {
    if (column_of(i, stride) >= cols) return A(0);
    const A z = A(logits[i]), t = A(target[i]);
    gap[i] = T(A(1) / (A(1) + exp_(-z)) - t);
    return max_(z, A(0)) - z * t + log1p_(exp_(-abs_(z)));
  });
}
