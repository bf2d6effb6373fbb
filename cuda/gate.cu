// Gates and biases by column, element by element (common/elements.cuh), zeros behind the rows included (gate and bias are 0
// there). A gate's gradient is summed down the columns first (common/columns.cuh); then a warp adds up the columns of a unit.
#define KERNEL_BLOCKS 2  // as in gelu.cu
#include "common/columns.cuh"
#include "common/elements.cuh"
#include "common/reduce.cuh"

KERNEL(gate, Gate) {
  const ByColumn<A> g{(const A*)p.g, p.stride, p.group, A(1)};
  map<T, A>((T*)p.y, p.count, [](A x, A g) { return x * g; }, elements<T>(p.x), g);
}

KERNEL(add_bias, AddBias) {
  const ByColumn<A> b{(const A*)p.b, p.stride, 1, A(0)};
  map<T, A>((T*)p.y, p.count, [](A x, A b) { return x + b; }, elements<T>(p.x), b);
}

KERNEL(gate_columns, GateColumns) {
  column_partials<T, A, 1>(p.partials, p.rows, p.cols, [&](int r, int c, auto& sums) {
    const auto dy = some_of_row<T>(p.dy, r, c, p.stride), x = some_of_row<T>(p.x, r, c, p.stride);
    for (int k = 0; k < VEC<T>; k++) sums[0].at[k] += A(dy.at[k]) * A(x.at[k]);
  });
}

KERNEL(gate_units, GateUnits) {
  const int unit = warp_index(), lane = lane_index();
  if (unit >= p.units) return;
  const A* columns = (const A*)p.columns + (size_t)unit * p.group;
  A* dg = (A*)p.dg + unit;
  A sum = 0;
  for (int c = lane; c < p.group; c += 32) sum += columns[c];
  sum = warp_sum(sum);
  if (lane == 0) *dg = p.accumulate ? *dg + sum : sum;
}

KERNEL(gate_samples, GateSamples) {
  const auto factor = [=](long long i) {
    const long long row = quotient(i, p.stride);
    return quotient(row, p.tokens) * p.stride + (i - row * p.stride);
  };
  map<T, A>((T*)p.y, p.count, [](A x, A g) { return x * g; }, elements<T>(p.x),
            moved<A>(p.g, p.stride % VEC<T> == 0, factor));
}

// A thread a channel of a sample: its neighbours read its neighbours' columns.
KERNEL(gate_samples_bwd, GateSamplesBwd) {
  const long long i = element_index(), sample = quotient(i, p.cols);
  if (sample >= p.samples) return;
  const int c = int(i - sample * p.cols);
  const long long first = sample * p.tokens * p.stride + c;
  const T *dy = (const T*)p.dy + first, *x = (const T*)p.x + first;
  A sum = 0;
  for (int t = 0; t < p.tokens; t++) sum += A(dy[(long long)t * p.stride]) * A(x[(long long)t * p.stride]);
  A* dg = (A*)p.dg + sample * p.stride + c;
  *dg = p.accumulate ? *dg + sum : sum;
}
