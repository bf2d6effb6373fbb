// Distillation by divergence, fused with both log-softmaxes: a warp takes a row, each lane every 32nd element. Writes
// p - q, which is all that the gradient needs, and the row's divergence.
#include "common/reduce.cuh"

KERNEL(kd_fwd, KdFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *student = (const T*)p.student + start, *teacher = (const T*)p.teacher + start;
  T* gap = (T*)p.gap + start;
  const A scale = A(p.inverse_tau);
  const A log_sum_p = warp_log_sum_exp<A>(p.cols, [=](int c) { return A(student[c]) * scale; });
  const A log_sum_q = warp_log_sum_exp<A>(p.cols, [=](int c) { return A(teacher[c]) * scale; });
  A sum = 0;
  for (int c = lane; c < p.cols; c += 32) {
    const A log_p = A(student[c]) * scale - log_sum_p, log_q = A(teacher[c]) * scale - log_sum_q, q = exp_(log_q);
    if (q > A(0)) sum += q * (log_q - log_p);
    gap[c] = T(exp_(log_p) - q);
  }
  sum = warp_sum(sum);
  if (lane == 0) ((A*)p.sum)[row] = sum;
}
