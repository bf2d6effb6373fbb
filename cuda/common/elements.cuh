// Element by element: y[i] = f(a[i], b[i], ...). A thread takes Vecs and loads two of each source before it uses the first, so
// that 32 bytes of each are under way. Single elements only at the end of a tensor, and where it is not aligned (scalars
// and tensors of four axes and more may be so).
#pragma once
#include "math.cuh"
#include "vec.cuh"

// Sources of a map: `load` gives the N elements from i on, of which `left` are there.

// A tensor like the result, zeros when there is none.
template <class S> struct Elements {
  const S* p;
  bool whole;
  template <int N> __device__ __forceinline__ Some<S, N> load(long long i, long long left) const {
    return p ? load_some<N>(p + i, left, whole) : fill_some<N>(S(0));
  }
};
template <class S> __device__ __forceinline__ Elements<S> elements(Ptr p) { return {(const S*)p, p % 16 == 0}; }

// A vector with an element for each `group` columns of rows `stride` apart; `absent` everywhere when there is none.
template <class A> struct ByColumn {
  const A* p;
  int stride, group;
  A absent;
  template <int N> __device__ __forceinline__ Some<A, N> load(long long i, long long) const {
    if (!p) return fill_some<N>(absent);
    if (group == 1 && stride % N == 0) return load_all<N>(p + column_of(i, stride));
    Some<A, N> some;
#pragma unroll
    for (int k = 0; k < N; k++) some.at[k] = p[column_of(i + k, stride) / group];
    return some;
  }
};

// A number for each `sample` elements; 1 when there is none.
template <class A> struct BySample {
  const A* p;
  long long sample;
  template <int N> __device__ __forceinline__ Some<A, N> load(long long i, long long left) const {
    if (!p || left <= 0) return fill_some<N>(A(1));
    if (sample % N == 0 || i + N <= sample) return fill_some<N>(p[quotient(i, sample)]);
    Some<A, N> some;
#pragma unroll
    for (int k = 0; k < N; k++) some.at[k] = k < left ? p[quotient(i + k, sample)] : A(0);
    return some;
  }
};

// 1 within the rows, 0 behind them.
struct Inside {
  int cols, stride;
  template <int N> __device__ __forceinline__ Some<int, N> load(long long i, long long) const {
    Some<int, N> some;
#pragma unroll
    for (int k = 0; k < N; k++) some.at[k] = (stride % N == 0 ? column_of(i, stride) + k : column_of(i + k, stride)) < cols;
    return some;
  }
};

// A tensor whose element `from(i)` belongs to i, 0 when that is below 0; `whole`: a Vec's elements come from one Vec.
template <class S, class F> struct Moved {
  const S* p;
  bool whole;
  F from;
  template <int N> __device__ __forceinline__ Some<S, N> load(long long i, long long left) const {
    if (whole) {
      const long long at = left > 0 ? from(i) : -1;
      return at < 0 ? fill_some<N>(S(0)) : load_all<N>(p + at);
    }
    Some<S, N> some;
#pragma unroll
    for (int k = 0; k < N; k++) {
      const long long at = k < left ? from(i + k) : -1;
      some.at[k] = at < 0 ? S(0) : p[at];
    }
    return some;
  }
};
template <class S, class F> __device__ __forceinline__ Moved<S, F> moved(Ptr p, bool whole, F from) {
  return {(const S*)p, whole && p % 16 == 0, from};
}

// use(i, some of each source) for this thread's VECS Vecs among the elements from `first` to before `last`.
template <class T, int VECS, class Use, class... Source>
__device__ __forceinline__ void each_vec(long long first, long long last, Use use, const Source&... x) {
  constexpr int N = VEC<T>;
  const auto hold = [](auto... some) { return [=](auto f) { f(some...); }; };
  const long long step = (long long)blockDim.x * N;
#pragma unroll
  for (int k = 0; k < VECS; k += 2) {
    const long long i = first + k * step + (long long)threadIdx.x * N, j = i + step;
    const auto one = hold(x.template load<N>(i, last - i)...), two = hold(x.template load<N>(j, last - j)...);
    if (i < last) one([&](const auto&... some) { use(i, some...); });
    if (j < last) two([&](const auto&... some) { use(j, some...); });
  }
}

// y[i] = f(x[i]...) for the elements from `first` to before `last`; y may be one of the sources.
template <class T, class A, int VECS, class To, class F, class... Source>
__device__ __forceinline__ void map_piece(To* y, long long first, long long last, F f, const Source&... x) {
  const bool whole = aligned(y);
  each_vec<T, VECS>(first, last, [&](long long i, const auto&... some) {
    Some<To, VEC<T>> out;
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) out.at[k] = To(f(A(some.at[k])...));
    store_some(y + i, out, last - i, whole);
  }, x...);
}

// The same for all `count` elements, MAP_VECS Vecs a thread.
constexpr int MAP_VECS = 2; // as in src/gpu/mod.rs
template <class T, class A, class To, class F, class... Source>
__device__ __forceinline__ void map(To* y, long long count, F f, const Source&... x) {
  const long long piece = (long long)MAP_VECS * blockDim.x * VEC<T>, first = blockIdx.x * piece;
  map_piece<T, A, MAP_VECS>(y, first, min_(first + piece, count), f, x...);
}
