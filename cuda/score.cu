// Accumulated scores: one thread an element; zeros behind the rows stay zeros.
#include "common/device.cuh"

KERNEL(taylor_accumulate, TaylorAccumulate) {
  const long long i = element_index();
  if (i >= p.count) return;
  const A derivative = A(((const T*)p.gate)[i]) * A(((const T*)p.grad)[i]);
  ((T*)p.sum)[i] = T(A(((const T*)p.sum)[i]) + derivative * derivative);
}
