// Window attention: the kernels of attention.cu with a task for each head of each window of each image. A window's tokens are
// found by an index map (roll and partition, and both back), so nothing is copied; to a score come the head's relative-position
// bias and -100 between the parts of a window that the roll brought together. The gradient of the bias table: every block sums
// ds of the windows of a chunk for a tile of one head's (query, key), `add_partials` the chunks; then a thread collects what
// belongs to its entry of the table.
#define KERNEL_THREADS 128
#define KERNEL_BLOCKS 3
#include "common/attend.cuh"

constexpr int CHUNK_WINDOWS = 32; // as in src/ops/window_attention.rs

// The entry of the bias table for query i and key j of a window of side `window`: how far apart their rows and columns are.
__device__ __forceinline__ int bias_entry(int window, int i, int j) {
  return (i / window - j / window + window - 1) * (2 * window - 1) + i % window - j % window + window - 1;
}

// A head's columns, a row for each token of a window whose first token is at (top, left), the grid taken as a torus.
template <class T> struct WindowPanel {
  T* image;
  int offset, tokens, columns, stride, top, left, height, width, window;
  __device__ __forceinline__ T* row(int r) const {
    int y = top + r / window, x = left + r % window;
    y -= y < height ? 0 : height, x -= x < width ? 0 : width;
    return image + (offset + (y * width + x) * stride);
  }
};

// One task: (image · windows + window) · heads + head.
template <class A, class Args> struct WindowHeads {
  const Args& p;
  unsigned task;
  int head, top, left;
  size_t image;
  bool last_row, last_column;  // of windows
  __device__ __forceinline__ WindowHeads(const Args& p, unsigned task) : p(p), task(task), head(task % p.heads) {
    const unsigned across = p.width / p.window, down = p.height / p.window, window = task / p.heads;
    const int row = window / across % down, column = window % across;
    image = window / (across * down);
    top = row * p.window + p.shift, left = column * p.window + p.shift;
    last_row = top + p.window > p.height, last_column = left + p.window > p.width;  // only where the grid is rolled
  }
  template <class S> __device__ __forceinline__ WindowPanel<S> panel(Ptr base, int stride, int part) const {
    return {(S*)base + image * p.height * p.width * stride, (part * p.heads + head) * p.head_dim, p.tokens, p.head_dim, stride,
            top, left, p.height, p.width, p.window};
  }
  __device__ __forceinline__ bool living(int key) const { return key < p.tokens; }
  // Whether a token of a window stands before the roll's seam, by its distance from the window's first one.
  __device__ __forceinline__ bool before(int distance) const { return distance < p.window - p.shift; }
  __device__ __forceinline__ A bias(int i, int j) const {
    const int w = p.window;
    const A value = ((const A*)p.table)[bias_entry(w, i, j) * p.table_stride + head];
    const bool apart = (last_row && before(i / w) != before(j / w)) || (last_column && before(i % w) != before(j % w));
    return apart ? value - A(100) : value;
  }
  template <class T> __device__ __forceinline__ void keep(size_t, const A*, A) const {}
};

KERNEL(window_attention_fwd, WindowAttentionFwd) {
  const WindowHeads<A, WindowAttentionFwd> heads(p, blockIdx.x);
  if constexpr (sizeof(A) == 4) {
    if (p.rows == 32) return attend<T, A, 4>(heads, p);
    if (p.rows == 16) return attend<T, A, 2>(heads, p);
  }
  if (p.scores) return attend<T, A, 1, false>(heads, p);
  attend<T, A, 1>(heads, p);
}

// delta = sum over the keys of p dp for the queries that this block takes, written: <dy, y> in the accumulator's precision, since the
// table's gradient adds up many ds, and a rounded y would be seen there.
template <class T, class A, class Heads, class Args> __device__ __forceinline__ void sum_delta(const Heads& heads, const Args& p) {
  constexpr int R = GRADIENT_ROWS<A>;
  const int first = blockIdx.y * 8 * R, y0 = first + threadIdx.x / SIDE * R;
  const auto q = heads.template panel<const T>(p.qkv, p.stride, 0), k = heads.template panel<const T>(p.qkv, p.stride, 1),
             v = heads.template panel<const T>(p.qkv, p.stride, 2), dy = heads.template panel<const T>(p.dy, p.y_stride, 0);
  const decltype(q) row[2] = {q, dy}, col[2] = {k, v};
  SHARED_DYN(A, memory);
  const GradientTiles<A> tiles(memory);
  A* delta = (A*)p.delta + (size_t)heads.task * p.tokens;
  A sums[R] = {};
  for (int i = 0; i < R; i++) {
    if (threadIdx.x % SIDE == 0 && y0 + i < p.tokens) delta[y0 + i] = A(0);
  }
  __syncthreads();
  for (int other = 0; other < p.tokens; other += TILE) {
    A e[R][4], ds[R][4];
    probabilities<T, A, false>(heads, p, tiles, row, col, first, other, other == 0, e, ds);
    for (int i = 0; i < R; i++) sums[i] += (ds[i][0] + ds[i][1]) + (ds[i][2] + ds[i][3]);
  }
  __syncthreads();
  for (int i = 0; i < R; i++) {
    for (int lane = SIDE / 2; lane; lane /= 2) sums[i] += __shfl_xor_sync(ALL_LANES, sums[i], lane);
    if (threadIdx.x % SIDE == 0 && y0 + i < p.tokens) delta[y0 + i] = sums[i];
  }
  __syncthreads();
}

KERNEL(window_attention_bwd_q, WindowAttentionBwdQ) {
  const WindowHeads<A, WindowAttentionBwdQ> heads(p, blockIdx.x);
  sum_delta<T, A>(heads, p);
  gradient<T, A, false>(heads, p);
}

KERNEL(window_attention_bwd_kv, WindowAttentionBwdKv) {
  gradient<T, A, true>(WindowHeads<A, WindowAttentionBwdKv>(p, blockIdx.x), p);
}

KERNEL(window_attention_bwd_bias, WindowAttentionBwdBias) {
  constexpr int R = GRADIENT_ROWS<A>, ROWS = 8 * R;
  const int chunk = blockIdx.x / p.heads, head = blockIdx.x % p.heads, first = blockIdx.y * ROWS, other = blockIdx.z * TILE;
  SHARED_DYN(A, memory);
  const GradientTiles<A> tiles(memory);
  A sums[R][4] = {};
  for (int window = chunk * CHUNK_WINDOWS; window < min_((chunk + 1) * CHUNK_WINDOWS, p.windows); window++) {
    const WindowHeads<A, WindowAttentionBwdBias> heads(p, (unsigned)window * p.heads + head);
    const auto q = heads.template panel<const T>(p.qkv, p.stride, 0), k = heads.template panel<const T>(p.qkv, p.stride, 1),
               v = heads.template panel<const T>(p.qkv, p.stride, 2), dy = heads.template panel<const T>(p.dy, p.y_stride, 0);
    const decltype(q) row[2] = {q, dy}, col[2] = {k, v};
    A e[R][4], ds[R][4];
    probabilities<T, A, false>(heads, p, tiles, row, col, first, other, true, e, ds);
    for (int i = 0; i < R; i++)
      for (int j = 0; j < 4; j++) sums[i][j] += ds[i][j];
  }
  const int pairs = p.tokens * p.tokens, stride = (p.heads * pairs + 7) / 8 * 8;
  for (int i = 0; i < R; i++) {
    for (int j = 0; j < 4; j++) {
      const int query = first + threadIdx.x / SIDE * R + i, key = other + threadIdx.x % SIDE + j * SIDE;
      if (query >= p.tokens || key >= p.tokens) continue;
      ((A*)p.partials)[(size_t)chunk * stride + head * pairs + query * p.tokens + key] = sums[i][j];
    }
  }
}

KERNEL(window_attention_table, WindowAttentionTable) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, side = 2 * p.window - 1, head = i % p.heads, entry = i / p.heads;
  if (entry >= side * side) return;
  const int tokens = p.window * p.window, dy = entry / side - p.window + 1, dx = entry % side - p.window + 1;
  const A* sums = (const A*)p.sums + head * tokens * tokens;
  A* out = (A*)p.out + entry * p.stride + head;
  A sum = p.accumulate ? *out : A(0);
  // All queries (y, x) whose key (y - dy, x - dx) is in the window.
  for (int y = max_(0, dy); y < p.window + min_(0, dy); y++)
    for (int x = max_(0, dx); x < p.window + min_(0, dx); x++)
      sum += sums[(y * p.window + x) * tokens + (y - dy) * p.window + x - dx];
  *out = sum;
}
