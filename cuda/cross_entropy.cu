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
  if (lane == 0) ((T*)p.loss)[row] = T(loss);
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
  const A factor = A(*(const T*)p.dloss) * A(p.scale);
  for (int c = lane; c < p.cols; c += 32) dz[c] = T(factor * (exp_(A(dz[c])) * total - A(target[c])));
}
