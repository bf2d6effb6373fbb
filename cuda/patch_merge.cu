// Four neighbouring tokens side by side, and back: element by element of the result (common/elements.cuh), Vecs where a token's
// row ends with a whole one.
#include "common/elements.cuh"

KERNEL(patch_merge_fwd, PatchMergeFwd) {
  const int across = p.width / 2;
  const auto from = [=](long long i) {
    const long long row = quotient(i, p.stride), line = quotient(row, across); // of all images: their heights are even
    const int at = int(i - row * p.stride), part = at / p.cols;
    if (part >= 4) return -1ll;
    const long long token = (2 * line + part % 2) * p.width + 2 * (row - line * across) + part / 2;
    return token * p.x_stride + at % p.cols;
  };
  const bool whole = p.cols % VEC<T> == 0 && p.stride % VEC<T> == 0 && p.x_stride % VEC<T> == 0;
  map<T, A>((T*)p.y, p.count, [](A x) { return x; }, moved<T>(p.x, whole, from));
}

KERNEL(patch_merge_bwd, PatchMergeBwd) {
  const auto from = [=](long long i) {
    const long long token = quotient(i, p.stride), line = quotient(token, p.width);
    const int at = int(i - token * p.stride), x = int(token - line * p.width);
    if (at >= p.cols) return -1ll;
    const long long row = line / 2 * (p.width / 2) + x / 2;
    return row * p.dy_stride + (line % 2 + x % 2 * 2) * p.cols + at;
  };
  const bool whole = p.cols % VEC<T> == 0 && p.stride % VEC<T> == 0 && p.dy_stride % VEC<T> == 0;
  map<T, A>((T*)p.dx, p.count, [](A x) { return x; }, moved<T>(p.dy, whole, from));
}
