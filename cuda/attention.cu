// Attention. A block takes one head of one image (x) and a tile of its rows (y); 128 threads are 16 side by side by 8.
// Tiles of q, k, v and dy with 64 columns of the head lie in shared memory, rows PITCH apart, zeros behind the ends.
//   a bᵀ: a thread computes R rows by 4 columns (16 apart): 4 + R reads of four elements give 16 R multiply-adds.
//   w v:  the same with R rows by 4 neighbouring columns.
// Forward: 8R queries; the scores of all keys stay in shared memory, tile after tile of keys; a warp then takes the
// softmax of a row; then the product with v, 64 columns of the head at a time. Row maximum and scale are saved. Scores
// of rows too long for that, 8 of them, lie in device memory.
// Backward: a tile's probabilities are computed again, p = exp(s - maximum) · scale, then ds = p (dp - delta) with
// delta = <dy, y> of the query. Two kernels without atomics: dq by tiles of queries (it also writes delta), dk and dv
// by tiles of keys with everything transposed. A wider head than 64 repeats the scores for every 64 columns of the
// result. A query without any living key has scale 0: its result and its gradients are 0.
#define KERNEL_THREADS 128
#define KERNEL_BLOCKS 3
#include "common/attend.cuh"

// One task of plain attention.
template <class A, class Args> struct PlainHeads {
  const Args& p;
  unsigned task;
  template <class S> __device__ __forceinline__ Panel<S> panel(Ptr base, int stride, int part) const {
    return ::panel<S>(p, task, base, stride, part);
  }
  __device__ __forceinline__ bool living(int key) const { return ::living<A>(p, task, key); }
  __device__ __forceinline__ A bias(int, int) const { return A(0); }
  // The map, where it is wanted.
  template <class T> __device__ __forceinline__ void keep(size_t query, const A* row, A scale) const {
    if (!p.map) return;
    for (int c = lane_index(); c < p.tokens; c += 32) ((T*)p.map)[query * p.tokens + c] = T(row[c] * scale);
  }
};

KERNEL(attention_fwd, AttentionFwd) {
  const PlainHeads<A, AttentionFwd> heads{p, blockIdx.x};
  if constexpr (sizeof(A) == 4) {
    if (p.rows == 32) return attend<T, A, 4>(heads, p);
    if (p.rows == 16) return attend<T, A, 2>(heads, p);
  }
  if (p.scores) return attend<T, A, 1, false>(heads, p);
  attend<T, A, 1>(heads, p);
}

KERNEL(attention_bwd_q, AttentionBwdQ) {
  const PlainHeads<A, AttentionBwdQ> heads{p, blockIdx.x};
  write_delta<T, A>(heads, p);
  gradient<T, A, false>(heads, p);
}

KERNEL(attention_bwd_kv, AttentionBwdKv) { gradient<T, A, true>(PlainHeads<A, AttentionBwdKv>{p, blockIdx.x}, p); }
