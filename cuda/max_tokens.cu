// The largest token of each column of an image: a thread a column, token after token.
#include "common/math.cuh"

// The first of the largest tokens of a column, or the first NaN.
template <class T, class A> __device__ __forceinline__ int largest(const T* x, int tokens, int stride) {
  int at = 0;
  for (int n = 1; n < tokens; n++) {
    const A v = A(x[(long long)n * stride]), top = A(x[(long long)at * stride]);
    if (v > top || (v != v && top == top)) at = n;
  }
  return at;
}

KERNEL(max_tokens_fwd, MaxTokensFwd) {
  const long long i = element_index(), image = quotient(i, p.stride);
  if (i >= p.count) return;
  const int c = int(i - image * p.stride);
  const T* x = (const T*)p.x + image * p.tokens * p.stride + c;
  ((T*)p.y)[i] = c < p.cols ? x[(long long)largest<T, A>(x, p.tokens, p.stride) * p.stride] : T(0);
}

KERNEL(max_tokens_bwd, MaxTokensBwd) {
  const long long i = element_index(), image = quotient(i, p.stride);
  if (i >= p.count) return;
  const int c = int(i - image * p.stride);
  const long long first = image * p.tokens * p.stride + c;
  const int at = c < p.cols ? largest<T, A>((const T*)p.x + first, p.tokens, p.stride) : -1;
  for (int n = 0; n < p.tokens; n++) {
    ((T*)p.dx)[first + (long long)n * p.stride] = n == at ? ((const T*)p.dy)[i] : T(0);
  }
}
