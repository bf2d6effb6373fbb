// The kernels' words on a processor: CUDA's names with CUDA's meaning, on the fibers of runner.h. What CUDA leaves
// undefined is an error here, with the kernel's name, the block and the thread.
#pragma once
#include <math.h>
#include <stddef.h>
#include <string.h>

#define __device__
#define __forceinline__ inline

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace sim {

struct Index {
  unsigned x, y, z;
};

// Where the running CUDA thread is; `threadIdx` and its like read it.
struct Here {
  Index thread, block, block_dim, grid_dim;
  unsigned lane;
};
inline thread_local Here here{};

// A place in a kernel's source, for messages.
struct Where {
  const char* file;
  int line;
  static Where call(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// Ends the launch with an error text.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Waits for the block's living threads; returns for how many of them `value` is not 0.
int barrier(int value, const char* what, Where where);

// Waits for the living lanes of `mask`. The last to come calls `work` on the records of all of them (null: not there).
using Work = void (*)(void** records);
void meet(unsigned mask, void* record, Work work, const char* what, Where where);

// The block's shared memory: what the launch asked for, and the array with this key, made at the first call.
void* shared_dynamic();
void* shared(const void* key, size_t bytes);

// Copies of `size` bytes to shared memory that are made only when they are waited for; until then the target is poisoned.
void async_copy(void* to, const void* from, int size, int bytes, Where where = Where::call());
void async_commit();
void async_wait(int groups);

inline void check_aligned(const void* p, size_t alignment, Where where) {
  if ((size_t)p % alignment) fail("address %p at %s:%d is not aligned to %zu bytes", p, where.file, where.line, alignment);
}

// An error unless the bytes lie in the block's shared memory.
void check_shared(const void* p, size_t bytes, Where where);

// A kernel for one element type, in a list of all of them.
struct Kernel {
  const char* name;
  void (*body)(const void* args);
  size_t args_len;
  unsigned max_threads;
  const Kernel* next;
  Kernel(const char* name, void (*body)(const void*), size_t args_len, unsigned max_threads);
};

template <class T> struct Shuffle {
  T value, result;
  unsigned source;
};

template <class T> T shuffle(unsigned mask, T value, unsigned source, const char* what, Where where) {
  Shuffle<T> mine{value, value, source};
  meet(mask, &mine, [](void** records) {
    for (unsigned lane = 0; lane < 32; lane++) {
      auto* to = (Shuffle<T>*)records[lane];
      if (!to) continue;
      auto* from = (const Shuffle<T>*)records[to->source];
      if (!from) fail("lane %u shuffles from lane %u, which is not there", lane, to->source);
      to->result = from->value;
    }
  }, what, where);
  return mine.result;
}

// The lanes of `mask` that are there and whose `value` is not 0.
inline unsigned ballot(unsigned mask, int value, const char* what, Where where) {
  struct Vote {
    int value;
    unsigned result;
  } mine{value, 0};
  meet(mask, &mine, [](void** records) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; lane++) result |= unsigned(records[lane] && ((Vote*)records[lane])->value) << lane;
    for (unsigned lane = 0; lane < 32; lane++) if (records[lane]) ((Vote*)records[lane])->result = result;
  }, what, where);
  return mine.result;
}

template <class To, class From> To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// With subnormal results flushed to 0.
inline float exp2_approx(float x) {
  const float y = exp2f(x);
  return y < 0x1p-126f ? 0 : y;
}
inline float reciprocal_approx(float x) {
  const float y = 1 / x;
  return fabsf(y) < 0x1p-126f ? copysignf(0, y) : y;
}

// Replaces *p by change(*p) at once; the value before.
template <class T, class Change> T atomically(T* p, Change change) {
  check_aligned(p, sizeof(T), Where::call());
  T old, next;
  __atomic_load(p, &old, __ATOMIC_SEQ_CST);
  do next = change(old); while (!__atomic_compare_exchange(p, &old, &next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return old;
}

}  // namespace sim
#include "tensor.h"

#define threadIdx (sim::here.thread)
#define blockIdx (sim::here.block)
#define blockDim (sim::here.block_dim)
#define gridDim (sim::here.grid_dim)

#define KERNEL_INSTANCE(name, Args, suffix, T, A) \
  const sim::Kernel name##_##suffix( \
      #name "_" #suffix, [](const void* p) { name##_body<T, A>(*(const Args*)p); }, sizeof(Args), KERNEL_THREADS);
#define SHARED(T, name, count) \
  static char name##_key; \
  T(&name)[count] = *(T(*)[count])sim::shared(&name##_key, sizeof(T[count]))
#define SHARED_DYN(T, name) T* name = (T*)sim::shared_dynamic()
#define CHECK_ALIGNED(pointer) sim::check_aligned(pointer, 16, sim::Where::call())

#define WHERE sim::Where where = sim::Where::call()

inline void __syncthreads(WHERE) { sim::barrier(0, "__syncthreads", where); }
inline int __syncthreads_count(int p, WHERE) { return sim::barrier(p, "__syncthreads_count", where); }
inline int __syncthreads_or(int p, WHERE) { return sim::barrier(p, "__syncthreads_or", where) != 0; }
inline int __syncthreads_and(int p, WHERE) { return sim::barrier(!p, "__syncthreads_and", where) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu, WHERE) { sim::meet(mask, nullptr, nullptr, "__syncwarp", where); }
inline unsigned __ballot_sync(unsigned mask, int p, WHERE) { return sim::ballot(mask, p, "__ballot_sync", where); }
inline int __any_sync(unsigned mask, int p, WHERE) { return sim::ballot(mask, p, "__any_sync", where) != 0; }
inline int __all_sync(unsigned mask, int p, WHERE) { return sim::ballot(mask, !p, "__all_sync", where) == 0; }

// Shuffles: `width` lanes, a power of two, are a group, and the source of a lane is in its group or is the lane itself.
template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32, WHERE) {
  const unsigned group = sim::here.lane & -unsigned(width);
  return sim::shuffle(mask, v, group | (source & (width - 1)), "__shfl_sync", where);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, WHERE) {
  const unsigned lane = sim::here.lane, source = lane ^ lanes, last = lane | (width - 1);
  return sim::shuffle(mask, v, source > last ? lane : source, "__shfl_xor_sync", where);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, WHERE) {
  const unsigned lane = sim::here.lane, last = lane | (width - 1);
  return sim::shuffle(mask, v, lane + delta > last ? lane : lane + delta, "__shfl_down_sync", where);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, WHERE) {
  const unsigned lane = sim::here.lane, within = lane & (width - 1);
  return sim::shuffle(mask, v, within < delta ? lane : lane - delta, "__shfl_up_sync", where);
}
#undef WHERE

template <class T> T atomicAdd(T* p, T v) { return sim::atomically(p, [v](T old) { return T(old + v); }); }
template <class T> T atomicMax(T* p, T v) { return sim::atomically(p, [v](T old) { return old > v ? old : v; }); }
template <class T> T atomicMin(T* p, T v) { return sim::atomically(p, [v](T old) { return old < v ? old : v; }); }
template <class T> T atomicOr(T* p, T v) { return sim::atomically(p, [v](T old) { return T(old | v); }); }
template <class T> T atomicExch(T* p, T v) { return sim::atomically(p, [v](T) { return v; }); }
template <class T> T atomicCAS(T* p, T is, T v) { return sim::atomically(p, [is, v](T old) { return old == is ? v : old; }); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}

template <class T> T __ldg(const T* p) { return *p; }
inline float __int_as_float(int x) { return sim::bits<float>(x); }
inline int __float_as_int(float x) { return sim::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return sim::bits<float>(x); }
inline unsigned __float_as_uint(float x) { return sim::bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return sim::bits<double>(x); }
inline long long __double_as_longlong(double x) { return sim::bits<long long>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
