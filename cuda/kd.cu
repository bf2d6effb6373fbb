// Distillation by divergence, fused with both log-softmaxes: a warp takes a row (common/rows.cuh). Writes p - q, which is all
// that the gradient needs, and the row's divergence.
#include "common/rows.cuh"

KERNEL(kd_fwd, KdFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto student = hold<T>(p.cols, row_of<T>(p.student, row, p.stride));
  const auto teacher = hold<T>(p.cols, row_of<T>(p.teacher, row, p.stride));
  const A scale = A(p.inverse_tau);
  const A log_sum_p = row_log_sum_exp<T>(p.cols, scale, student), log_sum_q = row_log_sum_exp<T>(p.cols, scale, teacher);
  A sum = 0;
  write_row<T, A>(p.gap, row, p.cols, p.stride, [&](int, A student, A teacher) {
    const A log_p = student * scale - log_sum_p, log_q = teacher * scale - log_sum_q, q = exp_(log_q);
    if (q > A(0)) sum += q * (log_q - log_p);
    return exp_(log_p) - q;
  }, student, teacher);
  sum = warp_sum(sum);
  if (lane_index() == 0) ((A*)p.sum)[row] = sum;
}
