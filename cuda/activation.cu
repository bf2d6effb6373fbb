// Bias and activation, element by element (common/elements.cuh); zeros behind the rows, also where f(0) is none.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/activation.cuh"
#include "common/elements.cuh"

KERNEL(activation_fwd, ActivationFwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)};
  const int function = p.function;
  const auto f = [=](A x, A b, A inside) { return inside ? activate<T>(function, x + b) : A(0); };
  map<T, A>((T*)p.y, p.count, f, elements<T>(p.x), b, Inside{p.cols, p.stride});
}

KERNEL(activation_bwd, ActivationBwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)};
  const int function = p.function;
  map<T, A>((T*)p.dx, p.count, [=](A dy, A x, A b) { return dy * activation_slope<T>(function, x + b); },
            elements<T>(p.dy), elements<T>(p.x), b);
}
