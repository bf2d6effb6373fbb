// Sums and maxima over a warp and over a block, the same bits in every run and in every lane. The lanes of a warp are all
// there: blocks are one-dimensional, of a multiple of 32 threads, and no lane has returned alone.
#pragma once
#include "math.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;

template <class A> __device__ __forceinline__ A warp_sum(A v) {
  for (int lane = 16; lane; lane /= 2) v += __shfl_xor_sync(ALL_LANES, v, lane);
  return v;
}

// The maximum; NaN when a lane has NaN.
template <class A> __device__ __forceinline__ A warp_max(A v) {
  for (int lane = 16; lane; lane /= 2) v = max_nan(v, __shfl_xor_sync(ALL_LANES, v, lane));
  return v;
}

// Over a quad: the four lanes that hold a row of a tensor core's tile.
template <class A> __device__ __forceinline__ A quad_sum(A v) {
  for (int lane = 2; lane; lane /= 2) v += __shfl_xor_sync(ALL_LANES, v, lane);
  return v;
}
template <class A> __device__ __forceinline__ A quad_max(A v) {
  for (int lane = 2; lane; lane /= 2) v = max_nan(v, __shfl_xor_sync(ALL_LANES, v, lane));
  return v;
}

// What `merge` makes of every warp's `v`, in the order of the warps. `parts` are free again on return.
template <class A, class Merge> __device__ __forceinline__ A over_warps(A v, A* parts, Merge merge) {
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  v = parts[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; warp++) v = merge(v, parts[warp]);
  __syncthreads();
  return v;
}

// The sum over the block, in every thread; every thread of the block has to come here.
template <class A> __device__ __forceinline__ A block_sum(A v) {
  SHARED(A, parts, 32);
  return over_warps(warp_sum(v), &parts[0], [](A a, A b) { return a + b; });
}

// The maximum over the block, in every thread; NaN when a thread has NaN.
template <class A> __device__ __forceinline__ A block_max(A v) {
  SHARED(A, parts, 32);
  return over_warps(warp_max(v), &parts[0], [](A a, A b) { return max_nan(a, b); });
}
