// Activation functions by number, as in src/ops/activation.rs: the number is the same for all threads.
#pragma once
#include "math.cuh"

template <class A> __device__ __forceinline__ A sigmoid_(A x) {
  const A e = exp_(-abs_(x)); // never infinite
  return (x < A(0) ? e : A(1)) / (A(1) + e);
}

// f(x), for results that are stored as T.
template <class T, class A> __device__ __forceinline__ A activate(int function, A x) {
  switch (function) {
    case 1: return x * normal_of<T>(x).cdf;
    case 2: return x < A(0) ? A(0) : x; // NaN stays
    case 3: return x * sigmoid_(x);
    case 4: return sigmoid_(x);
    default: return x;
  }
}

// f'(x).
template <class T, class A> __device__ __forceinline__ A activation_slope(int function, A x) {
  switch (function) {
    case 1: {
      const Normal<A> normal = normal_of<T>(x);
      return normal.cdf + x * normal.pdf;
    }
    case 2: return x > A(0) ? A(1) : A(0);
    case 3: {
      const A s = sigmoid_(x);
      return s + x * s * (A(1) - s);
    }
    case 4: {
      const A s = sigmoid_(x);
      return s * (A(1) - s);
    }
    default: return A(1);
  }
}
