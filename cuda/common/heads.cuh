// Where attention's heads lie: a row for each token, the heads side by side, in packed tensors part by part. A task is one
// head of one image: image · heads + head.
#pragma once
#include "device.cuh"

// A head's columns, a row for each token. An image has fewer than 2^31 elements.
template <class T> struct Panel {
  T* image;
  int offset, tokens, columns, stride;
  __device__ __forceinline__ T* row(int r) const { return image + (offset + r * stride); }
};

// Part `part` (of qkv: 0 q, 1 k, 2 v) of a task.
template <class T, class Args>
__device__ __forceinline__ Panel<T> panel(const Args& p, unsigned task, Ptr base, int stride, int part) {
  T* image = (T*)base + (size_t)(task / p.heads) * p.tokens * stride;
  return {image, int(task % p.heads) * p.head_dim + part * (p.heads * p.head_dim), p.tokens, p.head_dim, stride};
}

// Whether key `key` of the task's image is attended to.
template <class A, class Args> __device__ __forceinline__ bool living(const Args& p, unsigned task, int key) {
  if (key >= p.tokens) return false;
  return !p.mask || ((const A*)p.mask)[(size_t)(task / p.heads) * p.mask_stride + key] != A(0);
}
