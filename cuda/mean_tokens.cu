// The mean over an image's tokens: a thread adds a Vec of columns token after token, so the sums have one order.
#include "common/elements.cuh"

KERNEL(mean_tokens_fwd, MeanTokensFwd) {
  const int vecs = (p.stride + VEC<T> - 1) / VEC<T>;
  const long long i = element_index(), image = i / vecs;
  if (image >= p.images) return;
  const int c = int(i - image * vecs) * VEC<T>, left = p.stride - c;
  const bool whole = whole_rows<T>(p.stride);
  const T* x = (const T*)p.x + image * p.tokens * p.stride + c;
  Some<A, VEC<T>> sum = fill_some<VEC<T>>(A(0));
#pragma unroll 4
  for (int n = 0; n < p.tokens; n++) {
    const auto some = load_some<VEC<T>>(x + (size_t)n * p.stride, left, whole);
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) sum.at[k] += A(some.at[k]);
  }
  Some<T, VEC<T>> out;
#pragma unroll
  for (int k = 0; k < VEC<T>; k++) out.at[k] = T(sum.at[k] / A(p.tokens));
  store_some((T*)p.y + image * p.stride + c, out, left, whole);
}

KERNEL(mean_tokens_bwd, MeanTokensBwd) {
  const long long image_size = (long long)p.tokens * p.stride;
  const auto from = [=](long long i) {
    const long long image = quotient(i, image_size);
    return image * p.stride + column_of(i, p.stride);
  };
  map<T, A>((T*)p.dx, p.count, [&](A dy) { return dy / A(p.tokens); }, moved<T>(p.dy, p.stride % VEC<T> == 0, from));
}
