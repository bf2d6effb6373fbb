// Where a convolution's windows lie (as in src/cpu/windows.rs). Windows and pixels are counted over all maps; `tap` is an element
// of a window, row by row.
#pragma once
#include "device.cuh"

// The pixel behind element `tap` of a window; -1 in the padding.
__device__ __forceinline__ long long pixel_of(const Windows& w, long long window, int tap) {
  const long long line = quotient(window, w.out_width), map = quotient(line, w.out_height);
  const int y = int(line - map * w.out_height) * w.step - w.padding + tap / w.kernel;
  const int x = int(window - line * w.out_width) * w.step - w.padding + tap % w.kernel;
  return y < 0 || y >= w.height || x < 0 || x >= w.width ? -1 : (map * w.height + y) * w.width + x;
}

// The window whose element `tap` is this pixel; -1 when there is none.
__device__ __forceinline__ long long window_of(const Windows& w, long long pixel, int tap) {
  const long long line = quotient(pixel, w.width), map = quotient(line, w.height);
  const int y = int(line - map * w.height) + w.padding - tap / w.kernel;
  const int x = int(pixel - line * w.width) + w.padding - tap % w.kernel;
  if (y < 0 || y % w.step || y / w.step >= w.out_height || x < 0 || x % w.step || x / w.step >= w.out_width) return -1;
  return (map * w.out_height + y / w.step) * w.out_width + x / w.step;
}
