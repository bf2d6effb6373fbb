// Tokens put together, element by element of the result (common/elements.cuh).
#include "common/elements.cuh"

KERNEL(embed_tokens, EmbedTokens) {
  const long long image_size = (long long)p.tokens * p.stride, extra = (long long)p.extra * p.stride;
  const auto position = [=](long long i) { return i - quotient(i, image_size) * image_size; };
  const auto patch = [=](long long i) {
    const long long image = quotient(i, image_size);
    return position(i) < extra ? -1 : i - (image + 1) * extra;
  };
  const bool whole = p.stride % VEC<T> == 0;
  const auto pos = moved<A>(p.pos, whole, position);
  const auto first = [=](Ptr token, int k) {
    return moved<T>(token, whole, [=](long long i) {
      const long long c = position(i) - (long long)k * p.stride;
      return token && c >= 0 && c < p.stride ? c : -1;
    });
  };
  map<T, A>((T*)p.y, p.count, [](A x, A pos, A first, A second) { return x + first + second + pos; },
            moved<T>(p.x, whole, patch), pos, first(p.first, 0), first(p.second, 1));
}
