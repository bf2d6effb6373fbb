// Activation functions f with values and slopes, by number as in src/ops/activation.rs, for results that are stored as T.
#pragma once
#include "math.cuh"

template <class A> __device__ __forceinline__ A sigmoid_(A x) {
  const A e = exp_(-abs_(x)); // never infinite
  return (x < A(0) ? e : A(1)) / (A(1) + e);
}

struct Identity {
  template <class A> static __device__ __forceinline__ A value(A x) { return x; }
  template <class A> static __device__ __forceinline__ A slope(A) { return A(1); }
};
template <class T> struct Gelu {
  template <class A> static __device__ __forceinline__ A value(A x) { return x * normal_of<T>(x).cdf; }
  template <class A> static __device__ __forceinline__ A slope(A x) {
    const Normal<A> normal = normal_of<T>(x);
    return normal.cdf + x * normal.pdf;
  }
};
struct Relu {
  template <class A> static __device__ __forceinline__ A value(A x) { return x < A(0) ? A(0) : x; } // NaN stays
  template <class A> static __device__ __forceinline__ A slope(A x) { return x > A(0) ? A(1) : A(0); }
};
struct Silu {
  template <class A> static __device__ __forceinline__ A value(A x) { return x * sigmoid_(x); }
  template <class A> static __device__ __forceinline__ A slope(A x) {
    const A s = sigmoid_(x);
    return s + x * s * (A(1) - s);
  }
};
struct Sigmoid {
  template <class A> static __device__ __forceinline__ A value(A x) { return sigmoid_(x); }
  template <class A> static __device__ __forceinline__ A slope(A x) {
    const A s = sigmoid_(x);
    return s * (A(1) - s);
  }
};

// use(f) for the function of this number, which is the same for all threads.
template <class T, class Use> __device__ __forceinline__ void with_function(int function, Use use) {
  switch (function) {
    case 1: return use(Gelu<T>());
    case 2: return use(Relu());
    case 3: return use(Silu());
    case 4: return use(Sigmoid());
    default: return use(Identity());
  }
}
