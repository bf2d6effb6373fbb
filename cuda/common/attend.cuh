// What attention.cu and window_attention.cu share: the tiles of a head in shared memory, their products, and the three passes over
// them, each for 128 threads. attention.cu says how they go together.
#pragma once
#include "heads.cuh"
#include "reduce.cuh"
#include "vec.cuh"

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
template <class T, class A, class From>
__device__ __forceinline__ void load_tile(A* tile, int rows, const From& from, int first, int column) {
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
template <int R, class T, class A, class To, class F>
__device__ __forceinline__ void store(const To& to, int first, int column, const A (&o)[R][4], F scale) {
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

// Forward: y and stats of the 8R queries that this block takes, as attention.cu describes. Of one task `heads` gives the panels,
// the keys that are attended to, what is added to a score, and what else is wanted of a row's probabilities.
template <class T, class A, int R, bool IN_SHARED = true, class Heads, class Args>
__device__ __forceinline__ void attend(const Heads& heads, const Args& p) {
  constexpr int ROWS = 8 * R;
  const int first = blockIdx.y * ROWS, pitch = (p.tokens + 3) / 4 * 4;
  const auto q = heads.template panel<const T>(p.qkv, p.stride, 0), k = heads.template panel<const T>(p.qkv, p.stride, 1),
             v = heads.template panel<const T>(p.qkv, p.stride, 2);
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
      const bool alive = heads.living(c);
      for (int i = 0; i < R; i++) {
        const int r = threadIdx.x / SIDE * R + i;
        const A score = s[i][j] * A(p.scale) + (first + r < p.tokens && alive ? heads.bias(first + r, c) : A(0));
        if (c < p.tokens) scores[(size_t)r * pitch + c] = alive ? score : -Limits<A>::infinity();
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
    heads.template keep<T>(query, row, scale);
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
    store<R, T>(heads.template panel<T>(p.y, p.y_stride, 0), first, d, o, [&](int row) { return scales[row]; });
  }
}

// What the forward pass saved of a query, and delta; zeros behind the last one.
template <class A> struct Saved {
  A top, scale, delta;
};

template <class A, class Args> __device__ __forceinline__ Saved<A> saved_of(const Args& p, unsigned task, int query) {
  if (query >= p.tokens) return {A(0), A(0), A(0)};
  const size_t at = (size_t)task * p.tokens + query;
  const A* stats = (const A*)p.stats + 2 * at;
  return {stats[0], stats[1], ((const A*)p.delta)[at]};
}

// Rows of a tile of gradients: 8 times these. In double precision one, so that the tiles fit the smallest card.
template <class A> constexpr int GRADIENT_ROWS = sizeof(A) == 4 ? 4 : 1;

// The tiles of a gradient in shared memory: rows are tokens of one kind (queries or keys), columns of the other.
template <class A> struct GradientTiles {
  static constexpr int ROWS = 8 * GRADIENT_ROWS<A>;
  A *rows, *row_values, *cols, *col_values, *ds, *prob;
  __device__ __forceinline__ GradientTiles(A* memory)
      : rows(memory), row_values(rows + ROWS * PITCH), cols(row_values + ROWS * PITCH), col_values(cols + TILE * PITCH),
        ds(col_values + TILE * PITCH), prob(ds + ROWS * PITCH) {}
};

// e = probability and ds = e (dp - delta), dp = <dy, v>, of rows from `first` and columns from `other` on. `fresh`: the rows' tiles
// are to be loaded.
template <class T, class A, bool OF_KEYS, int R, class Heads, class Args, class Panel>
__device__ __forceinline__ void probabilities(const Heads& heads, const Args& p, const GradientTiles<A>& tiles,
                                              const Panel (&row)[2], const Panel (&col)[2], int first, int other, bool fresh,
                                              A (&e)[R][4], A (&ds)[R][4]) {
  const int y0 = threadIdx.x / SIDE * R, x0 = threadIdx.x % SIDE;
  A s[R][4] = {}, dp[R][4] = {};
  for (int d = 0; d < p.head_dim; d += TILE) {
    __syncthreads();
    if (fresh || p.head_dim > TILE) {
      load_tile<T>(tiles.rows, 8 * R, row[0], first, d);
      load_tile<T>(tiles.row_values, 8 * R, row[1], first, d);
    }
    load_tile<T>(tiles.cols, TILE, col[0], other, d);
    load_tile<T>(tiles.col_values, TILE, col[1], other, d);
    __syncthreads();
    add_dots(s, tiles.rows, tiles.cols, min_(TILE, p.head_dim - d));
    add_dots(dp, tiles.row_values, tiles.col_values, min_(TILE, p.head_dim - d));
  }
  Saved<A> saved[OF_KEYS ? 4 : R];
  bool alive[OF_KEYS ? R : 4];
  for (int i = 0; i < R; i++) {
    if (OF_KEYS) alive[i] = heads.living(first + y0 + i);
    else saved[i] = saved_of<A>(p, heads.task, first + y0 + i);
  }
  for (int j = 0; j < 4; j++) {
    if (OF_KEYS) saved[j] = saved_of<A>(p, heads.task, other + x0 + j * SIDE);
    else alive[j] = heads.living(other + x0 + j * SIDE);
  }
  for (int i = 0; i < R; i++) {
    for (int j = 0; j < 4; j++) {
      const Saved<A>& query = saved[OF_KEYS ? j : i];
      const bool counts = alive[OF_KEYS ? i : j] && query.scale != A(0);
      const int r = first + y0 + i, c = other + x0 + j * SIDE;
      const A bias = counts ? heads.bias(OF_KEYS ? c : r, OF_KEYS ? r : c) : A(0);
      e[i][j] = counts ? exp_(s[i][j] * A(p.scale) + bias - query.top) * query.scale : A(0);
      ds[i][j] = counts ? e[i][j] * (dp[i][j] - query.delta) : A(0);
    }
  }
}

// The gradients of a tile of queries (dq), or of keys (dk and dv): rows are tokens of that kind, columns of the other.
//   dq = c ds k,  or  dk = c dsᵀ q, dv = pᵀ dy
template <class T, class A, bool OF_KEYS, class Heads, class Args>
__device__ __forceinline__ void gradient(const Heads& heads, const Args& p) {
  constexpr int R = GRADIENT_ROWS<A>, ROWS = 8 * R;
  const int first = blockIdx.y * ROWS, y0 = threadIdx.x / SIDE * R, x0 = threadIdx.x % SIDE;
  const auto q = heads.template panel<const T>(p.qkv, p.stride, 0), k = heads.template panel<const T>(p.qkv, p.stride, 1),
             v = heads.template panel<const T>(p.qkv, p.stride, 2), dy = heads.template panel<const T>(p.dy, p.y_stride, 0);
  const decltype(q) row[2] = {OF_KEYS ? k : q, OF_KEYS ? v : dy}, col[2] = {OF_KEYS ? q : k, OF_KEYS ? dy : v};
  SHARED_DYN(A, memory);
  const GradientTiles<A> tiles(memory);
  for (int column = 0; column < p.head_dim; column += TILE) {
    A d_row[R][4] = {}, d_value[R][4] = {};
    for (int other = 0; other < p.tokens; other += TILE) {
      A e[R][4], ds[R][4];
      probabilities<T, A, OF_KEYS>(heads, p, tiles, row, col, first, other, other == 0, e, ds);
      for (int i = 0; i < R; i++) {
        for (int j = 0; j < 4; j++) {
          const int at = (y0 + i) * PITCH + x0 + j * SIDE;
          tiles.ds[at] = ds[i][j];
          if (OF_KEYS) tiles.prob[at] = e[i][j];
        }
      }
      if (p.head_dim > TILE) {  // other columns of the head were loaded last
        __syncthreads();
        load_tile<T>(tiles.cols, TILE, col[0], other, column);
        if (OF_KEYS) load_tile<T>(tiles.col_values, TILE, col[1], other, column);
      }
      __syncthreads();
      add_products(d_row, tiles.ds, PITCH, tiles.cols, min_(TILE, p.tokens - other));
      if (OF_KEYS) add_products(d_value, tiles.prob, PITCH, tiles.col_values, min_(TILE, p.tokens - other));
    }
    const auto to = heads.template panel<T>(p.dqkv, p.stride, OF_KEYS ? 1 : 0);
    store<R, T>(to, first, column, d_row, [&](int) { return A(p.scale); });
    if (OF_KEYS) store<R, T>(heads.template panel<T>(p.dqkv, p.stride, 2), first, column, d_value, [](int) { return A(1); });
  }
}

// delta = <dy, y> of the queries that this block takes, written.
template <class T, class A, class Heads, class Args> __device__ __forceinline__ void write_delta(const Heads& heads, const Args& p) {
  const auto dy = heads.template panel<const T>(p.dy, p.y_stride, 0), y = heads.template panel<const T>(p.y, p.y_stride, 0);
  const int rows = 8 * GRADIENT_ROWS<A>;
  for (int r = threadIdx.x / 32; r < rows; r += blockDim.x / 32) {
    const int query = blockIdx.y * rows + r;
    if (query >= p.tokens) continue;
    A sum = 0;
    for (int c = lane_index(); c < p.head_dim; c += 32) sum += A(dy.row(query)[c]) * A(y.row(query)[c]);
    sum = warp_sum(sum);
    if (lane_index() == 0) ((A*)p.delta)[(size_t)heads.task * p.tokens + query] = sum;
  }
}
