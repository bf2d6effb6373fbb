// 16 bytes at once: 4 floats, 2 doubles, 8 halves. The address has to be aligned to 16 bytes; `aligned` asks.
#pragma once
#include "device.cuh"

template <class T> constexpr int VEC = 16 / sizeof(T);

template <class T> struct alignas(16) Vec {
  static constexpr int COUNT = VEC<T>;
  T at[COUNT];
};

template <class T> __device__ __forceinline__ bool aligned(const T* p) { return (unsigned long long)p % 16 == 0; }
// Whether rows `stride` apart begin with a Vec each. A tensor of such rows never begins anywhere else: reshaping an unaligned
// slice to them copies it (`placed` in Tensor::reshape).
template <class T> __device__ __forceinline__ bool whole_rows(int stride) { return stride % VEC<T> == 0; }

template <class T> __device__ __forceinline__ Vec<T> load_vec(const T* p) {
  CHECK_ALIGNED(p);
  const uint4 bits = *(const uint4*)p;
  Vec<T> v;
  memcpy(&v, &bits, 16);
  return v;
}

template <class T> __device__ __forceinline__ void store_vec(T* p, const Vec<T>& v) {
  CHECK_ALIGNED(p);
  uint4 bits;
  memcpy(&bits, &v, 16);
  *(uint4*)p = bits;
}

// N neighbouring elements, one Vec or several: a thread takes as many of every type as a Vec of the kernel's T has.
template <class T, int N> struct Some {
  T at[N];
};

template <int N, class T> __device__ __forceinline__ Some<T, N> fill_some(T value) {
  Some<T, N> some;
#pragma unroll
  for (int k = 0; k < N; k++) some.at[k] = value;
  return some;
}

template <int N, class T> __device__ __forceinline__ Some<T, N> load_all(const T* p) {
  Some<T, N> some;
#pragma unroll
  for (int k = 0; k < N; k += VEC<T>) {
    const Vec<T> v = load_vec(p + k);
#pragma unroll
    for (int j = 0; j < VEC<T>; j++) some.at[k + j] = v.at[j];
  }
  return some;
}

template <int N, class T> __device__ __forceinline__ void store_all(T* p, const Some<T, N>& some) {
#pragma unroll
  for (int k = 0; k < N; k += VEC<T>) {
    Vec<T> v;
#pragma unroll
    for (int j = 0; j < VEC<T>; j++) v.at[j] = some.at[k + j];
    store_vec(p + k, v);
  }
}

// The same where only `left` elements are there, or the address may be unaligned (not `whole`): then one by one, and 0 for
// those that are not there.
template <int N, class T> __device__ __forceinline__ Some<T, N> load_some(const T* p, long long left, bool whole) {
  if (whole && left >= N) return load_all<N>(p);
  Some<T, N> some;
#pragma unroll
  for (int k = 0; k < N; k++) some.at[k] = k < left ? p[k] : T(0);
  return some;
}

template <int N, class T>
__device__ __forceinline__ void store_some(T* p, const Some<T, N>& some, long long left, bool whole) {
  if (whole && left >= N) return store_all<N>(p, some);
#pragma unroll
  for (int k = 0; k < N; k++) {
    if (k < left) p[k] = some.at[k];
  }
}
