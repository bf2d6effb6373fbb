// Windows gathered into rows for matrix products, and rows put back: element by element of the result (common/elements.cuh), so
// nothing is added by two threads. Neighbours of a row are neighbours in memory, so Vecs are read where a run of them (the
// channels of a group, or a window's row of a patch without padding) and the rows of the map hold whole ones.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/elements.cuh"
#include "common/windows.cuh"

KERNEL(unfold, Unfold) {
  const Windows w = p.of;
  const int area = w.kernel * w.kernel, width = w.channels / w.groups;
  const auto source = [=](long long i) {
    const long long line = quotient(i, p.stride), group = quotient(line, p.rows), window = line - group * p.rows;
    const int k = int(i - line * p.stride);
    if (k >= area * width) return -1ll;
    const int tap = w.images ? k % area : k / width, channel = int(group) * width + (w.images ? k / area : k % width);
    const long long pixel = pixel_of(w, window, tap);
    if (pixel < 0) return -1ll;
    if (!w.images) return pixel * p.x_stride + channel;
    const long long map = quotient(pixel, w.height * w.width);
    return pixel + (map * (w.channels - 1) + channel) * (w.height * w.width);
  };
  const auto same = [](A x) { return x; };
  const bool even = w.padding == 0 && w.kernel % VEC<T> == 0 && w.step % VEC<T> == 0 && w.width % VEC<T> == 0;
  const bool runs = width % VEC<T> == 0 && p.x_stride % VEC<T> == 0;
  if (w.images) map<T, A>((T*)p.out, p.count, same, moved<A>(p.x, even, source));
  else map<T, A>((T*)p.out, p.count, same, moved<T>(p.x, runs, source));
}

// The sum of what the rows hold of channel `channel` of a pixel.
template <class T, class A> __device__ __forceinline__ A folded(const Fold& p, long long pixel, int channel) {
  const Windows w = p.of;
  const int area = w.kernel * w.kernel, width = w.channels / w.groups, c = channel % width;
  const T* rows = (const T*)p.x + (long long)(channel / width) * p.rows * p.stride;
  A sum = 0;
  for (int tap = 0; tap < area; tap++) {
    const long long window = window_of(w, pixel, tap);
    if (window >= 0) sum += A(rows[window * p.stride + (w.images ? c * area + tap : tap * width + c)]);
  }
  return sum;
}

KERNEL(fold, Fold) {
  const Windows w = p.of;
  const long long i = element_index();
  if (i >= p.count) return;
  if (w.images) {
    const long long size = w.height * w.width, plane = quotient(i, size), map = quotient(plane, w.channels);
    ((A*)p.out)[i] = folded<T, A>(p, i - (plane - map) * size, int(plane - map * w.channels));
  } else {
    const long long pixel = quotient(i, p.out_stride);
    const int channel = int(i - pixel * p.out_stride);
    ((T*)p.out)[i] = channel < w.channels ? T(folded<T, A>(p, pixel, channel)) : T(0);
  }
}

KERNEL(pack_weight, PackWeight) {
  const int inner = p.channels * p.area;
  map<T, A>((T*)p.out, p.count, [](A x) { return x; }, moved<T>(p.w, false, [=](long long i) {
    const long long o = quotient(i, p.stride);
    const int k = int(i - o * p.stride);
    if (k >= inner) return -1ll;
    return o * inner + (p.images ? k : k % p.channels * p.area + k / p.channels);
  }));
}

KERNEL(unpack_weight, UnpackWeight) {
  const long long i = element_index(), o = quotient(i, p.channels * p.area);
  if (i >= p.count) return;
  const int k = int(i - o * p.channels * p.area), at = p.images ? k : k % p.area * p.channels + k / p.area;
  const A value = ((const A*)p.x)[o * p.stride + at];
  A* out = (A*)p.out + i;
  *out = p.accumulate ? *out + value : value;
}
