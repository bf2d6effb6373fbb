// Sums over rows, column by column, with the same bits in every run: partial sums of COLUMN_ROWS rows each, written side by
// side, which `add_partials` then adds in index order. A thread takes a column; neighbours read neighbouring elements.
#pragma once
#include "device.cuh"

constexpr int COLUMN_ROWS = 64; // as in src/gpu/columns.rs

// partials[chunk][c] = sum over the rows r of the chunk of value(r, c); blockIdx.x is the chunk
template <class A, class F>
__device__ __forceinline__ void column_partials(Ptr partials, int rows, int cols, F value) {
  const int c = blockIdx.y * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const int first = blockIdx.x * COLUMN_ROWS, last = first + COLUMN_ROWS < rows ? first + COLUMN_ROWS : rows;
  A sum = 0;
  for (int r = first; r < last; r++) sum += value(r, c);
  ((A*)partials)[(size_t)blockIdx.x * cols + c] = sum;
}
