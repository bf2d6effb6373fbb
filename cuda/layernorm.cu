// LayerNorm: a warp takes a row, each lane every 32nd element. Forward reads a row three times (mean, variance by the
// second pass, result), the sum with the branch computed each time; after the first they come from the L1 cache. Only
// the last pass writes, so the sum may lie on x. Backward reads twice. The gradient of gamma runs down the columns, one
// thread each.
#include "common/columns.cuh"
#include "common/reduce.cuh"

KERNEL(layernorm_fwd, LayernormFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *x = (const T*)p.x + start, *branch = p.branch ? (const T*)p.branch + start : nullptr;
  const A *gamma = (const A*)p.gamma, *beta = (const A*)p.beta;
  T *y = (T*)p.y + start, *sum = branch ? (T*)p.sum + start : nullptr;
  const A s = p.s ? ((const A*)p.s)[row / p.sample_rows] : A(1);
  // Rounded to T, as the sum will be read later.
  auto value = [&](int c) { return branch ? A(T(A(x[c]) + s * A(branch[c]))) : A(x[c]); };
  A mean = 0, var = 0;
  for (int c = lane; c < p.cols; c += 32) mean += value(c);
  mean = warp_sum(mean) / A(p.cols);
  for (int c = lane; c < p.cols; c += 32) var += (value(c) - mean) * (value(c) - mean);
  const A rstd = A(1) / sqrt_(warp_sum(var) / A(p.cols) + A(p.eps));
  if (lane == 0) {
    A* stats = (A*)p.stats + (size_t)row * 2;
    stats[0] = mean, stats[1] = rstd;
  }
  for (int c = lane; c < p.cols; c += 32) {
    const A v = value(c);
    if (sum) sum[c] = T(v);
    y[c] = T((v - mean) * rstd * gamma[c] + beta[c]);
  }
}

KERNEL(layernorm_bwd, LayernormBwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *dy = (const T*)p.dy + start, *x = (const T*)p.x + start;
  const T* dsum = p.dsum ? (const T*)p.dsum + start : nullptr;
  const A *gamma = (const A*)p.gamma, *stats = (const A*)p.stats + (size_t)row * 2;
  T* dx = (T*)p.dx + start;
  const A mean = stats[0], rstd = stats[1];
  A h = 0, hn = 0;
  for (int c = lane; c < p.cols; c += 32) {
    const A g = A(dy[c]) * gamma[c];
    h += g, hn += g * (A(x[c]) - mean) * rstd;
  }
  h = warp_sum(h) / A(p.cols), hn = warp_sum(hn) / A(p.cols);
  for (int c = lane; c < p.cols; c += 32) {
    const A n = (A(x[c]) - mean) * rstd, d = rstd * (A(dy[c]) * gamma[c] - h - n * hn);
    dx[c] = T(dsum ? d + A(dsum[c]) : d);
  }
}

KERNEL(layernorm_gamma, LayernormGamma) {
  const A* stats = (const A*)p.stats;
  column_partials<A>(p.partials, p.rows, p.cols, [&](int r, int c) {
    const size_t i = (size_t)r * p.stride + c;
    return A(((const T*)p.dy)[i]) * (A(((const T*)p.x)[i]) - stats[2 * (size_t)r]) * stats[2 * (size_t)r + 1];
  });
}
