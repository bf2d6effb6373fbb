// Accumulated scores, element by element (common/elements.cuh); zeros behind the rows stay zeros.
#include "common/elements.cuh"

KERNEL(taylor_accumulate, TaylorAccumulate) {
  map<T, A>((T*)p.sum, p.count, [](A sum, A gate, A grad) { return sum + (gate * grad) * (gate * grad); },
            elements<T>(p.sum), elements<T>(p.gate), elements<T>(p.grad));
}
