// bf16 and f16: 16 bits in memory, f32 in arithmetic; stored with rounding to nearest, ties to even.
#pragma once

#ifdef __CUDACC__
__device__ __forceinline__ unsigned short bf16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ __forceinline__ unsigned short f16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ __forceinline__ float f16_value(unsigned short bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
#else
using sim::bf16_bits, sim::f16_bits, sim::f16_value;
#endif

struct bf16 {
  unsigned short bits;
  bf16() = default;
  explicit __device__ __forceinline__ bf16(float x) : bits(bf16_bits(x)) {}
  __device__ __forceinline__ operator float() const { return __uint_as_float(unsigned(bits) << 16); }
};

struct f16 {
  unsigned short bits;
  f16() = default;
  explicit __device__ __forceinline__ f16(float x) : bits(f16_bits(x)) {}
  __device__ __forceinline__ operator float() const { return f16_value(bits); }
};

// Two elements in a register, as the tensor cores take them: the first in the low half.
template <class T> __device__ __forceinline__ unsigned pack(float low, float high) {
  return T(low).bits | unsigned(T(high).bits) << 16;
}
#ifdef __CUDACC__
#define PACK(T, type) \
  template <> __device__ __forceinline__ unsigned pack<T>(float low, float high) { \
    unsigned pair; \
    asm("cvt.rn." type ".f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low)); \
    return pair; \
  }
PACK(bf16, "bf16x2")
PACK(f16, "f16x2")
#undef PACK
#endif
// Element i of a pair.
template <class T> __device__ __forceinline__ float unpack(unsigned pair, int i) {
  T x;
  x.bits = (unsigned short)(pair >> 16 * i);
  return x;
}
