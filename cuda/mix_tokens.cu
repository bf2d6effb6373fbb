// A box of tokens from the image that stands as far from the batch's other end (common/elements.cuh).
#include "common/elements.cuh"

KERNEL(mix_tokens, MixTokens) {
  const auto from = [=](long long i) {
    const long long row = quotient(i, p.stride), image = quotient(row, p.tokens);
    const int token = int(row - image * p.tokens), y = token / p.across, x = token % p.across;
    const bool inside = y >= p.top && y < p.bottom && x >= p.left && x < p.right;
    return inside ? i + (p.images - 1 - 2 * image) * p.tokens * p.stride : i;
  };
  map<T, A>((T*)p.y, p.count, [](A x) { return x; }, moved<T>(p.x, p.stride % VEC<T> == 0, from));
}
