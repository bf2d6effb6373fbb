// What the tensor itself needs: one thread an element, neighbours in memory to neighbouring threads.
#include "common/columns.cuh"
#include "common/pieces.cuh"
#include "common/reduce.cuh"

KERNEL(fill, Fill) {
  const long long i = element_index();
  if (i < (long long)p.rows * p.stride) ((T*)p.out)[i] = i % p.stride < p.cols ? T(p.value) : T(0);
}

KERNEL(accumulate, Accumulate) {
  const long long i = element_index();
  if (i < p.count) ((T*)p.out)[i] = T(A(((const T*)p.out)[i]) + A(((const T*)p.x)[i]));
}

KERNEL(repitch, Repitch) {
  const long long i = element_index();
  if (i >= p.count) return;
  const long long from = i / p.x_cols * p.x_stride + i % p.x_cols, to = i / p.cols * p.stride + i % p.cols;
  ((T*)p.out)[to] = ((const T*)p.x)[from];
}

// To the wide type and back; all parameters of a model are rounded in one launch.
KERNEL(widen, Widen) {
  const long long i = element_index();
  if (i < p.count) ((A*)p.out)[i] = A(((const T*)p.x)[i]);
}

KERNEL(narrow, Narrow) {
  const NarrowTensor& t = p.at[piece_owner(p.at, p.tensors)];
  const long long first = (blockIdx.x - t.first) * PIECE;
  for (long long i = first + threadIdx.x; i < first + PIECE && i < t.count; i += blockDim.x) {
    ((T*)t.out)[i] = T(((const A*)t.x)[i]);
  }
}

KERNEL(sum_columns, SumColumns) {
  const T* x = (const T*)p.x;
  column_partials<A>(p.partials, p.rows, p.cols, [=](int r, int c) { return A(x[(size_t)r * p.stride + c]); });
}

KERNEL(add_partials, AddPartials) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= p.cols) return;
  const A* partials = (const A*)p.partials;
  A sum = p.accumulate ? A(((const T*)p.out)[c]) : A(0);
  for (int k = 0; k < p.count; k++) sum += partials[(size_t)k * p.cols + c];
  ((T*)p.out)[c] = T(sum);
}

// One block; thread t adds every 256th element from t on, then the threads' sums meet in a tree.
KERNEL(total, Total) {
  const A* x = (const A*)p.x;
  A sum = 0;
  for (int i = threadIdx.x; i < p.count; i += blockDim.x) sum += x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *(A*)p.out = sum * A(p.scale);
}
