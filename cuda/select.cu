// Tokens and columns picked and put back: tokens by Vecs (common/elements.cuh), columns one thread an element of the result.
// Putting back looks up what arrives at an element, in the order of the sources, so nothing is added by two threads.
#include "common/elements.cuh"

KERNEL(slice_tokens, SliceTokens) {
  const auto from = [&](long long i) {
    const long long row = quotient(i, p.stride), image = quotient(row, p.taken);
    return (image * (p.tokens - p.taken) + p.first) * p.stride + i;
  };
  map<T, A>((T*)p.y, p.count, [](A x) { return x; }, moved<T>(p.x, p.stride % VEC<T> == 0, from));
}

KERNEL(place_tokens, PlaceTokens) {
  const auto from = [&](long long i) {
    const long long row = quotient(i, p.stride), image = quotient(row, p.tokens), at = row - image * p.tokens - p.first;
    return at >= 0 && at < p.taken ? (image * (p.taken - p.tokens) - p.first) * p.stride + i : -1;
  };
  map<T, A>((T*)p.y, p.count, [](A x) { return x; }, moved<T>(p.x, p.stride % VEC<T> == 0, from));
}

KERNEL(collect_columns, CollectColumns) {
  const long long i = element_index(), row = i / p.stride;
  const int c = int(i % p.stride);
  if (row >= p.rows || c >= p.cols) return;
  const int* sources = (const int*)p.sources;
  const T* x = (const T*)p.x + row * p.x_stride;
  A sum = 0;
  for (int k = sources[c]; k < sources[c + 1]; k++) sum += A(x[sources[k]]);
  ((T*)p.y)[i] = T(sum);
}
