// Softmax over the last axis: a warp takes a row, each lane every 32nd element. The row is read three times (maximum, sum,
// result); after the first it comes from the L1 cache.
#include "common/device.cuh"
#include "common/reduce.cuh"

KERNEL(softmax_fwd, SoftmaxFwd) {
  const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= p.rows) return;
  const T* x = (const T*)p.x + (size_t)row * p.stride;
  const T* mask = p.mask ? (const T*)p.mask + (size_t)row * p.mask_stride : nullptr;
  T* y = (T*)p.y + (size_t)row * p.stride;
  A top = -Limits<A>::infinity();
  for (int c = lane; c < p.cols; c += 32) {
    if (!mask || mask[c] != T(0)) top = max_nan(top, A(x[c]));
  }
  top = warp_max(top);
  A sum = 0;
  for (int c = lane; c < p.cols; c += 32) {
    if (!mask || mask[c] != T(0)) sum += exp_(A(x[c]) - top);
  }
  const A scale = top == -Limits<A>::infinity() ? A(0) : A(1) / warp_sum(sum);
  for (int c = lane; c < p.cols; c += 32) {
    const bool living = scale != A(0) && (!mask || mask[c] != T(0));
    y[c] = living ? T(exp_(A(x[c]) - top) * scale) : T(0);
  }
}
