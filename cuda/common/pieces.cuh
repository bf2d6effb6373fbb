// Work on many tensors in one launch: each is cut into pieces of PIECE elements, a block takes one, and the blocks of a tensor
// begin at its `first`. The list is part of the kernel's argument, so that a captured step needs no other memory.
#pragma once
#include "vec.cuh"

constexpr int PIECE = 4096; // as in src/gpu/pieces.rs
template <class T> constexpr int PIECE_VECS = PIECE / KERNEL_THREADS / VEC<T>; // of which a thread takes so many Vecs

// The entry of `at` that this block's piece belongs to: the last one whose `first` is not behind it.
template <class Entry> __device__ __forceinline__ int piece_owner(const Entry* at, int entries) {
  int low = 0, high = entries;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (at[middle].first <= (long long)blockIdx.x) low = middle;
    else high = middle;
  }
  return low;
}

// The elements of entry `t` that this block takes: from `first` to before `last`.
struct Piece {
  long long first, last;
};
template <class Entry> __device__ __forceinline__ Piece piece_of(const Entry& t) {
  const long long first = (blockIdx.x - t.first) * PIECE, last = first + PIECE;
  return {first, last < t.count ? last : t.count};
}
