// 16 bytes at once: 4 floats, 2 doubles, 8 halves. The address has to be aligned to 16 bytes; `aligned` asks.
#pragma once
#include "device.cuh"

template <class T> struct alignas(16) Vec {
  static constexpr int COUNT = 16 / sizeof(T);
  T at[COUNT];
};

template <class T> __device__ __forceinline__ bool aligned(const T* p) { return (unsigned long long)p % 16 == 0; }

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
