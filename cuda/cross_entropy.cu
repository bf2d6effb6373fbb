// Cross entropy fused with log-softmax: a warp takes a row (common/rows.cuh). Forward writes log p and the row's loss, which
// `total` adds up; backward turns log p into the gradient where it stands.
#define KERNEL_BLOCKS 2  // up to 128 registers a thread: left alone, ptxas aims at 64 and spills in double
#include "common/rows.cuh"

KERNEL(cross_entropy_fwd, CrossEntropyFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto z = hold<T>(p.cols, row_of<T>(p.z, row, p.stride));
  const A log_sum = row_log_sum_exp<T>(p.cols, A(1), z);
  A loss = 0;
  write_row<T, A>(p.log_p, row, p.cols, p.stride, [&](int, A z, A t) {
    const A l = z - log_sum;
    if (t != A(0)) loss -= l * t;  // a zero target leaves out even an infinite term
    return l;
  }, z, row_of<T>(p.t, row, p.stride));
  loss = warp_sum(loss);
  if (lane_index() == 0) ((A*)p.loss)[row] = loss;
}

KERNEL(cross_entropy_bwd, CrossEntropyBwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto target = hold<T>(p.cols, row_of<T>(p.t, row, p.stride));
  A total = 0;
  each_column<T, A>(p.cols, [&](int, A t) { total += t; }, target);
  total = warp_sum(total);
  const A factor = *(const A*)p.dloss * A(p.scale);
  write_row<T, A>(p.dz, row, p.cols, p.stride, [=](int, A l, A t) { return factor * (exp_(l) * total - t); },
                  row_of<T>(p.dz, row, p.stride), target);
}

KERNEL(hard_target, HardTarget) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto z = hold<T>(p.cols, row_of<T>(p.z, row, p.stride));
  A top = -Limits<A>::infinity();
  each_column<T, A>(p.cols, [&](int, A z) { top = max_nan(top, z); }, z);
  top = warp_max(top);
  int best = p.cols;
  each_column<T, A>(p.cols, [&](int c, A z) { best = z == top && c < best ? c : best; }, z);
  for (int other = 16; other; other /= 2) best = min_(best, __shfl_xor_sync(ALL_LANES, best, other));
  write_row<T, A>(p.y, row, p.cols, p.stride, [=](int c) { return top != top ? top : A(c == best); });
}
