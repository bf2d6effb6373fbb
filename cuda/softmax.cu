// Softmax and log-softmax over the last axis: a warp takes a row, each lane every 32nd element. Forward reads a row three
// times (maximum, sum, result), backward twice; after the first it comes from the L1 cache.
#include "common/device.cuh"
#include "common/reduce.cuh"

KERNEL(softmax_fwd, SoftmaxFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const T* x = (const T*)p.x + (size_t)row * p.stride;
  const A* mask = p.mask ? (const A*)p.mask + (size_t)row * p.mask_stride : nullptr;
  T* y = (T*)p.y + (size_t)row * p.stride;
  A top = -Limits<A>::infinity();
  for (int c = lane; c < p.cols; c += 32) {
    if (!mask || mask[c] != A(0)) top = max_nan(top, A(x[c]));
  }
  top = warp_max(top);
  A sum = 0;
  for (int c = lane; c < p.cols; c += 32) {
    if (!mask || mask[c] != A(0)) sum += exp_(A(x[c]) - top);
  }
  const A scale = top == -Limits<A>::infinity() ? A(0) : A(1) / warp_sum(sum);
  for (int c = lane; c < p.cols; c += 32) {
    const bool living = scale != A(0) && (!mask || mask[c] != A(0));
    y[c] = living ? T(exp_(A(x[c]) - top) * scale) : T(0);
  }
}

KERNEL(softmax_bwd, SoftmaxBwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *dy = (const T*)p.dy + start, *prob = (const T*)p.p + start;
  T* dx = (T*)p.dx + start;
  A inner = 0;
  for (int c = lane; c < p.cols; c += 32) inner += A(dy[c]) * A(prob[c]);
  inner = warp_sum(inner);
  for (int c = lane; c < p.cols; c += 32) dx[c] = T(A(prob[c]) * (A(dy[c]) - inner));
}

KERNEL(log_softmax_fwd, LogSoftmaxFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const T* x = (const T*)p.x + (size_t)row * p.stride;
  T* y = (T*)p.y + (size_t)row * p.stride;
  const A log_sum = warp_log_sum_exp<A>(p.cols, [=](int c) { return A(x[c]); });
  for (int c = lane; c < p.cols; c += 32) y[c] = T(A(x[c]) - log_sum);
}

KERNEL(log_softmax_bwd, LogSoftmaxBwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *dy = (const T*)p.dy + start, *y = (const T*)p.y + start;
  T* dx = (T*)p.dx + start;
  A sum = 0;
  for (int c = lane; c < p.cols; c += 32) sum += A(dy[c]);
  sum = warp_sum(sum);
  for (int c = lane; c < p.cols; c += 32) dx[c] = T(A(dy[c]) - exp_(A(y[c])) * sum);
}
