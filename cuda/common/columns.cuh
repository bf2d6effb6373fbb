// Sums over rows, column by column, with the same bits in every run: a block adds COLUMN_ROWS rows of 16 Vecs of columns, each
// 16 threads some of the rows, then the block their sums in index order. `add_partials` (tensor.cu) adds up what the blocks
// wrote. A block is small enough for 384 columns to fill a card, and each thread has its rows' loads under way at once.
#pragma once
#include "vec.cuh"

constexpr int COLUMN_ROWS = 64; // as in src/gpu/columns.rs
constexpr int COLUMN_VECS = 16; // as in src/gpu/columns.rs

// Elements from row to row of partial sums.
__device__ __forceinline__ int partials_stride(int cols) { return (cols + 7) / 8 * 8; }

// The Vec at column c of row r, zeros behind the row.
template <class T> __device__ __forceinline__ Some<T, VEC<T>> some_of_row(Ptr p, int r, int c, int stride) {
  return load_some<VEC<T>>((const T*)p + (size_t)r * stride + c, stride - c, whole_rows<T>(stride));
}

// The first of the Vec of columns that this thread takes, and the first of its COLUMN_EACH rows.
constexpr int COLUMN_GROUPS = KERNEL_THREADS / COLUMN_VECS, COLUMN_EACH = COLUMN_ROWS / COLUMN_GROUPS;
template <class T> __device__ __forceinline__ int thread_column() {
  return (blockIdx.y * COLUMN_VECS + threadIdx.x % COLUMN_VECS) * VEC<T>;
}
__device__ __forceinline__ int thread_row() { return blockIdx.x * COLUMN_ROWS + threadIdx.x / COLUMN_VECS * COLUMN_EACH; }

// At row k of `partials`, SUMS rows a chunk: what add(r, c, sums) adds to sums[m].at[j] for column c + j and all rows r of chunk
// k / SUMS with m = k % SUMS. blockIdx.x is the chunk; UNDER_WAY rows are loaded before the first is added.
template <class T, class A, int SUMS, int UNDER_WAY = COLUMN_EACH, class Add>
__device__ __forceinline__ void column_partials(Ptr partials, int rows, int cols, Add add) {
  constexpr int N = VEC<T>, WIDTH = COLUMN_VECS * N;
  SHARED(A, parts, SUMS * COLUMN_GROUPS * WIDTH);
  const int lane = threadIdx.x % COLUMN_VECS, group = threadIdx.x / COLUMN_VECS, c = thread_column<T>();
  Some<A, N> sums[SUMS];
#pragma unroll
  for (int m = 0; m < SUMS; m++) sums[m] = fill_some<N>(A(0));
#pragma unroll UNDER_WAY
  for (int k = 0; k < COLUMN_EACH; k++) {
    const int r = thread_row() + k;
    if (r < rows && c < cols) add(r, c, sums);
  }
#pragma unroll
  for (int m = 0; m < SUMS; m++) store_all(&parts[(m * COLUMN_GROUPS + group) * WIDTH + lane * N], sums[m]);
  __syncthreads();
  for (int k = threadIdx.x; k < SUMS * WIDTH; k += blockDim.x) {
    const int m = k / WIDTH, column = blockIdx.y * WIDTH + k % WIDTH;
    if (column >= cols) continue;
    A sum = 0;
    for (int g = 0; g < COLUMN_GROUPS; g++) sum += parts[(m * COLUMN_GROUPS + g) * WIDTH + k % WIDTH];
    ((A*)partials)[((size_t)blockIdx.x * SUMS + m) * partials_stride(cols) + column] = sum;
  }
}
