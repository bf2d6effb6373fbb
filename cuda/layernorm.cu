// LayerNorm: a warp takes a row (common/rows.cuh), which forward reads once up to 1,024 columns, backward up to 768. Rows that
// are read again still lie where they lay: forward writes the sum last, so that it may lie on x. The gradients of gamma and
// beta come from one pass down the columns (common/columns.cuh): dy is read once instead of twice, so that the backward pass
// reads and writes 6 times the size of dy, not 7, with a gradient of the sum.
#include "common/columns.cuh"
#include "common/rows.cuh"

KERNEL(layernorm_fwd, LayernormFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const Row<T> x = row_of<T>(p.x, row, p.stride), branch = row_of<T>(p.branch, row, p.stride);
  const A s = p.s ? ((const A*)p.s)[row / p.sample_rows] : A(1);
  const auto v = hold<T>(p.cols, [=](int c) {
    auto some = x(c);
    if (!branch.p) return some;
    const auto other = branch(c);
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) some.at[k] = T(A(some.at[k]) + s * A(other.at[k]));  // as the sum will be read later
    return some;
  });
  A mean = 0, var = 0;
  each_column<T, A>(p.cols, [&](int, A v) { mean += v; }, v);
  mean = warp_sum(mean) / A(p.cols);
  each_column<T, A>(p.cols, [&](int, A v) { var += (v - mean) * (v - mean); }, v);
  const A rstd = A(1) / sqrt_(warp_sum(var) / A(p.cols) + A(p.eps));
  if (lane_index() == 0) {
    A* stats = (A*)p.stats + (size_t)row * 2;
    stats[0] = mean, stats[1] = rstd;
  }
  write_row<T, A>(p.y, row, p.cols, p.stride, [=](int, A v, A gamma, A beta) { return (v - mean) * rstd * gamma + beta; }, v,
                  of_columns<T, A>(p.gamma), of_columns<T, A>(p.beta));
  if (p.branch) write_row<T, A>(p.sum, row, p.cols, p.stride, [](int, A v) { return v; }, v);
}

KERNEL(layernorm_bwd, LayernormBwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  constexpr int H = HELD<T> * 3 / 4; // three rows of up to 768 columns: of more, registers would be spilled
  const auto dy = hold<T, H>(p.cols, row_of<T>(p.dy, row, p.stride)), x = hold<T, H>(p.cols, row_of<T>(p.x, row, p.stride));
  const auto dsum = hold<T, H>(p.cols, [=, all = row_of<T>(p.dsum, row, p.stride)](int c) { return all.at(0, c); });
  const auto gamma = of_columns<T, A>(p.gamma);
  const A *stats = (const A*)p.stats + (size_t)row * 2, mean = stats[0], rstd = stats[1];
  A h = 0, hn = 0;
  each_column<T, A>(p.cols, [&](int, A dy, A x, A gamma) {
    h += dy * gamma, hn += dy * gamma * (x - mean) * rstd;
  }, dy, x, gamma);
  h = warp_sum(h) / A(p.cols), hn = warp_sum(hn) / A(p.cols);
  write_row<T, A>(p.dx, row, p.cols, p.stride, [=](int, A dy, A x, A gamma, A dsum) {
    return rstd * (dy * gamma - h - (x - mean) * rstd * hn) + dsum;
  }, dy, x, gamma, dsum);
}

KERNEL(layernorm_columns, LayernormColumns) {
  column_partials<T, A, 2>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto dy = some_of_row<T>(p.dy, r, c, p.stride), x = some_of_row<T>(p.x, r, c, p.stride);
    const A *stats = (const A*)p.stats + (size_t)r * 2, mean = stats[0], rstd = stats[1];
    for (int k = 0; k < VEC<T>; k++) {
      sums[0].at[k] += A(dy.at[k]) * (A(x.at[k]) - mean) * rstd;
      sums[1].at[k] += A(dy.at[k]);
    }
  });
}
