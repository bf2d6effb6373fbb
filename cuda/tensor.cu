// What the tensor itself needs: one thread an element, neighbours in memory to neighbouring threads.
#include "common/device.cuh"

KERNEL(fill, Fill) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < (long long)p.rows * p.stride) ((T*)p.out)[i] = i % p.stride < p.cols ? T(p.value) : T(0);
}

KERNEL(accumulate, Accumulate) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < p.count) ((T*)p.out)[i] += ((const T*)p.x)[i];
}

KERNEL(repitch, Repitch) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.count) return;
  const long long from = i / p.x_cols * p.x_stride + i % p.x_cols, to = i / p.cols * p.stride + i % p.cols;
  ((T*)p.out)[to] = ((const T*)p.x)[from];
}
