// The inner product: a block takes a chunk of 4,096 elements (common/chunks.cuh), zeros behind the rows among them, and writes
// its sum. The rows' L2 normalisation: a warp takes a row (common/rows.cuh).
#include "common/chunks.cuh"
#include "common/rows.cuh"

KERNEL(dot_partials, DotPartials) {
  chunk_partials<T, A>(p.partials, (T*)nullptr, p.count, [](A&, A a, A b) { return a * b; }, elements<T>(p.a),
                       elements<T>(p.b));
}

KERNEL(l2_normalize_fwd, L2NormalizeFwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto x = hold<T>(p.cols, row_of<T>(p.x, row, p.stride));
  A squares = 0;
  each_column<T, A>(p.cols, [&](int, A x) { squares += x * x; }, x);
  const A length = max_(sqrt_(warp_sum(squares)), A(p.floor));
  write_row<T, A>(p.y, row, p.cols, p.stride, [=](int, A x) { return x / length; }, x);
  if (lane_index() == 0) ((A*)p.length)[row] = length;
}

KERNEL(l2_normalize_bwd, L2NormalizeBwd) {
  const int row = warp_index();
  if (row >= p.rows) return;
  const auto dy = hold<T>(p.cols, row_of<T>(p.dy, row, p.stride)), y = hold<T>(p.cols, row_of<T>(p.y, row, p.stride));
  A along = 0;
  each_column<T, A>(p.cols, [&](int, A dy, A y) { along += dy * y; }, dy, y);
  along = warp_sum(along);
  const A length = ((const A*)p.length)[row];
  if (!(length > A(p.floor))) along = 0;
  write_row<T, A>(p.dx, row, p.cols, p.stride, [=](int, A dy, A y) { return (dy - y * along) / length; }, dy, y);
}
