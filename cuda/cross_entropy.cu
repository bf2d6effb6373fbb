// Cross entropy fused with log-softmax: a warp takes a row, each lane every 32nd element. Forward writes log p and the
// row's loss, which `total` adds up; backward turns log p into the gradient where it stands.
#include "common/reduce.cuh"

KERNEL(cross_entropy_fwd, CrossEntropyFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *z = (const T*)p.z + start, *target = (const T*)p.t + start;
  T* log_p = (T*)p.log_p + start;
  const A log_sum = warp_log_sum_exp<A>(p.cols, [=](int c) { return A(z[c]); });
  A loss = 0;
  for (int c = lane; c < p.cols; c += 32) {
    const A l = A(z[c]) - log_sum, t = A(target[c]);
    log_p[c] = T(l);
    if (t != A(0)) loss -= l * t;  // a zero target leaves out even an infinite term
  }
  loss = warp_sum(loss);
  if (lane == 0) ((A*)p.loss)[row] = loss;
}

KERNEL(cross_entropy_bwd, CrossEntropyBwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T* target = (const T*)p.t + start;
  T* dz = (T*)p.dz + start;
  A total = 0;
  for (int c = lane; c < p.cols; c += 32) total += A(target[c]);
  total = warp_sum(total);
  const A factor = *(const A*)p.dloss * A(p.scale);
  for (int c = lane; c < p.cols; c += 32) dz[c] = T(factor * (exp_(A(dz[c])) * total - A(target[c])));
}

KERNEL(hard_target, HardTarget) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const T* z = (const T*)p.z + (size_t)row * p.stride;
  T* y = (T*)p.y + (size_t)row * p.stride;
  A top = -Limits<A>::infinity();
  for (int c = lane; c < p.cols; c += 32) top = max_nan(top, A(z[c]));
  top = warp_max(top);
  int best = p.cols;
  for (int c = lane; c < p.cols && best == p.cols; c += 32) best = A(z[c]) == top ? c : best;
  for (int other = 16; other; other /= 2) best = min_(best, __shfl_xor_sync(ALL_LANES, best, other));
  for (int c = lane; c < p.cols; c += 32) y[c] = top != top ? T(top) : T(c == best ? 1 : 0);
}
