// Softmax and log-softmax over the last axis: a warp takes a row (common/rows.cuh).
#define KERNEL_BLOCKS 2  // up to 128 registers a thread: left alone, ptxas aims at 64 and spills in double
#include "common/rows.cuh"

KERNEL(softmax_fwd, SoftmaxFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const Row<T> values = row_of<T>(p.x, row, p.stride);
  const A* mask = p.mask ? (const A*)p.mask + (size_t)row * p.mask_stride : nullptr;
  const A none = -Limits<A>::infinity();
  // Dead keys count as minus infinity.
  const auto x = hold<T>(p.cols, [=](int c) {
    auto some = values(c);
    if (!mask) return some;
    const auto living = load_all<VEC<T>>(mask + c);
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) some.at[k] = living.at[k] == A(0) ? T(none) : some.at[k];
    return some;
  });
  A top = none, sum = 0;
  each_column<T, A>(p.cols, [&](int, A x) { top = max_nan(top, x); }, x);
  top = warp_max(top);
  each_column<T, A>(p.cols, [&](int, A x) { sum += exp_(x - top); }, x);
  const A scale = top == none ? A(0) : A(1) / warp_sum(sum);
  write_row<T, A>(p.y, row, p.cols, p.stride, [=](int, A x) { return scale == A(0) ? A(0) : exp_(x - top) * scale; }, x);
}

KERNEL(softmax_bwd, SoftmaxBwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto dy = hold<T>(p.cols, row_of<T>(p.dy, row, p.stride)), prob = hold<T>(p.cols, row_of<T>(p.p, row, p.stride));
  A inner = 0;
  each_column<T, A>(p.cols, [&](int, A dy, A prob) { inner += dy * prob; }, dy, prob);
  inner = warp_sum(inner);
  write_row<T, A>(p.dx, row, p.cols, p.stride, [=](int, A dy, A prob) { return prob * (dy - inner); }, dy, prob);
}

KERNEL(log_softmax_fwd, LogSoftmaxFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto x = hold<T>(p.cols, row_of<T>(p.x, row, p.stride));
  const A log_sum = row_log_sum_exp<T>(p.cols, A(1), x);
  write_row<T, A>(p.y, row, p.cols, p.stride, [=](int, A x) { return x - log_sum; }, x);
}

KERNEL(log_softmax_bwd, LogSoftmaxBwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto dy = hold<T>(p.cols, row_of<T>(p.dy, row, p.stride));
  A sum = 0;
  each_column<T, A>(p.cols, [&](int, A dy) { sum += dy; }, dy);
  sum = warp_sum(sum);
  write_row<T, A>(p.dx, row, p.cols, p.stride, [=](int, A dy, A y) { return dy - exp_(y) * sum; }, dy,
                  row_of<T>(p.y, row, p.stride));
}
