// Functions of one name for float and double, accurate to the last bits; two fast ones, for what is rounded to 16 bits.
#pragma once
#include "device.cuh"

template <class A> struct Limits;
template <> struct Limits<float> {
  static __device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
};
template <> struct Limits<double> {
  static __device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }
};

#define MATH(name, of_float, of_double) \
  __device__ __forceinline__ float name(float x) { return of_float(x); } \
  __device__ __forceinline__ double name(double x) { return of_double(x); }
MATH(exp_, expf, exp)
MATH(log_, logf, log)
MATH(log1p_, log1pf, log1p)
MATH(sqrt_, sqrtf, sqrt)
MATH(tanh_, tanhf, tanh)
MATH(erfc_, erfcf, erfc)
MATH(abs_, fabsf, fabs)
MATH(floor_, floorf, floor)
MATH(ceil_, ceilf, ceil)
#undef MATH

// 2^x and 1/x to 22 bits; 0 below the normal numbers.
__device__ __forceinline__ float exp2_approx(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return sim::exp2_approx(x);
#endif
}
__device__ __forceinline__ float reciprocal_approx(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return sim::reciprocal_approx(x);
#endif
}

template <class A> __device__ __forceinline__ A max_(A a, A b) { return a > b ? a : b; }
template <class A> __device__ __forceinline__ A min_(A a, A b) { return a < b ? a : b; }
// The maximum, and NaN when either is NaN.
template <class A> __device__ __forceinline__ A max_nan(A a, A b) { return a > b || a != a ? a : b; }

// The standard normal distribution: P(N <= x) = erfc(-x / sqrt 2) / 2 from the smaller tail (relative accuracy below 0, absolute
// above), and the density exp(-x^2 / 2) / sqrt(2 pi).
template <class A> struct Normal {
  A cdf, pdf;
};

// For results that are stored as T. Of 16 bits: the processor's formula (src/cpu/math.rs), within 1.5e-7, one exponential for
// both and a polynomial in 1 / (1 + 0.3 |x|): with erfc, arithmetic and not memory would bound GELU.
template <class T, class A> __device__ __forceinline__ Normal<A> normal_of(A x) {
  A gauss, tail;
  if constexpr (sizeof(T) == 2) {
    gauss = exp2_approx(-0.72134752f * x * x); // log2(e) / 2
    const float t = reciprocal_approx(1.0f + 0.3f * abs_(x));
    float p = 0.0016489425f;
    p = p * t + 0.028701555f, p = p * t - 0.14488165f, p = p * t + 0.19452876f, p = p * t - 0.046974916f;
    p = p * t + 0.12626788f, p = p * t + 0.10037334f, p = p * t + 0.12070464f, p = p * t + 0.11963146f;
    tail = gauss * p * t;
  } else {
    gauss = exp_(A(-0.5) * x * x);
    tail = A(0.5) * erfc_(abs_(x) * A(0.70710678118654752440));
  }
  return {x > A(0) ? A(1) - tail : tail, A(0.39894228040143267794) * gauss};
}
