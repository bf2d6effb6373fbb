// BatchNorm and the activation behind it. A thread has a Vec of columns and walks down some rows (common/columns.cuh), so that what
// normalises a column stays in registers; n and what is activated are computed again from x.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/activation.cuh"
#include "common/columns.cuh"
#include "common/elements.cuh"

constexpr int UNDER_WAY = 2; // rows that a thread loads at once

// A vector's Vec at column c of rows `stride` apart; zeros when there is none.
template <class T, class A> __device__ __forceinline__ Some<A, VEC<T>> of_columns(Ptr v, int c, int stride) {
  return ByColumn<A>{(const A*)v, stride, 1, A(0)}.template load<VEC<T>>(c, VEC<T>);
}

// What normalises the thread's columns: n = (x - mean) rstd, z = n gamma + beta.
template <class T, class A> struct Norm {
  Some<A, VEC<T>> mean, rstd, gamma, beta;
  template <class Args> __device__ __forceinline__ Norm(const Args& p, int c)
      : mean(of_columns<T, A>(p.mean, c, p.stride)), rstd(of_columns<T, A>(p.var, c, p.stride)),
        gamma(of_columns<T, A>(p.gamma, c, p.stride)), beta(of_columns<T, A>(p.beta, c, p.stride)) {
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) rstd.at[k] = A(1) / sqrt_(rstd.at[k] + A(p.eps));
  }
  __device__ __forceinline__ A n(A x, int k) const { return (x - mean.at[k]) * rstd.at[k]; }
  __device__ __forceinline__ A z(A x, int k) const { return n(x, k) * gamma.at[k] + beta.at[k]; }
};

// Writes result(r), the Vec from column c on, of each of the thread's rows to `out`; zeros behind the row.
template <class T, class A, class Args, class Result>
__device__ __forceinline__ void write_rows(const Args& p, Ptr out, int c, Result result) {
#pragma unroll UNDER_WAY
  for (int j = 0; j < COLUMN_EACH; j++) {
    const int r = thread_row() + j;
    if (r >= p.rows || c >= p.stride) continue;
    Some<A, VEC<T>> some = result(r);
    Some<T, VEC<T>> to;
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) to.at[k] = T(c + k < p.cols ? some.at[k] : A(0));
    store_some((T*)out + (size_t)r * p.stride + c, to, p.stride - c, whole_rows<T>(p.stride));
  }
}

KERNEL(batchnorm_squares, BatchnormSquares) {
  const auto mean = of_columns<T, A>(p.mean, thread_column<T>(), p.stride);
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    for (int k = 0; k < VEC<T>; k++) sums[0].at[k] += (A(x.at[k]) - mean.at[k]) * (A(x.at[k]) - mean.at[k]);
  });
}

KERNEL(batchnorm_fwd, BatchnormFwd) {
  const int c = thread_column<T>();
  const Norm<T, A> norm(p, c);
  write_rows<T, A>(p, p.y, c, [&](int r) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    Some<A, VEC<T>> y;
    with_function<T>(p.function, [&](auto f) {
#pragma unroll
      for (int k = 0; k < VEC<T>; k++) y.at[k] = f.value(norm.z(A(x.at[k]), k));
    });
    return y;
  });
}

// dz = dy f'(z) for the thread's columns of row r.
template <class T, class A, class Args>
__device__ __forceinline__ Some<A, VEC<T>> gradient_of_z(const Args& p, const Norm<T, A>& norm, const Some<T, VEC<T>>& x, int r,
                                                         int c) {
  const auto dy = some_of_row<T>(p.dy, r, c, p.stride);
  Some<A, VEC<T>> dz;
  with_function<T>(p.function, [&](auto f) {
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) dz.at[k] = A(dy.at[k]) * f.slope(norm.z(A(x.at[k]), k));
  });
  return dz;
}

KERNEL(batchnorm_columns, BatchnormColumns) {
  const Norm<T, A> norm(p, thread_column<T>());
  column_partials<T, A, 2, UNDER_WAY>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    const auto dz = gradient_of_z<T, A>(p, norm, x, r, c);
    for (int k = 0; k < VEC<T>; k++) {
      sums[0].at[k] += dz.at[k];
      sums[1].at[k] += dz.at[k] * norm.n(A(x.at[k]), k);
    }
  });
}

KERNEL(batchnorm_bwd, BatchnormBwd) {
  const int c = thread_column<T>();
  const Norm<T, A> norm(p, c);
  const auto dbeta = of_columns<T, A>(p.dbeta, c, p.stride), dgamma = of_columns<T, A>(p.dgamma, c, p.stride);
  const A per_row = A(p.per_row);
  write_rows<T, A>(p, p.dx, c, [&](int r) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    auto dx = gradient_of_z<T, A>(p, norm, x, r, c);
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) {
      const A mean = per_row * (dbeta.at[k] + norm.n(A(x.at[k]), k) * dgamma.at[k]);
      dx.at[k] = norm.gamma.at[k] * norm.rstd.at[k] * (dx.at[k] - mean);
    }
    return dx;
  });
}

KERNEL(batchnorm_update, BatchnormUpdate) {
  const long long i = element_index();
  const double scale = p.state ? ((const StepNumbers*)p.state)->grad_scale : 0.0;
  if (scale - scale != 0.0) return;
  if (i < p.count) {
    A *mean = (A*)p.mean + i, *var = (A*)p.var + i;
    *mean += A(p.momentum) * (((const A*)p.batch_mean)[i] - *mean);
    *var += A(p.momentum) * (((const A*)p.batch_var)[i] - *var);
  }
  if (i == 0) *(A*)p.counter += A(1);
}
