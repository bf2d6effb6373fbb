// Bias and activation, element by element (common/elements.cuh); zeros behind the rows, also where f(0) is none.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/activation.cuh"
#include "common/elements.cuh"

KERNEL(activation_fwd, ActivationFwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)};
  const int function = p.function;
  const auto value = [=](A x, A b, A inside) {
    A y = 0;
    if (inside) with_function<T>(function, [&](auto f) { y = f.value(x + b); });
    return y;
  };
  map<T, A>((T*)p.y, p.count, value, elements<T>(p.x), b, Inside{p.cols, p.stride});
}

KERNEL(activation_bwd, ActivationBwd) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)};
  const int function = p.function;
  const auto gradient = [=](A dy, A x, A b) {
    A slope = 0;
    with_function<T>(function, [&](auto f) { slope = f.slope(x + b); });
    return dy * slope;
  };
  map<T, A>((T*)p.dx, p.count, gradient, elements<T>(p.dy), elements<T>(p.x), b);
}
