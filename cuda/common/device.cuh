// The vocabulary of the kernels: what a kernel may use beside C++. No CUDA header is included, so NVRTC compiles the
// sources alone; without a CUDA compiler the same words come from sim/sim.h and the kernels run on the processor.
#pragma once

// Threads that a block of the file's kernels can have; a file that needs more defines it before the include.
#ifndef KERNEL_THREADS
#define KERNEL_THREADS 256
#endif
// Blocks of them that a multiprocessor should hold, which bounds the registers; 0: as the compiler thinks best.
#ifndef KERNEL_BLOCKS
#define KERNEL_BLOCKS 0
#endif

#ifdef __CUDACC__
// A kernel for each element type T with accumulator A: KERNEL(softmax_fwd, SoftmaxFwd) { ... p.rows ... }
#define KERNEL_INSTANCE(name, Args, suffix, T, A) \
  extern "C" __global__ void __launch_bounds__(KERNEL_THREADS, KERNEL_BLOCKS) \
      name##_##suffix(const __grid_constant__ Args p) { \
    name##_body<T, A>(p); \
  }
// Shared memory: a fixed number of elements, or what the launch asked for.
#define SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define SHARED_DYN(T, name) \
  extern __shared__ __align__(16) unsigned char shared_dyn_bytes[]; \
  T* name = (T*)shared_dyn_bytes
// An address that 16 bytes at once are read from or written to; the simulator checks it.
#define CHECK_ALIGNED(pointer)
#else
#include "../sim/sim.h"
#endif

#include "../params.h"
#include "half.cuh"

// What has a value for every element of the tokens is stored as T; vectors over rows or columns, scalars, parameters that
// kernels read, statistics, masks, partial sums, losses and images are stored as A. Arithmetic is in A.
#define KERNEL_BODY(name, Args) template <class T, class A> __device__ __forceinline__ void name##_body(const Args& p)
#define KERNEL_FULL(name, Args) \
  KERNEL_INSTANCE(name, Args, f32, float, float) \
  KERNEL_INSTANCE(name, Args, f64, double, double)
#define KERNEL_HALVES(name, Args) \
  KERNEL_INSTANCE(name, Args, bf16, bf16, float) \
  KERNEL_INSTANCE(name, Args, f16, f16, float)
// For all four element types, and for the two of 16 bits alone.
#define KERNEL(name, Args) \
  KERNEL_BODY(name, Args); \
  KERNEL_FULL(name, Args) \
  KERNEL_HALVES(name, Args) \
  KERNEL_BODY(name, Args)
#define KERNEL_HALF(name, Args) \
  KERNEL_BODY(name, Args); \
  KERNEL_HALVES(name, Args) \
  KERNEL_BODY(name, Args)

// The element, or the warp, that this thread is or is part of, counted over the whole grid; its lane in the warp.
__device__ __forceinline__ long long element_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int warp_index() { return blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; }
__device__ __forceinline__ int lane_index() { return threadIdx.x % 32; }

// i / n; the short division where it is enough.
__device__ __forceinline__ long long quotient(long long i, long long n) {
  return (i | n) >> 32 ? i / n : unsigned(i) / unsigned(n);
}

// The column of element `i` of rows `stride` apart; the short division where it is enough.
__device__ __forceinline__ int column_of(long long i, int stride) {
  return i >> 32 ? int(i % stride) : int(unsigned(i) % unsigned(stride));
}
