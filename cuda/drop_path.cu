// Drop-path factors: one thread a sample, its draw addressed as on the CPU, so the bits are equal.
#include "common/math.cuh"
#include "common/philox.cuh"

KERNEL(drop_path, DropPath) {
  const int i = int(element_index());
  if (i >= p.count) return;
  const unsigned long long step = p.state ? ((const StepNumbers*)p.state)->step : p.step;
  const float kept = floor_(float(p.keep) + Draws(p.seed, step, p.site, p.first + i).uniform(0));
  ((A*)p.out)[i] = A(p.scale * double(kept) / p.keep);
}
