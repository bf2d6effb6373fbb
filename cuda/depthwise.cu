// Convolutions whose outputs read one channel each: a thread an element of the result, neighbours read neighbouring channels.
// The weight's gradient runs down the windows (common/columns.cuh).
#include "common/columns.cuh"
#include "common/windows.cuh"

KERNEL(depthwise_fwd, DepthwiseFwd) {
  const long long i = element_index(), window = quotient(i, p.stride);
  if (i >= p.count) return;
  const int o = int(i - window * p.stride), area = p.of.kernel * p.of.kernel;
  T* y = (T*)p.y + i;
  if (o >= p.outputs) {
    *y = T(0);
    return;
  }
  const T *x = (const T*)p.x + o / (p.outputs / p.of.channels), *w = (const T*)p.w + (long long)o * area;
  A sum = p.b ? A(((const T*)p.b)[o]) : A(0);
  for (int tap = 0; tap < area; tap++) {
    const long long pixel = pixel_of(p.of, window, tap);
    if (pixel >= 0) sum += A(w[tap]) * A(x[pixel * p.x_stride]);
  }
  *y = T(sum);
}

KERNEL(depthwise_bwd, DepthwiseBwd) {
  const long long i = element_index(), pixel = quotient(i, p.x_stride);
  if (i >= p.count) return;
  const int c = int(i - pixel * p.x_stride), area = p.of.kernel * p.of.kernel, each = p.outputs / p.of.channels;
  A sum = 0;
  for (int tap = 0; c < p.of.channels && tap < area; tap++) {
    const long long window = window_of(p.of, pixel, tap);
    if (window < 0) continue;
    for (int o = c * each; o < (c + 1) * each; o++) {
      sum += A(((const T*)p.w)[(long long)o * area + tap]) * A(((const T*)p.dy)[window * p.stride + o]);
    }
  }
  ((T*)p.dx)[i] = T(sum);
}

KERNEL(depthwise_columns, DepthwiseColumns) {
  const int area = p.of.kernel * p.of.kernel, each = p.outputs / p.of.channels;
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int window, int c, auto& sums) {
    for (int k = 0; k < VEC<T> && c + k < p.cols; k++) {
      const int o = (c + k) / area;
      const long long pixel = pixel_of(p.of, window, (c + k) % area);
      if (pixel < 0) continue;
      const A dy = A(((const T*)p.dy)[(long long)window * p.stride + o]);
      sums[0].at[k] += dy * A(((const T*)p.x)[pixel * p.x_stride + o / each]);
    }
  });
}
