// Bias, gate and GELU, element by element (common/elements.cuh), zeros behind the rows included (bias, gate and x are 0 there,
// and so is the result). The gate's gradient runs down the columns (common/columns.cuh) and computes the derivative again.
#define KERNEL_BLOCKS 2  // up to 128 registers a thread: left alone, ptxas aims at 64 and spills in double
#include "common/columns.cuh"
#include "common/elements.cuh"

// d/dt of t Phi(t).
template <class T, class A> __device__ __forceinline__ A gelu_slope(A t) {
  const Normal<A> normal = normal_of<T>(t);
  return normal.cdf + t * normal.pdf;
}

KERNEL(gelu_fwd, GeluFwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)}, g{(const A*)p.g, p.stride, 1, A(1)};
  const auto gelu = [](A x, A b, A g) {
    const A t = (x + b) * g;
    return t * normal_of<T>(t).cdf;
  };
  map<T, A>((T*)p.y, p.count, gelu, elements<T>(p.x), b, g);
}

KERNEL(gelu_bwd, GeluBwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)}, g{(const A*)p.g, p.stride, 1, A(1)};
  map<T, A>((T*)p.dx, p.count, [](A dy, A x, A b, A g) { return dy * gelu_slope<T>((x + b) * g) * g; }, elements<T>(p.dy),
            elements<T>(p.x), b, g);
}

KERNEL(gelu_gate, GeluGate) {
  const ByColumn<A> bias{(const A*)p.b, p.stride, 1, A(0)}, gate{(const A*)p.g, p.stride, 1, A(1)};
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto dy = some_of_row<T>(p.dy, r, c, p.stride), x = some_of_row<T>(p.x, r, c, p.stride);
    const auto b = bias.template load<VEC<T>>(c, VEC<T>), g = gate.template load<VEC<T>>(c, VEC<T>);
    for (int k = 0; k < VEC<T>; k++) {
      const A shifted = A(x.at[k]) + b.at[k];
      sums[0].at[k] += A(dy.at[k]) * gelu_slope<T>(shifted * g.at[k]) * shifted;
    }
  });
}
