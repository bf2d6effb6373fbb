// The inner product: a block takes a chunk of 4,096 elements, zeros behind the rows among them, and writes its sum. The
// rows' L2 normalisation: a warp takes a row, each lane every 32nd element.
#include "common/chunks.cuh"

KERNEL(dot_partials, DotPartials) {
  const T *a = (const T*)p.a, *b = (const T*)p.b;
  chunk_partials<A>(p.partials, p.count, [=](long long i) { return A(a[i]) * A(b[i]); });
}

KERNEL(l2_normalize_fwd, L2NormalizeFwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const T* x = (const T*)p.x + (size_t)row * p.stride;
  T* y = (T*)p.y + (size_t)row * p.stride;
  A squares = 0;
  for (int c = lane; c < p.cols; c += 32) squares += A(x[c]) * A(x[c]);
  const A length = max_(sqrt_(warp_sum(squares)), A(p.floor));
  for (int c = lane; c < p.cols; c += 32) y[c] = T(A(x[c]) / length);
  if (lane == 0) ((A*)p.length)[row] = length;
}

KERNEL(l2_normalize_bwd, L2NormalizeBwd) {
  const int row = warp_index(), lane = lane_index();
  if (row >= p.rows) return;
  const size_t start = (size_t)row * p.stride;
  const T *dy = (const T*)p.dy + start, *y = (const T*)p.y + start;
  T* dx = (T*)p.dx + start;
  A along = 0;
  for (int c = lane; c < p.cols; c += 32) along += A(dy[c]) * A(y[c]);
  along = warp_sum(along);
  const A length = ((const A*)p.length)[row];
  if (!(length > A(p.floor))) along = 0;
  for (int c = lane; c < p.cols; c += 32) dx[c] = T((A(dy[c]) - A(y[c]) * along) / length);
}
