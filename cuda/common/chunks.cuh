// Sums over all elements, with the same bits in every run: a block adds CHUNK elements, `total` (tensor.cu) the blocks' sums.
#pragma once
#include "reduce.cuh"

constexpr int CHUNK = 4096; // as in src/gpu/columns.rs

// partials[chunk] = sum of value(i) over the elements i of the chunk; blockIdx.x is the chunk
template <class A, class F>
__device__ __forceinline__ void chunk_partials(Ptr partials, long long count, F value) {
  const long long first = (long long)blockIdx.x * CHUNK, last = min_(first + CHUNK, count);
  A sum = 0;
  for (long long i = first + threadIdx.x; i < last; i += blockDim.x) sum += value(i);
  sum = block_sum(sum);
  if (threadIdx.x == 0) ((A*)partials)[blockIdx.x] = sum;
}
