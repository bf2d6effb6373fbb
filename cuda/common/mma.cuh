// Tensor cores: c += a b for a tile by a whole warp, and the loads of its fragments. With g = lane / 4, t = lane % 4 and P
// elements a register (2 of 16 bits, 1 of tf32), e < P:
//
//   a[r] (16 x 8P): row g + 8 (r % 2), column P t + e + 4P (r / 2)
//   b[r] (8P x 8):  row P t + e + 4P r, column g
//   c[i] (16 x 8):  row g + 8 (i / 2), column 2 t + i % 2
#pragma once
#include "device.cuh"

template <class T> __device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
#ifdef __CUDACC__
#define MMA(shape) \
  asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <> __device__ __forceinline__ void mma<bf16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
}
template <> __device__ __forceinline__ void mma<f16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA("m16n8k16.row.col.f32.f16.f16.f32");
}
// The same with elements of to_tf32.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
}
#undef MMA

// Rounded to the 10 bits of mantissa that the tensor cores read.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

#define LDMATRIX(kind) \
  asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0, %1, %2, %3}, [%4];" \
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) \
               : "r"(unsigned(__cvta_generic_to_shared(row))) \
               : "memory")
// Four 8 x 8 matrices of 16-bit elements from shared memory: lane 8 i + j names row j of matrix i, 16 bytes. r[i] gets row g,
// columns 2 t and 2 t + 1 of matrix i; transposed: rows 2 t and 2 t + 1, column g.
__device__ __forceinline__ void ldmatrix(unsigned (&r)[4], const void* row) { LDMATRIX(""); }
__device__ __forceinline__ void ldmatrix_trans(unsigned (&r)[4], const void* row) { LDMATRIX(".trans"); }
#undef LDMATRIX
#else
template <> inline void mma<bf16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { sim::mma<sim::Bf16>(c, a, b); }
template <> inline void mma<f16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { sim::mma<sim::F16>(c, a, b); }
inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { sim::mma<sim::Tf32>(c, a, b); }
using sim::to_tf32;
inline void ldmatrix(unsigned (&r)[4], const void* row) { sim::ldmatrix<false>(r, row); }
inline void ldmatrix_trans(unsigned (&r)[4], const void* row) { sim::ldmatrix<true>(r, row); }
#endif
