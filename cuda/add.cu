// Sums and multiples: one thread an element. Both keep zeros behind the rows, where all operands have zeros.
#include "common/device.cuh"

KERNEL(add_scaled, AddScaled) {
  const long long i = element_index();
  if (i >= p.count) return;
  const A s = p.s ? ((const A*)p.s)[i / p.sample] : A(1);
  ((T*)p.y)[i] = T(A(((const T*)p.y)[i]) + s * A(((const T*)p.x)[i]));
}

KERNEL(scale, Scale) {
  const long long i = element_index();
  if (i >= p.count) return;
  const A s = p.s ? ((const A*)p.s)[i / p.sample] : A(1);
  ((T*)p.y)[i] = T(s * A(p.c) * A(((const T*)p.x)[i]));
}
