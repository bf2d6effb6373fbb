// Counter-based random numbers, the bits of src/noise.rs: a draw is addressed by (seed, step, site, sample) and its place.
#pragma once
#include "device.cuh"

struct Words {
  unsigned at[4];
};

// Philox4x32 with 10 rounds (Salmon et al., SC 2011).
__device__ __forceinline__ Words philox4x32(unsigned k0, unsigned k1, unsigned c0, unsigned c1, unsigned c2, unsigned c3) {
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const unsigned long long a = c0 * 0xD2511F53ull, b = c2 * 0xCD9E8D57ull;
    c0 = unsigned(b >> 32) ^ c1 ^ k0, c1 = unsigned(b);
    c2 = unsigned(a >> 32) ^ c3 ^ k1, c3 = unsigned(a);
  }
  return {{c0, c1, c2, c3}};
}

// The draws of one (seed, step, site, sample); `site` is the FNV-1a hash of its name.
struct Draws {
  unsigned k0, k1, k2;
  unsigned long long sample;

  __device__ __forceinline__ Draws(unsigned long long seed, unsigned long long step, unsigned long long site,
                                   unsigned long long sample)
      : sample(sample) {
    const Words key = philox4x32(unsigned(seed), unsigned(seed >> 32), unsigned(site), unsigned(site >> 32),
                                 unsigned(step), unsigned(step >> 32));
    k0 = key.at[0], k1 = key.at[1], k2 = key.at[2];
  }
  // Words 4 * block .. 4 * block + 3.
  __device__ __forceinline__ Words words(unsigned block) const {
    return philox4x32(k0, k1, block, k2, unsigned(sample), unsigned(sample >> 32));
  }
  // Word `i` as a uniform in [0, 1) with 24 bits.
  __device__ __forceinline__ float uniform(unsigned long long i) const {
    const Words four = words(unsigned(i / 4));  // chosen by comparisons: an index would put the words into local memory
    const unsigned low = i % 4 < 2 ? (i % 4 == 0 ? four.at[0] : four.at[1]) : (i % 4 == 2 ? four.at[2] : four.at[3]);
    return uniform_of(low);
  }
  // A word as a uniform in [0, 1) with 24 bits.
  static __device__ __forceinline__ float uniform_of(unsigned word) { return float(word >> 8) * (1.0f / 16777216.0f); }
};
