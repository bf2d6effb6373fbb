// 16-bit floats and the tensor cores' words, by plain arithmetic. The last lane to come computes the whole warp's tile.
#pragma once

namespace sim {

inline unsigned short bf16_bits(float x) {
  const unsigned u = bits<unsigned>(x);
  return (unsigned short)(x != x ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

inline unsigned short f16_bits(float x) {
  const unsigned u = bits<unsigned>(x), sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
  if (x != x) return 0x7fff;
  if (size >= 0x47800000) return (unsigned short)(sign | 0x7c00);  // 65536 and more
  if (size < 0x38800000) {  // below the normal numbers: adding 0.5 rounds to multiples of 2^-24
    return (unsigned short)(sign | (bits<unsigned>(bits<float>(size) + 0.5f) - 0x3f000000));
  }
  return (unsigned short)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
}

inline float f16_value(unsigned short half) {
  const unsigned sign = unsigned(half & 0x8000) << 16, size = unsigned(half & 0x7fff) << 13;
  if (size >= 0x0f800000) return bits<float>(sign | 0x7f800000 | size);  // infinity, NaN
  return bits<float>(sign | bits<unsigned>(bits<float>(size) * 0x1p112f));
}

// To nearest, ties away from 0.
inline unsigned to_tf32(float x) {
  const unsigned u = bits<unsigned>(x);
  return (u & 0x7f800000) == 0x7f800000 ? u : (u + 0x1000) & 0xffffe000;
}

// What a register of a fragment holds.
struct Bf16 {
  static constexpr int COUNT = 2;
  static float get(unsigned word, int i) { return bits<float>(i ? word & 0xffff0000 : word << 16); }
};
struct F16 {
  static constexpr int COUNT = 2;
  static float get(unsigned word, int i) { return f16_value((unsigned short)(i ? word >> 16 : word)); }
};
struct Tf32 {
  static constexpr int COUNT = 1;
  static float get(unsigned word, int) { return bits<float>(word & 0xffffe000); }
};

struct Fragments {
  float* c;
  const unsigned *a, *b;
};

// The fragments' places are those of common/mma.cuh.
template <class Number> void mma_work(void** records) {
  constexpr int P = Number::COUNT, K = 8 * P;
  float a[16][K], b[K][8];
  for (int lane = 0; lane < 32; lane++) {
    const auto* from = (const Fragments*)records[lane];
    if (!from) fail("mma without lane %d", lane);
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; r++) {
      for (int e = 0; e < P; e++) a[g + r % 2 * 8][P * t + e + r / 2 * 4 * P] = Number::get(from->a[r], e);
    }
    for (int r = 0; r < 2; r++) {
      for (int e = 0; e < P; e++) b[P * t + e + r * 4 * P][g] = Number::get(from->b[r], e);
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    float* c = ((Fragments*)records[lane])->c;
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
      for (int k = 0; k < K; k++) c[i] += a[row][k] * b[k][col];
    }
  }
}

template <class Number> void mma(float* c, const unsigned* a, const unsigned* b, Where where = Where::call()) {
  Fragments mine{c, a, b};
  meet(0xffffffffu, &mine, mma_work<Number>, "mma", where);
}

struct Rows {
  unsigned* r;
  const void* row;
};

template <bool TRANSPOSED> void ldmatrix(unsigned* r, const void* row, Where where = Where::call()) {
  check_aligned(row, 16, where);
  check_shared(row, 16, where);
  Rows mine{r, row};
  meet(0xffffffffu, &mine, [](void** records) {
    for (int lane = 0; lane < 32; lane++) {
      if (!records[lane]) fail("ldmatrix without lane %d", lane);
    }
    for (int lane = 0; lane < 32; lane++) {
      for (int i = 0; i < 4; i++) {
        unsigned short pair[2];
        for (int e = 0; e < 2; e++) {
          const int row = TRANSPOSED ? lane % 4 * 2 + e : lane / 4, col = TRANSPOSED ? lane / 4 : lane % 4 * 2 + e;
          pair[e] = ((const unsigned short*)((Rows*)records[8 * i + row])->row)[col];
        }
        ((Rows*)records[lane])->r[i] = pair[0] | unsigned(pair[1]) << 16;
      }
    }
  }, TRANSPOSED ? "ldmatrix_trans" : "ldmatrix", where);
}

}  // namespace sim
