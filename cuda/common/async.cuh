// Copies from device to shared memory that go on while the thread works: issue, commit a group of them, wait for it. Other
// threads see what was copied after the waiting thread's next barrier.
#pragma once
#include "device.cuh"

// 16, 8 or 4 bytes, both addresses aligned to that; only the first `bytes` are read, the others become 0.
template <int SIZE = 16> __device__ __forceinline__ void async_copy(void* to, const void* from, int bytes = SIZE) {
  static_assert(SIZE == 16 || SIZE == 8 || SIZE == 4);
#ifdef __CUDACC__
  const unsigned shared = unsigned(__cvta_generic_to_shared(to));
  if constexpr (SIZE == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared), "l"(from), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"(shared), "l"(from), "n"(SIZE), "r"(bytes) : "memory");
  }
#else
  sim::async_copy(to, from, SIZE, bytes);
#endif
}

// Ends a group: everything this thread issued since the last one.
__device__ __forceinline__ void async_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  sim::async_commit();
#endif
}

// Waits until at most the last N groups of this thread are under way.
template <int N> __device__ __forceinline__ void async_wait() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
#else
  sim::async_wait(N);
#endif
}
