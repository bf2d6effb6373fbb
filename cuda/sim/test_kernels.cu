// Kernels with one property each, for tests/simulator.rs: what a kernel may do, and what the simulator has to find.
#define KERNEL_THREADS 1024
#include "../common/async.cuh"
#include "../common/mma.cuh"
#include "../common/philox.cuh"
#include "../common/reduce.cuh"
#include "../common/vec.cuh"

typedef struct { Ptr out, x; unsigned long long a, b, c; int count, mode; } Test;

// out[i] = x[i + mode] through shared memory, with a barrier only when a is 1.
KERNEL(test_neighbour, Test) {
  SHARED(T, tile, 1024);
  const int i = threadIdx.x, other = i + p.mode;
  tile[i] = ((const T*)p.x)[i];
  if (p.a) __syncthreads();
  if (other >= 0 && other < p.count) ((T*)p.out)[i] = tile[other];
}

// What is in shared memory before anything is written: static, then dynamic.
KERNEL(test_poison, Test) {
  SHARED(T, fixed, 8);
  SHARED_DYN(T, dynamic);
  T* out = (T*)p.out + blockIdx.x * 16;
  for (int i = 0; i < 8; i++) {
    out[i] = fixed[i], out[8 + i] = dynamic[i];
    fixed[i] = dynamic[i] = T(1);
  }
}

// Waits of one warp that do not fit together, and two barriers that are not the same.
KERNEL(test_divergent, Test) {
  const int i = threadIdx.x;
  if (p.mode == 0) {
    if (i < p.count) __syncthreads();
    else __syncwarp();
  } else if (p.mode == 1) {
    if (i < p.count) __syncthreads();
    else __syncthreads();
  } else if (p.mode == 2) {
    __shfl_sync(i < p.count ? 0xffffu : ALL_LANES, i, 0);
  } else if (p.mode == 3) {
    __shfl_sync(0xffffu, i, 0);
  } else {
    if (i < p.count) __ballot_sync(ALL_LANES, 1);
    else __syncwarp();
  }
}

// Writes one element at index `mode`, unseen by AddressSanitizer: the guard zones have to find it.
#ifndef __CUDACC__
__attribute__((noinline, no_sanitize_address))
#endif
__device__ void write_unseen(char* to, int bytes) {
  for (int i = 0; i < bytes; i++) to[i] = 0;
}
KERNEL(test_write, Test) { write_unseen((char*)((T*)p.out + p.mode), sizeof(T)); }

// Shared arrays: too large, or written one element behind their end.
KERNEL(test_shared, Test) {
  if (p.mode == 0) {
    SHARED(T, large, (48 << 10) / sizeof(T) + 4);
    large[0] = T(0);
  } else {
    SHARED(T, half, (24 << 10) / sizeof(T));
    SHARED_DYN(T, dynamic);
    half[0] = dynamic[0] = T(0);
    if (p.mode > 1) (p.mode == 2 ? &half[0] : dynamic)[p.a] = T(0);
  }
}

// The first `count` threads meet three times, the others have left; out[i] = how many were there.
KERNEL(test_early_exit, Test) {
  const int i = threadIdx.x;
  if (i >= p.count) return;
  const int all = __syncthreads_count(1), odd = __syncthreads_count(i % 2);
  const bool first = __syncthreads_or(i == 0), every = __syncthreads_and(i < p.count);
  ((T*)p.out)[i] = T(first && every ? all * 1000 + odd : -1);
}

// out[7 i ..] = what each word of a warp gives: distance a, groups of b lanes.
KERNEL(test_warp, Test) {
  const int i = threadIdx.x, lane = i % 32, here = min_(32, p.count - i / 32 * 32), by = int(p.a), width = int(p.b);
  const unsigned mask = here == 32 ? ALL_LANES : (1u << here) - 1;
  const T v = ((const T*)p.x)[i];
  T* out = (T*)p.out + i * 7;
  out[0] = __shfl_sync(mask, v, min_(by, here - 1));
  if (here == 32) {
    out[1] = __shfl_xor_sync(mask, v, by, width);
    out[2] = __shfl_up_sync(mask, v, by, width);
    out[3] = __shfl_down_sync(mask, v, by, width);
  }
  out[4] = T(__ballot_sync(mask, v > T(0.5)));
  out[5] = T(__any_sync(mask, lane == by) != 0);
  out[6] = T(__all_sync(mask, lane < by) != 0);
}

// out[4 i ..] = sum over the warp, sums over the block of x[0 .. count] and its squares, one right after the other, maximum.
KERNEL(test_reduce, Test) {
  const int i = threadIdx.x;
  const bool there = i < p.count;
  const A v = there ? A(((const T*)p.x)[i]) : A(0), top = there ? v : -Limits<A>::infinity();
  T* out = (T*)p.out + i * 4;
  out[0] = T(warp_sum(v)), out[1] = T(block_sum(v)), out[2] = T(block_sum(v * v)), out[3] = T(block_max(top));
}

// The words and uniforms of (seed a, step b, site c, sample of the block).
KERNEL(test_philox, Test) {
  const Draws draws(p.a, p.b, p.c, blockIdx.x * 0x100000001ull);
  unsigned* out = (unsigned*)p.out + (blockIdx.x * blockDim.x + threadIdx.x) * 8;
  const Words words = draws.words(threadIdx.x);
  for (int k = 0; k < 4; k++) out[k] = words.at[k], out[4 + k] = __float_as_uint(draws.uniform(threadIdx.x * 4 + k));
}

// out[6 i ..] = the functions of math.cuh.
KERNEL(test_math, Test) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.count) return;
  const A x = A(((const T*)p.x)[i]);
  T* out = (T*)p.out + i * 6;
  out[0] = T(normal_of<T>(x).cdf), out[1] = T(normal_of<T>(x).pdf), out[2] = T(exp_(x)), out[3] = T(log1p_(abs_(x)));
  out[4] = T(sqrt_(abs_(x))), out[5] = T(max_nan(floor_(x), A(-2)));
}

// Every thread of every block adds its place: out[0] exactly, out[1] their number; out[2 ..] who ran.
KERNEL_BODY(test_atomics, Test);
KERNEL_FULL(test_atomics, Test)
KERNEL_BODY(test_atomics, Test) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int i = block * int(blockDim.x * blockDim.y * blockDim.z) + thread;
  T* out = (T*)p.out;
  atomicAdd(out, T(i % 8));
  atomicAdd(out + 1, T(1));
  out[2 + i] = T(i);
}

// Four elements at once, from x + mode to out.
KERNEL(test_vec, Test) {
  const int i = threadIdx.x * Vec<T>::COUNT;
  const T* x = (const T*)p.x + p.mode;
  Vec<T> v = load_vec(x + i);
  for (T& element : v.at) element = T(A(element) + (aligned(x) ? A(1) : A(2)));
  store_vec((T*)p.out + i, v);
}

// A lane that is not there.
KERNEL(test_absent, Test) { ((int*)p.out)[threadIdx.x] = __shfl_sync(ALL_LANES, int(threadIdx.x), p.mode); }

// out[i] = x[i] as float, and back: mode 0 from T to float, 1 from float to T.
KERNEL_HALF(test_convert, Test) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.count) return;
  if (p.mode == 0) ((float*)p.out)[i] = A(((const T*)p.x)[i]);
  else ((T*)p.out)[i] = T(((const float*)p.x)[i]);
}

// out (16 x 16) += a b for 16 x 16 matrices a, then b, at x. Mode 1: without the wait; 2: rows of b from `count` on are 0.
KERNEL_HALF(test_mma, Test) {
  SHARED(T, tiles, 512);
  const int lane = threadIdx.x, row = lane % 16, col = lane / 16 * 8;
  const T* x = (const T*)p.x;
  async_copy(&tiles[row * 16 + col], x + row * 16 + col);
  async_commit();
  async_copy(&tiles[256 + row * 16 + col], x + 256 + row * 16 + col, p.mode == 2 && row >= p.count ? 0 : 16);
  async_commit();
  if (p.mode == 1) async_wait<1>();
  else async_wait<0>();
  __syncwarp();
  unsigned a[4], b[4];
  ldmatrix(a, &tiles[row * 16 + col]);
  ldmatrix_trans(b, &tiles[256 + row * 16 + col]);
  for (int half = 0; half < 2; half++) {
    float* out = (float*)p.out + lane / 4 * 16 + half * 8 + lane % 4 * 2;
    float c[4] = {out[0], out[1], out[128], out[129]};
    mma<T>(c, a, {b[2 * half], b[2 * half + 1]});
    for (int i = 0; i < 4; i++) out[i / 2 * 128 + i % 2] = c[i];
  }
}

// out (16 x 8) = a b for a (16 x 8) and b (8 x 8) at x.
KERNEL_BODY(test_tf32, Test);
KERNEL_INSTANCE(test_tf32, Test, f32, float, float)
KERNEL_BODY(test_tf32, Test) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const T *a = (const T*)p.x, *b = a + 128;
  A c[4] = {};
  mma_tf32(c, {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])},
           {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])});
  for (int i = 0; i < 4; i++) ((T*)p.out)[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
}
