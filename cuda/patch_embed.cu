// Patches of images and back, and tokens put together: element by element of the result (common/elements.cuh), so nothing is
// added by two threads. Along a patch's row neighbours in the result are neighbouring pixels: Vecs where its width and the
// image's hold whole ones (16 and 224 do), single elements where not.
#include "common/elements.cuh"

KERNEL(unfold, Unfold) {
  const int across = p.width / p.patch, patches = p.height / p.patch * across, area = p.patch * p.patch;
  // Where an element of the patches stands among the pixels: the patches of an image in rows, each flattened by (channel,
  // row, column).
  const auto pixel = [=](long long i) {
    const long long index = quotient(i, p.stride), image = quotient(index, patches);
    const int k = int(i - index * p.stride), at = int(index - image * patches), channel = k / area;
    const int y = at / across * p.patch + k % area / p.patch, x = at % across * p.patch + k % p.patch;
    return channel < p.channels ? ((image * p.channels + channel) * p.height + y) * p.width + x : -1;
  };
  const bool whole = p.patch % VEC<T> == 0 && p.width % VEC<T> == 0;
  map<T, A>((T*)p.out, p.count, [](A x) { return x; }, moved<A>(p.x, whole, pixel));
}

KERNEL(fold, Fold) {
  const int across = p.width / p.patch, patches = p.height / p.patch * across, area = p.patch * p.patch;
  const auto element = [=](long long i) {
    const long long line = quotient(i, p.width), plane = quotient(line, p.height), image = quotient(plane, p.channels);
    const int x = int(i - line * p.width), y = int(line - plane * p.height), channel = int(plane - image * p.channels);
    const long long index = image * patches + y / p.patch * across + x / p.patch;
    return index * p.stride + channel * area + y % p.patch * p.patch + x % p.patch;
  };
  const bool whole = p.patch % VEC<T> == 0 && p.width % VEC<T> == 0;
  map<T, A>((A*)p.out, p.count, [](A x) { return x; }, moved<T>(p.x, whole, element));
}

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
