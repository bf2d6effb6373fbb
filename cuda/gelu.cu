// Bias, gate and GELU: one thread an element, zeros behind the rows included (bias, gate and x are 0 there, and so is
// the result). The gate's gradient runs down the columns, one thread each, and computes the derivative again.
#include "common/columns.cuh"
#include "common/math.cuh"

// What is given to the GELU, (x + b) g, and its two parts.
template <class A> struct GeluInput {
  A shifted, gate;
  __device__ __forceinline__ A t() const { return shifted * gate; }
};

template <class T, class A> __device__ __forceinline__ GeluInput<A> gelu_input(T x, Ptr b, Ptr g, int c) {
  return {A(x) + (b ? ((const A*)b)[c] : A(0)), g ? ((const A*)g)[c] : A(1)};
}

// d/dt of t Phi(t).
template <class A> __device__ __forceinline__ A gelu_slope(A t) { return normal_cdf(t) + t * normal_pdf(t); }

KERNEL(gelu_fwd, GeluFwd) {
  const long long i = element_index();
  if (i >= p.count) return;
  const A t = gelu_input<T, A>(((const T*)p.x)[i], p.b, p.g, column_of(i, p.stride)).t();
  ((T*)p.y)[i] = T(t * normal_cdf(t));
}

KERNEL(gelu_bwd, GeluBwd) {
  const long long i = element_index();
  if (i >= p.count) return;
  const GeluInput<A> in = gelu_input<T, A>(((const T*)p.x)[i], p.b, p.g, column_of(i, p.stride));
  ((T*)p.dx)[i] = T(A(((const T*)p.dy)[i]) * gelu_slope(in.t()) * in.gate);
}

KERNEL(gelu_gate, GeluGate) {
  column_partials<A>(p.partials, p.rows, p.cols, [&](int r, int c) {
    const size_t i = (size_t)r * p.stride + c;
    const GeluInput<A> in = gelu_input<T, A>(((const T*)p.x)[i], p.b, p.g, c);
    return A(((const T*)p.dy)[i]) * gelu_slope(in.t()) * in.shifted;
  });
}
