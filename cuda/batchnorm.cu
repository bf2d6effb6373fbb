// BatchNorm and the activation behind it. Statistics and gradients of gamma and beta run down the columns (common/columns.cuh), the
// rest is element by element (common/elements.cuh); n and what is activated are computed again from x.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/activation.cuh"
#include "common/columns.cuh"
#include "common/elements.cuh"

KERNEL(batchnorm_squares, BatchnormSquares) {
  const ByColumn<A> means{(const A*)p.mean, p.stride, 1, A(0)};
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto x = some_of_row<T>(p.x, r, c, p.stride);
    const auto mean = means.template load<VEC<T>>(c, VEC<T>);
    for (int k = 0; k < VEC<T>; k++) sums[0].at[k] += (A(x.at[k]) - mean.at[k]) * (A(x.at[k]) - mean.at[k]);
  });
}

KERNEL(batchnorm_fwd, BatchnormFwd) {
  const auto by_column = [=](Ptr v) { return ByColumn<A>{(const A*)v, p.stride, 1, A(0)}; };
  const int function = p.function;
  const A eps = A(p.eps);
  const auto f = [=](A x, A mean, A var, A gamma, A beta, A inside) {
    return inside ? activate<T>(function, (x - mean) * (gamma / sqrt_(var + eps)) + beta) : A(0);
  };
  map<T, A>((T*)p.y, p.count, f, elements<T>(p.x), by_column(p.mean), by_column(p.var), by_column(p.gamma),
            by_column(p.beta), Inside{p.cols, p.stride});
}

KERNEL(batchnorm_columns, BatchnormColumns) {
  const auto vec = [=](Ptr v, int c) {
    return ByColumn<A>{(const A*)v, p.stride, 1, A(0)}.template load<VEC<T>>(c, VEC<T>);
  };
  column_partials<T, A, 2>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto dy = some_of_row<T>(p.dy, r, c, p.stride), x = some_of_row<T>(p.x, r, c, p.stride);
    const auto mean = vec(p.mean, c), var = vec(p.var, c), gamma = vec(p.gamma, c), beta = vec(p.beta, c);
    for (int k = 0; k < VEC<T>; k++) {
      const A n = (A(x.at[k]) - mean.at[k]) / sqrt_(var.at[k] + A(p.eps));
      const A dz = A(dy.at[k]) * activation_slope<T>(p.function, n * gamma.at[k] + beta.at[k]);
      sums[0].at[k] += dz;
      sums[1].at[k] += dz * n;
    }
  });
}

KERNEL(batchnorm_bwd, BatchnormBwd) {
  const auto by_column = [=](Ptr v) { return ByColumn<A>{(const A*)v, p.stride, 1, A(0)}; };
  const int function = p.function;
  const A eps = A(p.eps), per_row = A(p.per_row);
  const auto f = [=](A dy, A x, A mean, A var, A gamma, A beta, A dbeta, A dgamma, A inside) {
    const A rstd = A(1) / sqrt_(var + eps), n = (x - mean) * rstd;
    const A dz = dy * activation_slope<T>(function, n * gamma + beta);
    return inside ? gamma * rstd * (dz - per_row * dbeta - n * (per_row * dgamma)) : A(0);
  };
  map<T, A>((T*)p.dx, p.count, f, elements<T>(p.dy), elements<T>(p.x), by_column(p.mean), by_column(p.var),
            by_column(p.gamma), by_column(p.beta), by_column(p.dbeta), by_column(p.dgamma), Inside{p.cols, p.stride});
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
