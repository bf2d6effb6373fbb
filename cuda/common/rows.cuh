// A warp takes a row, lane l its Vecs l, l + 32, ... The first HELD of a lane, or as many as a kernel says, stay in registers
// from one pass to the next, so that a row of up to 1,024 elements (512 in double) is read once; what lies behind is read again
// in every pass.
#pragma once
#include "reduce.cuh"
#include "vec.cuh"

template <class T> constexpr int HELD = VEC<T> < 4 ? 8 : 32 / VEC<T>;

// Sources of a pass: `at` gives the Vec of this lane at column c, the k-th one, where k is HELD for all that are not held.

// A vector over the columns.
template <class T, class A> struct OfColumns {
  const A* p;
  __device__ __forceinline__ Some<A, VEC<T>> at(int, int c) const { return load_all<VEC<T>>(p + c); }
};
template <class T, class A> __device__ __forceinline__ OfColumns<T, A> of_columns(Ptr p) { return {(const A*)p}; }

// A row that is read in every pass, zeros when there is none. Rows of tensors of four axes and more may be unaligned.
template <class T> struct Row {
  const T* p;
  int stride;
  __device__ __forceinline__ Some<T, VEC<T>> operator()(int c) const {
    return load_some<VEC<T>>(p + c, stride - c, whole_rows<T>(stride));
  }
  __device__ __forceinline__ Some<T, VEC<T>> at(int, int c) const { return p ? (*this)(c) : fill_some<VEC<T>>(T(0)); }
};
template <class T> __device__ __forceinline__ Row<T> row_of(Ptr p, int row, int stride) {
  return {p ? (const T*)p + (size_t)row * stride : nullptr, stride};
}

// A row of which H Vecs a lane are held; read(c) gives its Vec at column c.
template <class T, int H, class Read> struct HeldRow {
  Read read;
  Some<T, VEC<T>> held[H];
  __device__ __forceinline__ HeldRow(int cols, Read read) : read(read) {
#pragma unroll
    for (int k = 0; k < H; k++) {
      const int c = (k * 32 + lane_index()) * VEC<T>;
      held[k] = c < cols ? read(c) : fill_some<VEC<T>>(T(0));
    }
  }
  __device__ __forceinline__ Some<T, VEC<T>> at(int k, int c) const { return k < H ? held[k] : read(c); }
};
template <class T, int H = HELD<T>, class Read>
__device__ __forceinline__ HeldRow<T, H, Read> hold(int cols, Read read) {
  return {cols, read};
}

// use(c, the Vec of each source at column c) for the lane's Vecs.
template <class T, class Use, class... Source>
__device__ __forceinline__ void each_part(int cols, Use use, const Source&... x) {
#pragma unroll
  for (int k = 0; k < HELD<T>; k++) {
    const int c = (k * 32 + lane_index()) * VEC<T>;
    if (c < cols) use(c, x.at(k, c)...);
  }
  for (int c = (HELD<T> * 32 + lane_index()) * VEC<T>; c < cols; c += 32 * VEC<T>) use(c, x.at(HELD<T>, c)...);
}

// f(c, x[c]...) for the lane's columns c.
template <class T, class A, class F, class... Source>
__device__ __forceinline__ void each_column(int cols, F f, const Source&... x) {
  each_part<T>(cols, [&](int c, const auto&... some) {
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) {
      if (c + k < cols) f(c + k, A(some.at[k])...);
    }
  }, x...);
}

// y[c] = f(c, x[c]...), and zeros behind the row, all of them.
template <class T, class A, class F, class... Source>
__device__ __forceinline__ void write_row(Ptr y, int row, int cols, int stride, F f, const Source&... x) {
  T* to = (T*)y + (size_t)row * stride;
  each_part<T>(stride, [&](int c, const auto&... some) {
    Some<T, VEC<T>> out;
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) out.at[k] = c + k < cols ? T(f(c + k, A(some.at[k])...)) : T(0);
    store_some(to + c, out, stride - c, whole_rows<T>(stride));
  }, x...);
}

// log sum over c < cols of e^(scale x[c]), from the largest value so that nothing overflows.
template <class T, class A, class Source>
__device__ __forceinline__ A row_log_sum_exp(int cols, A scale, const Source& x) {
  A top = -Limits<A>::infinity(), sum = 0;
  each_column<T, A>(cols, [&](int, A v) { top = max_nan(top, scale * v); }, x);
  top = warp_max(top);
  each_column<T, A>(cols, [&](int, A v) { sum += exp_(scale * v - top); }, x);
  return top + log_(warp_sum(sum));
}
