// Tokens and columns picked and put back: one thread an element of the result, neighbours to neighbouring threads. Putting
// back looks up what arrives at an element, in the order of the sources, so nothing is added by two threads.
#include "common/device.cuh"

KERNEL(slice_tokens, SliceTokens) {
  const long long i = element_index();
  if (i >= p.count) return;
  const long long row = i / p.stride, from = row / p.taken * p.tokens + p.first + row % p.taken;
  ((T*)p.y)[i] = ((const T*)p.x)[from * p.stride + i % p.stride];
}

KERNEL(place_tokens, PlaceTokens) {
  const long long i = element_index();
  if (i >= p.count) return;
  const long long row = i / p.stride, image = row / p.tokens, at = row % p.tokens - p.first;
  const bool taken = at >= 0 && at < p.taken;
  ((T*)p.y)[i] = taken ? ((const T*)p.x)[(image * p.taken + at) * p.stride + i % p.stride] : T(0);
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
