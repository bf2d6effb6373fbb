// Gates and biases by column: one thread an element, zeros behind the rows included (gate and bias are 0 there). A
// gate's gradient is summed down the columns first, neighbours side by side; then a warp adds up the columns of a unit.
#include "common/columns.cuh"
#include "common/reduce.cuh"

KERNEL(gate, Gate) {
  const long long i = element_index();
  if (i >= p.count) return;
  const A g = ((const A*)p.g)[column_of(i, p.stride) / p.group];
  ((T*)p.y)[i] = T(A(((const T*)p.x)[i]) * g);
}

KERNEL(add_bias, AddBias) {
  const long long i = element_index();
  if (i >= p.count) return;
  ((T*)p.y)[i] = T(A(((const T*)p.x)[i]) + ((const A*)p.b)[column_of(i, p.stride)]);
}

KERNEL(gate_columns, GateColumns) {
  column_partials<A>(p.partials, p.rows, p.cols, [&](int r, int c) {
    const size_t i = (size_t)r * p.stride + c;
    return A(((const T*)p.dy)[i]) * A(((const T*)p.x)[i]);
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
