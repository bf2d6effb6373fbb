// What the tensor itself needs: element by element (common/elements.cuh), but where widths differ one thread an element; and
// the ends of all sums.
#include "common/columns.cuh"
#include "common/elements.cuh"
#include "common/pieces.cuh"
#include "common/reduce.cuh"

KERNEL(fill, Fill) {
  const A value = A(p.value);
  map<T, A>((T*)p.out, (long long)p.rows * p.stride, [=](A inside) { return inside != A(0) ? value : A(0); },
            Inside{p.cols, p.stride});
}

KERNEL(accumulate, Accumulate) {
  map<T, A>((T*)p.out, p.count, [](A out, A x) { return out + x; }, elements<T>(p.out), elements<T>(p.x));
}

KERNEL(repitch, Repitch) {
  const long long i = element_index();
  if (i >= p.count) return;
  const long long from = i / p.x_cols * p.x_stride + i % p.x_cols, to = i / p.cols * p.stride + i % p.cols;
  ((T*)p.out)[to] = ((const T*)p.x)[from];
}

// To the wide type and back; all parameters of a model are rounded in one launch.
KERNEL(widen, Widen) {
  map<T, A>((A*)p.out, p.count, [](A x) { return x; }, elements<T>(p.x));
}

KERNEL(narrow, Narrow) {
  const NarrowTensor& t = p.at[piece_owner(p.at, p.tensors)];
  const Piece piece = piece_of(t);
  map_piece<T, A, PIECE_VECS<T>>((T*)t.out, piece.first, piece.last, [](A x) { return x; }, elements<A>(t.x));
}

KERNEL(sum_columns, SumColumns) {
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    for (int k = 0; k < VEC<T>; k++) sums[0].at[k] += A(x.at[k]);
  });
}

// A block takes 32 columns: a few threads a Vec each, as often as there are threads for other partial sums; then the sums of
// these groups meet in index order.
KERNEL(add_partials, AddPartials) {
  constexpr int WIDTH = 32, LANES = WIDTH / VEC<A>, GROUPS = KERNEL_THREADS / LANES;
  SHARED(A, parts, GROUPS * WIDTH);
  const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES, c = blockIdx.x * WIDTH + lane * VEC<A>;
  const int stride = partials_stride(p.cols);
  Some<A, VEC<A>> sum = fill_some<VEC<A>>(A(0));
  if (c < p.cols) {
#pragma unroll 4
    for (int k = group; k < p.count; k += GROUPS) {
      const auto part = load_all<VEC<A>>((const A*)p.partials + ((size_t)k * p.step + p.first) * stride + c);
      for (int j = 0; j < VEC<A>; j++) sum.at[j] += part.at[j];
    }
  }
  store_all(&parts[group * WIDTH + lane * VEC<A>], sum);
  __syncthreads();
  const int column = blockIdx.x * WIDTH + threadIdx.x;
  if (threadIdx.x >= WIDTH || column >= p.cols) return;
  T* out = (T*)p.out + column;
  A total = p.accumulate ? A(*out) : A(0);
  for (int g = 0; g < GROUPS; g++) total += parts[g * WIDTH + threadIdx.x];
  *out = T(total);
}

// One block; thread t adds every 256th element from t on, then the threads' sums meet in a tree.
KERNEL(total, Total) {
  const A* x = (const A*)p.x;
  A sum = 0;
  for (int i = threadIdx.x; i < p.count; i += blockDim.x) sum += x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *(A*)p.out = sum * A(p.scale);
}
