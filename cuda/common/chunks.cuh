// Sums over all elements, with the same bits in every run: a block adds CHUNK elements, `total` (tensor.cu) the blocks' sums.
#pragma once
#include "elements.cuh"
#include "reduce.cuh"

constexpr int CHUNK = 4096; // as in src/gpu/columns.rs

// partials[chunk] = sum of f(rest, x[i]...) over the elements i of the chunk, and rest[i] = what f left in `rest`, if there is
// such a tensor; blockIdx.x is the chunk
template <class T, class A, class F, class... Source>
__device__ __forceinline__ void chunk_partials(Ptr partials, T* rests, long long count, F f, const Source&... x) {
  const long long first = (long long)blockIdx.x * CHUNK, last = min_(first + CHUNK, count);
  const bool whole = aligned(rests);
  A sum = 0;
  each_vec<T, CHUNK / KERNEL_THREADS / VEC<T>>(first, last, [&](long long i, const auto&... some) {
    Some<T, VEC<T>> out;
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) {
      A rest = 0;
      if (i + k < last) sum += f(rest, A(some.at[k])...);
      out.at[k] = T(rest);
    }
    if (rests) store_some(rests + i, out, last - i, whole);
  }, x...);
  sum = block_sum(sum);
  if (threadIdx.x == 0) ((A*)partials)[blockIdx.x] = sum;
}
