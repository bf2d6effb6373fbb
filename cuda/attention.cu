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
#include "common/heads.cuh"
#include "common/reduce.cuh"
#include "common/vec.cuh"

constexpr int TILE = 64;         // keys, or queries, on the long side of a tile; columns of the head at a time
constexpr int PITCH = TILE + 4;  // rows begin four banks apart
constexpr int SIDE = 16;         // threads side by side; TILE / SIDE = 4 columns each

template <class A> struct alignas(sizeof(A) == 2 ? 8 : 16) Quad {
  A at[4];
};

template <class A> __device__ __forceinline__ Quad<A> load_quad(const A* p) {
  if constexpr (sizeof(A) == 2) {
    return *(const Quad<A>*)p;
  } else {
    Quad<A> quad;
    for (int k = 0; k < 4; k += Vec<A>::COUNT) {
      const Vec<A> v = load_vec(p + k);
      for (int i = 0; i < Vec<A>::COUNT; i++) quad.at[k + i] = v.at[i];
    }
    return quad;
  }
}

template <class A> __device__ __forceinline__ void store_quad(A* p, const Quad<A>& quad) {
  if constexpr (sizeof(A) == 2) {
    *(Quad<A>*)p = quad;
  } else {
    for (int k = 0; k < 4; k += Vec<A>::COUNT) {
      Vec<A> v;
      for (int i = 0; i < Vec<A>::COUNT; i++) v.at[i] = quad.at[k + i];
      store_vec(p + k, v);
    }
  }
}

// tile[r][c] = from[first + r][column + c] for r < rows, c < TILE; 0 outside. A thread takes four neighbours, at
// once where the head's width lets them begin at multiples of 16 bytes.
template <class T, class A>
__device__ __forceinline__ void load_tile(A* tile, int rows, const Panel<const T>& from, int first, int column) {
  const int c = threadIdx.x % SIDE * 4, left = from.columns - column - c;
  for (int r = threadIdx.x / SIDE; r < rows; r += blockDim.x / SIDE) {
    const T* at = from.row(first + r) + column + c;
    const int inside = first + r < from.tokens ? left : 0;
    Quad<T> quad = {};
    if (from.columns % 4 == 0) {
      if (inside > 0) quad = load_quad(at);
    } else {
      for (int j = 0; j < 4; j++) quad.at[j] = j < inside ? at[j] : T(0);
    }
    Quad<A> to;
    for (int j = 0; j < 4; j++) to.at[j] = A(quad.at[j]);
    store_quad(tile + r * PITCH + c, to);
  }
}

// s[i][j] += <row R ty + i of a, row tx + 16 j of b> over `depth` columns
template <int R, class A> __device__ __forceinline__ void add_dots(A (&s)[R][4], const A* a, const A* b, int depth) {
  a += threadIdx.x / SIDE * R * PITCH, b += threadIdx.x % SIDE * PITCH;
  for (int d = 0; d < depth; d += 4) {
    Quad<A> x[R], y[4];
    for (int i = 0; i < R; i++) x[i] = load_quad(a + i * PITCH + d);
    for (int j = 0; j < 4; j++) y[j] = load_quad(b + j * SIDE * PITCH + d);
    for (int k = 0; k < 4; k++)
      for (int i = 0; i < R; i++)
        for (int j = 0; j < 4; j++) s[i][j] += x[i].at[k] * y[j].at[k];
  }
}

// o[i][j] += sum over k < depth of w[R ty + i][k] v[k][4 tx + j]
template <int R, class A>
__device__ __forceinline__ void add_products(A (&o)[R][4], const A* w, int pitch, const A* v, int depth) {
  w += (size_t)(threadIdx.x / SIDE * R) * pitch, v += threadIdx.x % SIDE * 4;
  for (int k = 0; k < depth; k += 4) {
    Quad<A> x[R];
    for (int i = 0; i < R; i++) x[i] = load_quad(w + (size_t)i * pitch + k);
    for (int m = 0; m < 4; m++) {
      const Quad<A> y = load_quad(v + (k + m) * PITCH);
      for (int i = 0; i < R; i++)
        for (int j = 0; j < 4; j++) o[i][j] += x[i].at[m] * y.at[j];
    }
  }
}

// to[first + R ty + i][column + 4 tx + j] = o[i][j] scale(R ty + i)
template <int R, class T, class A, class F>
__device__ __forceinline__ void store(const Panel<T>& to, int first, int column, const A (&o)[R][4], F scale) {
  for (int i = 0; i < R; i++) {
    const int row = threadIdx.x / SIDE * R + i, c = column + threadIdx.x % SIDE * 4;
    const int inside = first + row < to.tokens ? to.columns - c : 0;
    T* at = to.row(first + row) + c;
    Quad<T> quad;
    for (int j = 0; j < 4; j++) quad.at[j] = T(o[i][j] * scale(row));
    if (to.columns % 4 == 0) {
      if (inside > 0) store_quad(at, quad);
    } else {
      for (int j = 0; j < 4; j++) if (j < inside) at[j] = quad.at[j];
    }
  }
}

// The softmax of one row of scores by a warp, not yet divided by the sum; the sum's inverse, or 0 without a living key.
template <class A> __device__ __forceinline__ A exponentials(A* scores, int tokens, int pitch, A& top) {
  top = -Limits<A>::infinity();
  for (int c = lane_index(); c < tokens; c += 32) top = max_nan(top, scores[c]);
  top = warp_max(top);
  const bool dead = top == -Limits<A>::infinity();
  A sum = 0;
  for (int c = lane_index(); c < pitch; c += 32) {
    const A e = dead || c >= tokens ? A(0) : exp_(scores[c] - top);
    scores[c] = e, sum += e;
  }
  sum = warp_sum(sum);
  return dead ? A(0) : A(1) / sum;
}

template <class T, class A, int R, bool IN_SHARED = true> __device__ __forceinline__ void attend(const AttentionFwd& p) {
  constexpr int ROWS = 8 * R;
  const unsigned task = blockIdx.x;
  const int first = blockIdx.y * ROWS, pitch = (p.tokens + 3) / 4 * 4;
  const Panel<const T> q = panel<const T>(p, task, p.qkv, p.stride, 0), k = panel<const T>(p, task, p.qkv, p.stride, 1),
                       v = panel<const T>(p, task, p.qkv, p.stride, 2);
  SHARED_DYN(A, memory);
  A *queries = memory, *tile = queries + ROWS * PITCH, *scales = tile + TILE * PITCH;
  const size_t block = (size_t)blockIdx.x * gridDim.y + blockIdx.y;
  A* scores = IN_SHARED ? scales + ROWS : (A*)p.scores + block * ROWS * pitch;
  for (int key = 0; key < p.tokens; key += TILE) {
    A s[R][4] = {};
    for (int d = 0; d < p.head_dim; d += TILE) {
      __syncthreads();
      if (key == 0 || p.head_dim > TILE) load_tile<T>(queries, ROWS, q, first, d);
      load_tile<T>(tile, TILE, k, key, d);
      __syncthreads();
      add_dots(s, queries, tile, min_(TILE, p.head_dim - d));
    }
    for (int j = 0; j < 4; j++) {
      const int c = key + threadIdx.x % SIDE + j * SIDE;
      const bool alive = living<A>(p, task, c);
      for (int i = 0; i < R; i++) {
        A* row = scores + (size_t)(threadIdx.x / SIDE * R + i) * pitch;
        if (c < p.tokens) row[c] = alive ? s[i][j] * A(p.scale) : -Limits<A>::infinity();
      }
    }
  }
  __syncthreads();
  for (int r = threadIdx.x / 32; r < ROWS; r += blockDim.x / 32) {
    A *row = scores + (size_t)r * pitch, top;
    const A scale = exponentials(row, p.tokens, pitch, top);
    if (lane_index() == 0) scales[r] = scale;
    if (first + r >= p.tokens) continue;
    const size_t query = (size_t)blockIdx.x * p.tokens + first + r;
    if (p.stats && lane_index() == 0) {
      ((A*)p.stats)[2 * query] = scale == A(0) ? A(0) : top;
      ((A*)p.stats)[2 * query + 1] = scale;
    }
    if (!p.map) continue;
    for (int c = lane_index(); c < p.tokens; c += 32) ((T*)p.map)[query * p.tokens + c] = T(row[c] * scale);
  }
  if (!p.y) return;
  for (int d = 0; d < p.head_dim; d += TILE) {
    A o[R][4] = {};
    for (int key = 0; key < p.tokens; key += TILE) {
      __syncthreads();
      load_tile<T>(tile, TILE, v, key, d);
      __syncthreads();
      add_products(o, scores + key, pitch, tile, min_(TILE, p.tokens - key));
    }
    store(panel<T>(p, task, p.y, p.y_stride, 0), first, d, o, [&](int row) { return scales[row]; });
  }
}

KERNEL(attention_fwd, AttentionFwd) {
  if constexpr (sizeof(A) == 4) {
    if (p.rows == 32) return attend<T, A, 4>(p);
    if (p.rows == 16) return attend<T, A, 2>(p);
  }
  if (p.scores) return attend<T, A, 1, false>(p);
  attend<T, A, 1>(p);
}

// What the forward pass saved of a query, and delta; zeros behind the last one.
template <class A> struct Saved {
  A top, scale, delta;
};

template <class A, class Args> __device__ __forceinline__ Saved<A> saved_of(const Args& p, int query) {
  if (query >= p.tokens) return {A(0), A(0), A(0)};
  const size_t at = (size_t)blockIdx.x * p.tokens + query;
  const A* stats = (const A*)p.stats + 2 * at;
  return {stats[0], stats[1], ((const A*)p.delta)[at]};
}

// The gradients of a tile of queries (dq), or of keys (dk and dv): rows are tokens of that kind, columns of the other.
//   p = probability, dp = <dy, v>, ds = p (dp - delta);  dq = c ds k,  or  dk = c dsᵀ q, dv = pᵀ dy
template <class T, class A, bool OF_KEYS, class Args> __device__ __forceinline__ void gradient(const Args& p) {
  constexpr int R = sizeof(A) == 4 ? 4 : 1;  // in double precision one, so that the tiles fit the smallest card
  constexpr int ROWS = 8 * R;
  const unsigned task = blockIdx.x;
  const int first = blockIdx.y * ROWS, y0 = threadIdx.x / SIDE * R, x0 = threadIdx.x % SIDE;
  const Panel<const T> q = panel<const T>(p, task, p.qkv, p.stride, 0), k = panel<const T>(p, task, p.qkv, p.stride, 1),
                       v = panel<const T>(p, task, p.qkv, p.stride, 2), dy = panel<const T>(p, task, p.dy, p.y_stride, 0);
  const Panel<const T>&row = OF_KEYS ? k : q, &row_value = OF_KEYS ? v : dy;
  const Panel<const T>&col = OF_KEYS ? q : k, &col_value = OF_KEYS ? dy : v;
  SHARED_DYN(A, memory);
  A *rows = memory, *row_values = rows + ROWS * PITCH, *cols = row_values + ROWS * PITCH;
  A *col_values = cols + TILE * PITCH, *ds = col_values + TILE * PITCH, *prob = ds + ROWS * PITCH;  // prob: for keys
  for (int column = 0; column < p.head_dim; column += TILE) {
    A d_row[R][4] = {}, d_value[R][4] = {};
    for (int other = 0; other < p.tokens; other += TILE) {
      A s[R][4] = {}, dp[R][4] = {};
      for (int d = 0; d < p.head_dim; d += TILE) {
        __syncthreads();
        if (other == 0 || p.head_dim > TILE) {
          load_tile<T>(rows, ROWS, row, first, d);
          load_tile<T>(row_values, ROWS, row_value, first, d);
        }
        load_tile<T>(cols, TILE, col, other, d);
        load_tile<T>(col_values, TILE, col_value, other, d);
        __syncthreads();
        add_dots(s, rows, cols, min_(TILE, p.head_dim - d));
        add_dots(dp, row_values, col_values, min_(TILE, p.head_dim - d));
      }
      Saved<A> saved[OF_KEYS ? 4 : R];
      bool alive[OF_KEYS ? R : 4];
      for (int i = 0; i < R; i++) {
        if (OF_KEYS) alive[i] = living<A>(p, task, first + y0 + i);
        else saved[i] = saved_of<A>(p, first + y0 + i);
      }
      for (int j = 0; j < 4; j++) {
        if (OF_KEYS) saved[j] = saved_of<A>(p, other + x0 + j * SIDE);
        else alive[j] = living<A>(p, task, other + x0 + j * SIDE);
      }
      for (int i = 0; i < R; i++) {
        for (int j = 0; j < 4; j++) {
          const Saved<A>& query = saved[OF_KEYS ? j : i];
          const bool counts = alive[OF_KEYS ? i : j] && query.scale != A(0);
          const A e = counts ? exp_(s[i][j] * A(p.scale) - query.top) * query.scale : A(0);
          const int at = (y0 + i) * PITCH + x0 + j * SIDE;
          ds[at] = counts ? e * (dp[i][j] - query.delta) : A(0);
          if (OF_KEYS) prob[at] = e;
        }
      }
      if (p.head_dim > TILE) {  // other columns of the head were loaded last
        __syncthreads();
        load_tile<T>(cols, TILE, col, other, column);
        if (OF_KEYS) load_tile<T>(col_values, TILE, col_value, other, column);
      }
      __syncthreads();
      add_products(d_row, ds, PITCH, cols, min_(TILE, p.tokens - other));
      if (OF_KEYS) add_products(d_value, prob, PITCH, col_values, min_(TILE, p.tokens - other));
    }
    store(panel<T>(p, task, p.dqkv, p.stride, OF_KEYS ? 1 : 0), first, column, d_row, [&](int) { return A(p.scale); });
    if (OF_KEYS) store(panel<T>(p, task, p.dqkv, p.stride, 2), first, column, d_value, [](int) { return A(1); });
  }
}

KERNEL(attention_bwd_q, AttentionBwdQ) {
  const Panel<const T> dy = panel<const T>(p, blockIdx.x, p.dy, p.y_stride, 0);
  const Panel<const T> y = panel<const T>(p, blockIdx.x, p.y, p.y_stride, 0);
  const int rows = sizeof(A) == 4 ? 32 : 8;
  for (int r = threadIdx.x / 32; r < rows; r += blockDim.x / 32) {
    const int query = blockIdx.y * rows + r;
    if (query >= p.tokens) continue;
    A sum = 0;
    for (int c = lane_index(); c < p.head_dim; c += 32) {
      sum += A(dy.row(query)[c]) * A(y.row(query)[c]);
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) ((A*)p.delta)[(size_t)blockIdx.x * p.tokens + query] = sum;
  }
  gradient<T, A, false>(p);
}

KERNEL(attention_bwd_kv, AttentionBwdKv) { gradient<T, A, true>(p); }
