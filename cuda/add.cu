// Sums and multiples, element by element (common/elements.cuh). Both keep zeros behind the rows, where all operands have
// zeros.
#include "common/elements.cuh"

KERNEL(add_scaled, AddScaled) {
  const BySample<A> s{(const A*)p.s, p.sample};
  map<T, A>((T*)p.y, p.count, [](A x, A b, A s) { return x + s * b; }, elements<T>(p.x), elements<T>(p.b), s);
}

KERNEL(scale, Scale) {
  const A c = A(p.c);
  map<T, A>((T*)p.y, p.count, [=](A x, A s) { return s * c * x; }, elements<T>(p.x), BySample<A>{(const A*)p.s, p.sample});
}
