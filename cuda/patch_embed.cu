// Patches of images and back, and tokens put together: one thread an element of the result, so nothing is added by two
// threads. Along a patch's row neighbouring threads touch neighbouring pixels.
#include "common/device.cuh"

// Where a patch's element stands among the pixels: the patches of an image in rows, each flattened by (channel, row, column).
KERNEL(unfold, Unfold) {
  const long long i = element_index();
  if (i >= p.count) return;
  const int across = p.width / p.patch, patches = p.height / p.patch * across, area = p.patch * p.patch;
  const int length = p.channels * area;
  const long long index = i / length, image = index / patches;
  const int k = int(i % length), at = int(index % patches);
  const int y = at / across * p.patch + k % area / p.patch, x = at % across * p.patch + k % p.patch;
  ((T*)p.out)[index * p.stride + k] = T(((const A*)p.x)[((image * p.channels + k / area) * p.height + y) * p.width + x]);
}

KERNEL(fold, Fold) {
  const long long i = element_index();
  if (i >= p.count) return;
  const int across = p.width / p.patch, patches = p.height / p.patch * across, area = p.patch * p.patch;
  const int x = int(i % p.width), y = int(i / p.width % p.height);
  const long long plane = i / p.width / p.height, image = plane / p.channels;
  const long long index = image * patches + y / p.patch * across + x / p.patch;
  const int k = int(plane % p.channels) * area + y % p.patch * p.patch + x % p.patch;
  ((A*)p.out)[i] = A(((const T*)p.x)[index * p.stride + k]);
}

KERNEL(embed_tokens, EmbedTokens) {
  const long long i = element_index();
  if (i >= p.count) return;
  const long long row = i / p.stride, image = row / p.taken;
  const long long token = p.first + row % p.taken, c = i % p.stride;
  const T x = ((const T*)p.x)[p.shared ? (row % p.taken) * p.stride + c : i];
  ((T*)p.y)[(image * p.tokens + token) * p.stride + c] = T(A(x) + ((const A*)p.pos)[token * p.stride + c]);
}
