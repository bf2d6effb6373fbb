// Attention of heads up to 64 columns wide on tensor cores, for 16-bit types. Rows of a head lie in shared memory, 32 or 64
// columns with zeros behind the head's: all of them where they fit, else `stage` of them at a time. Each warp then goes over
// them 16 by 16 with some rows of the other side in its registers.
//   fwd: k and v in shared memory, 32 queries a warp, so that a fragment of k or v serves two products. Exponentials count
//        from a top that moves, and with it what is summed so far, only when a score exceeds it by 2^SLACK; the first keys
//        mostly settle it. The division by the sum comes last.
//   bwd: two blocks a head. One has k and v in shared memory and 16 queries a warp: dq; the other q and dy, and 16 keys a
//        warp: dk and dv, with everything transposed. Both compute p = 2^(score - lse) again, and ds = p (dp - delta) with
//        delta = <dy, y>. No sum is shared by warps, so there are no atomics.
// A query without any living key has lse = inf: its result and its gradients are 0.
#define KERNEL_THREADS 384
#define KERNEL_BLOCKS 1
#include "common/async.cuh"
#include "common/heads.cuh"
#include "common/mma.cuh"
#include "common/reduce.cuh"
#include "common/vec.cuh"

constexpr float LOG2_E = 1.44269504088896340736f, LOWEST = -3e38f, SLACK = 8;

// Rows of COLS elements in shared memory. The chunks of eight change places from row to row, so that ldmatrix, which reads
// one chunk of eight rows at once, meets every bank once.
template <class T, int COLS> struct Tile {
  T* at;
  // Chunk 2 pair + odd of row first + r, where `first` is a multiple of 8. Only the lane decides on `place`.
  __device__ __forceinline__ T* chunk(int first, int r, int pair, int odd) const {
    constexpr int CHUNKS = COLS / 8;
    const int place = r * COLS + (odd ^ r * CHUNKS / 8 % CHUNKS) * 8;
    return at + first * COLS + (place ^ pair * 16);
  }
};

// Both tiles' rows r < rows are the panels' rows first + r, 0 outside; copied BYTES at a time.
template <int BYTES, class T, int COLS>
__device__ __forceinline__ void fill_by(const Tile<T, COLS> (&to)[2], const Panel<const T> (&from)[2], int first, int rows) {
  constexpr int UNIT = BYTES / sizeof(T), UNITS = COLS / UNIT;
  for (int i = threadIdx.x; i < rows * UNITS; i += blockDim.x) {
    const int r = i / UNITS, c = i % UNITS * UNIT;
    const bool inside = first + r < from[0].tokens && c < from[0].columns;
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const T* x = inside ? from[k].row(first + r) + c : from[k].image;
      T* y = to[k].chunk(0, r, c / 16, c / 8 % 2) + c % 8;
      if constexpr (BYTES == sizeof(T)) *y = inside ? *x : T(0);
      else async_copy<BYTES>(y, x, inside ? BYTES : 0);
    }
  }
}

// The same by the widest accesses that the head's width leaves aligned.
template <class T, int COLS>
__device__ __forceinline__ void fill(const Tile<T, COLS> (&to)[2], const Panel<const T> (&from)[2], int first, int rows) {
  const int columns = from[0].columns;
  if (columns % 8 == 0) fill_by<16>(to, from, first, rows);
  else if (columns % 4 == 0) fill_by<8>(to, from, first, rows);
  else if (columns % 2 == 0) fill_by<4>(to, from, first, rows);
  else fill_by<2>(to, from, first, rows);
  async_commit();
}

// Bit k of words[i]: whether key first + 32 i + k is attended to.
template <class Args>
__device__ __forceinline__ void fill_living(unsigned* words, const Args& p, unsigned task, int first, int rows) {
  for (int key = threadIdx.x; key < (rows + 31) / 32 * 32; key += blockDim.x) {
    const unsigned word = __ballot_sync(ALL_LANES, key < rows && living<float>(p, task, first + key));
    if (lane_index() == 0) words[key / 32] = word;
  }
}

// x[i] of lane t and x[t] of lane i change places in each quad of lanes.
__device__ __forceinline__ void transpose_quad(unsigned (&x)[4]) {
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    for (int i = 0; i < 4; i++) {
      if (i & bit) continue;
      const bool upper = lane_index() & bit;
      const unsigned other = __shfl_xor_sync(ALL_LANES, upper ? x[i] : x[i + bit], bit);
      x[i] = upper ? other : x[i], x[i + bit] = upper ? x[i + bit] : other;
    }
  }
}

// Columns c and c + 1 of a row with `columns` of them; 0 behind the end.
template <class T> __device__ __forceinline__ unsigned load_pair(const T* row, int c, int columns) {
  if (columns % 2 == 0) return c < columns ? *(const unsigned*)(row + c) : 0;
  return (c < columns ? row[c].bits : 0u) | (c + 1 < columns ? unsigned(row[c + 1].bits) << 16 : 0u);
}
template <class T> __device__ __forceinline__ void store_pair(T* row, int c, int columns, unsigned pair) {
  if (columns % 2 == 0) {
    if (c < columns) *(unsigned*)(row + c) = pair;
  } else {
    if (c < columns) row[c].bits = (unsigned short)pair;
    if (c + 1 < columns) row[c + 1].bits = (unsigned short)(pair >> 16);
  }
}

// 16 rows of a warp: operand a for 16 columns at a time, sums for 8, and 16 x 16 scores, all as in mma.cuh.
template <int COLS> using Operand = unsigned[COLS / 16][4];
template <int COLS> using Sums = float[COLS / 8][4];
using Square = float[2][4];

// The rows from `first` on; zeros outside. Where rows are aligned a lane reads eight of 32 columns and its quad deals them out.
template <class T, int STEPS>
__device__ __forceinline__ void load_rows(unsigned (&a)[STEPS][4], const Panel<const T>& from, int first) {
  const int t = lane_index() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + half * 8 + lane_index() / 4;
    const bool inside = row < from.tokens;
#pragma unroll
    for (int c = 0; c < STEPS * 16; c += 32) {
      unsigned x[4] = {};
      if (from.columns % 8 == 0) {
        if (inside && c + 8 * t < from.columns) {
          const Vec<T> v = load_vec(from.row(row) + c + 8 * t);
          memcpy(x, &v, 16);
        }
        transpose_quad(x);
      } else if (inside) {
        for (int i = 0; i < 4; i++) x[i] = load_pair(from.row(row), c + 8 * i + 2 * t, from.columns);
      }
      for (int i = 0; i < 4; i++) a[c / 16 + i / 2][half + i % 2 * 2] = x[i];
    }
  }
}

// The reverse: to[first + r][c] = o[r][c] scale[r / 8]; 0 where the scale is.
template <class T, int CHUNKS>
__device__ __forceinline__ void store_rows(const Panel<T>& to, int first, const float (&o)[CHUNKS][4],
                                           const float (&scale)[2]) {
  const int t = lane_index() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + half * 8 + lane_index() / 4;
    const bool inside = row < to.tokens;
    auto scaled = [&](float v) { return scale[half] == 0 ? 0 : v * scale[half]; };
#pragma unroll
    for (int c = 0; c < CHUNKS; c += 4) {
      unsigned x[4];
      for (int i = 0; i < 4; i++) x[i] = pack<T>(scaled(o[c + i][2 * half]), scaled(o[c + i][2 * half + 1]));
      if (to.columns % 8 == 0) {
        transpose_quad(x);
        Vec<T> v;
        memcpy(&v, x, 16);
        if (inside && 8 * (c + t) < to.columns) store_vec(to.row(row) + 8 * (c + t), v);
      } else if (inside) {
        for (int i = 0; i < 4; i++) store_pair(to.row(row), 8 * (c + i) + 2 * t, to.columns, x[i]);
      }
    }
  }
}

// s[m] += a[m] bᵀ with the rows first .. first + 16 of b
template <class T, int COLS, int M>
__device__ __forceinline__ void add_dots(Square (&s)[M], const Operand<COLS> (&a)[M], const Tile<T, COLS>& b, int first) {
  const int lane = lane_index();
  for (int k = 0; k < COLS / 16; k++) {
    unsigned x[4];
    ldmatrix(x, b.chunk(first, lane / 16 * 8 + lane % 8, k, lane / 8 % 2));
    for (int m = 0; m < M; m++) {
      mma<T>(s[m][0], a[m][k], {x[0], x[1]});
      mma<T>(s[m][1], a[m][k], {x[2], x[3]});
    }
  }
}

// o[m] += w[m] b with the same rows
template <class T, int COLS, int M>
__device__ __forceinline__ void add_products(Sums<COLS> (&o)[M], const Square (&w)[M], const Tile<T, COLS>& b, int first) {
  const int lane = lane_index();
  unsigned a[M][4];
  for (int m = 0; m < M; m++) {
    for (int i = 0; i < 4; i++) a[m][i] = pack<T>(w[m][i / 2][i % 2 * 2], w[m][i / 2][i % 2 * 2 + 1]);
  }
  for (int c = 0; c < COLS / 16; c++) {
    unsigned x[4];
    ldmatrix_trans(x, b.chunk(first, lane % 16, c, lane / 16));
    for (int m = 0; m < M; m++) {
      mma<T>(o[m][2 * c], a[m], {x[0], x[1]});
      mma<T>(o[m][2 * c + 1], a[m], {x[2], x[3]});
    }
  }
}

// Scores of keys that are not attended to become -inf; bit k of `alive` is key k of the 16.
template <int M> __device__ __forceinline__ void leave_living(Square (&s)[M], unsigned alive) {
  if (alive == 0xffff) return;
#pragma unroll
  for (int n = 0; n < 2; n++) {
    for (int i = 0; i < 4; i++) {
      if (alive >> (8 * n + lane_index() % 4 * 2 + i % 2) & 1) continue;
      for (int m = 0; m < M; m++) s[m][n][i] = -Limits<float>::infinity();
    }
  }
}

// What a warp keeps of its queries: o = sum of 2^(score - top) v; sum, in each lane its part, of 2^(score - top).
constexpr int M = 2;
template <int COLS> struct Queries {
  Sums<COLS> o[M] = {};
  float top[M][2] = {{LOWEST, LOWEST}, {LOWEST, LOWEST}}, sum[M][2] = {};
};

// Takes in the keys first .. first + 16, whose k and v lie in the tiles; `scale` makes scores of dot products.
template <class T, int COLS>
__device__ __forceinline__ void attend(Queries<COLS>& x, const Operand<COLS> (&q)[M], const Tile<T, COLS> (&keys)[2],
                                       int first, unsigned alive, float scale) {
  Square s[M] = {};
  add_dots(s, q, keys[0], first);
  leave_living(s, alive);
  float most[M][2];
  bool exceeds = false;
#pragma unroll
  for (int m = 0; m < M; m++) {
    for (int half = 0; half < 2; half++) {
      most[m][half] = fmaxf(fmaxf(s[m][0][2 * half], s[m][0][2 * half + 1]), fmaxf(s[m][1][2 * half], s[m][1][2 * half + 1]));
      exceeds |= most[m][half] * scale > x.top[m][half] + SLACK;
    }
  }
  if (__any_sync(ALL_LANES, exceeds)) {
#pragma unroll
    for (int m = 0; m < M; m++) {
      for (int half = 0; half < 2; half++) {
        const float top = fmaxf(x.top[m][half], quad_max(most[m][half]) * scale), by = exp2_approx(x.top[m][half] - top);
        x.top[m][half] = top, x.sum[m][half] *= by;
        for (int c = 0; c < COLS / 8; c++) x.o[m][c][2 * half] *= by, x.o[m][c][2 * half + 1] *= by;
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; m++) {
    for (int i = 0; i < 8; i++) {
      float& e = s[m][i / 4][i % 4];
      e = exp2_approx(e * scale - x.top[m][i % 4 / 2]);
      x.sum[m][i % 4 / 2] += e;
    }
  }
  add_products(x.o, s, keys[1], first);
}

// Writes 16 queries, their m-th part, from `first` on.
template <class T, int COLS>
__device__ __forceinline__ void finish(const Queries<COLS>& x, int m, const AttentionMmaFwd& p, unsigned task, int first) {
  float scale[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int query = first + half * 8 + lane_index() / 4;
    const float sum = quad_sum(x.sum[m][half]);
    scale[half] = sum == 0 ? 0 : 1 / sum;
    if (!p.lse || lane_index() % 4 || query >= p.tokens) continue;
    const float lse = sum == 0 ? Limits<float>::infinity() : x.top[m][half] + log_(sum) * LOG2_E;
    ((float*)p.lse)[(size_t)task * p.tokens + query] = lse;
  }
  store_rows(panel<T>(p, task, p.y, p.y_stride, 0), first, x.o[m], scale);
}

// With several stages a block has one round of rows: their sums stay in its registers.
template <class T, int COLS> __device__ __forceinline__ void forward(const AttentionMmaFwd& p) {
  const unsigned task = blockIdx.x;
  const int round = blockDim.x / 32 * 16 * M, start = blockIdx.y * round;
  auto part = [&](int k) { return panel<const T>(p, task, p.qkv, p.stride, k); };
  SHARED_DYN(T, memory);
  const Tile<T, COLS> tiles[2] = {{memory}, {memory + p.stage * COLS}};
  unsigned* alive = (unsigned*)(memory + 2 * p.stage * COLS);
  Queries<COLS> x;
  for (int begin = 0; begin < p.tokens; begin += p.stage) {
    const int count = min_(p.stage, p.tokens - begin), padded = (count + 15) / 16 * 16;
    __syncthreads();
    fill(tiles, {part(1), part(2)}, begin, padded);
    fill_living(alive, p, task, begin, count);
    for (int rows = start; rows < p.tokens; rows += gridDim.y * round) {
      const int first = rows + threadIdx.x / 32 * 16 * M;
      if (begin == 0) x = {};
      Operand<COLS> a[M];
#pragma unroll
      for (int m = 0; m < M; m++) load_rows(a[m], part(0), first + 16 * m);
      if (rows == start) {
        async_wait<0>();
        __syncthreads();
      }
      for (int key = 0; key < padded && first < p.tokens; key += 16) {
        const unsigned word = alive[key / 32] >> key % 32 & 0xffff;
        if (word) attend(x, a, tiles, key, word, float(p.scale) * LOG2_E);
      }
      if (first >= p.tokens || begin + p.stage < p.tokens) continue;
#pragma unroll
      for (int m = 0; m < M; m++) finish<T>(x, m, p, task, first + 16 * m);
    }
  }
}

KERNEL_HALF(attention_mma_fwd, AttentionMmaFwd) { p.head_dim <= 32 ? forward<T, 32>(p) : forward<T, 64>(p); }

// What the gradient needs of a query, beside q and dy.
struct Saved {
  float lse = Limits<float>::infinity(), delta = 0;
};

// Of queries first + g and first + g + 8, g the lane's quad, from their dy. Behind the last one p = 0 and ds = 0.
template <class T, int STEPS>
__device__ __forceinline__ void load_saved(Saved (&saved)[2], const AttentionMmaBwd& p, unsigned task, int first,
                                           const unsigned (&dy)[STEPS][4]) {
  unsigned y[STEPS][4];
  load_rows(y, panel<const T>(p, task, p.y, p.y_stride, 0), first);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int query = first + half * 8 + lane_index() / 4;
    float delta = 0;
    for (int k = 0; k < STEPS; k++) {
      for (int i = 0; i < 4; i++) {
        const int r = half + i / 2 * 2;
        delta += unpack<T>(dy[k][r], i % 2) * unpack<T>(y[k][r], i % 2);
      }
    }
    saved[half] = {};
    saved[half].delta = quad_sum(delta);
    if (query < p.tokens) saved[half].lse = ((const float*)p.lse)[(size_t)task * p.tokens + query];
  }
}

// Of `rows` queries from `first` on, a multiple of 16.
template <class T, int COLS>
__device__ __forceinline__ void fill_saved(Saved* to, const AttentionMmaBwd& p, unsigned task, int first, int rows) {
  for (int r = threadIdx.x / 32 * 16; r < rows; r += blockDim.x / 32 * 16) {
    Operand<COLS> dy;
    Saved saved[2];
    load_rows(dy, panel<const T>(p, task, p.dy, p.y_stride, 0), first + r);
    load_saved<T>(saved, p, task, first + r, dy);
    if (lane_index() % 4 == 0) to[r + lane_index() / 4] = saved[0], to[r + 8 + lane_index() / 4] = saved[1];
  }
}

// What a warp sums: dq of its queries, or dk and dv of its keys.
template <int COLS> struct Gradients {
  Sums<COLS> row[1] = {}, value[1] = {};
};

// Takes in what lies at first .. first + 16 in the tiles: k and v for queries, whose rows are q and dy; or the reverse.
template <bool OF_KEYS, class T, int COLS, class F>
__device__ __forceinline__ void differentiate(Gradients<COLS>& x, const Operand<COLS> (&row)[1],
                                              const Operand<COLS> (&value)[1], const Tile<T, COLS> (&cols)[2],
                                              int first, unsigned alive, float scale, F saved) {
  Square w[1] = {}, ds[1] = {};
  add_dots(w, row, cols[0], first);
  add_dots(ds, value, cols[1], first);
  leave_living(w, alive);
#pragma unroll
  for (int n = 0; n < 2; n++) {
    for (int i = 0; i < 4; i++) {
      const Saved query = saved(n, i);
      w[0][n][i] = exp2_approx(w[0][n][i] * scale - query.lse);
      ds[0][n][i] = w[0][n][i] * (ds[0][n][i] - query.delta);
    }
  }
  add_products(x.row, ds, cols[0], first);
  if constexpr (OF_KEYS) add_products(x.value, w, cols[1], first);
}

// As forward goes: a round of rows for every stage of the other side.
template <bool OF_KEYS, class T, int COLS> __device__ __forceinline__ void backward(const AttentionMmaBwd& p, unsigned task) {
  const int round = blockDim.x / 32 * 16, start = blockIdx.y * round;
  auto part = [&](int k) { return panel<const T>(p, task, p.qkv, p.stride, k); };
  const Panel<const T> dy = panel<const T>(p, task, p.dy, p.y_stride, 0);
  SHARED_DYN(T, memory);
  const Tile<T, COLS> tiles[2] = {{memory}, {memory + p.stage * COLS}};
  unsigned* alive = (unsigned*)(memory + 2 * p.stage * COLS);  // of keys
  Saved* saved = (Saved*)alive;                                // of queries
  Gradients<COLS> x;
  for (int begin = 0; begin < p.tokens; begin += p.stage) {
    const int count = min_(p.stage, p.tokens - begin), padded = (count + 15) / 16 * 16;
    __syncthreads();
    fill(tiles, {part(!OF_KEYS), OF_KEYS ? dy : part(2)}, begin, padded);
    if (OF_KEYS) fill_saved<T, COLS>(saved, p, task, begin, padded);
    else fill_living(alive, p, task, begin, count);
    for (int rows = start; rows < p.tokens; rows += gridDim.y * round) {
      const int first = rows + threadIdx.x / 32 * 16;
      Operand<COLS> row[1], value[1];
      Saved own[2];
      if (begin == 0) x = {};
      load_rows(row[0], part(OF_KEYS), first);
      load_rows(value[0], OF_KEYS ? part(2) : dy, first);
      if (!OF_KEYS) load_saved<T>(own, p, task, first, value[0]);
      if (rows == start) {
        async_wait<0>();
        __syncthreads();
      }
      for (int c = 0; c < padded && first < p.tokens; c += 16) {
        const unsigned word = OF_KEYS ? 0xffff : alive[c / 32] >> c % 32 & 0xffff;
        if (!word) continue;
        differentiate<OF_KEYS>(x, row, value, tiles, c, word, float(p.scale) * LOG2_E, [&](int n, int i) {
          return OF_KEYS ? saved[c + 8 * n + lane_index() % 4 * 2 + i % 2] : own[i / 2];
        });
      }
      if (first >= p.tokens || begin + p.stage < p.tokens) continue;
      float by[2][2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const bool counts = !OF_KEYS || living<float>(p, task, first + half * 8 + lane_index() / 4);
        by[0][half] = counts ? float(p.scale) : 0, by[1][half] = counts;
      }
      store_rows(panel<T>(p, task, p.dqkv, p.stride, OF_KEYS), first, x.row[0], by[0]);
      if (OF_KEYS) store_rows(panel<T>(p, task, p.dqkv, p.stride, 2), first, x.value[0], by[1]);
    }
  }
}

KERNEL_HALF(attention_mma_bwd, AttentionMmaBwd) {
  const unsigned task = blockIdx.x / 2;
  if (blockIdx.x % 2) p.head_dim <= 32 ? backward<true, T, 32>(p, task) : backward<true, T, 64>(p, task);
  else p.head_dim <= 32 ? backward<false, T, 32>(p, task) : backward<false, T, 64>(p, task);
}
