// What runs on all parameters at once. blockIdx.y is the tensor, blockIdx.x a piece of it: blocks beyond the end of a small
// tensor return at once. The list of tensors is part of the argument, so that a captured step needs no other memory.
#include "common/reduce.cuh"

constexpr int NORM_CHUNK = 4096; // as in src/ops/adamw.rs

KERNEL(adamw, Adamw) {
  const AdamwTensor& t = p.at[blockIdx.y];
  SHARED(A, numbers, 4); // the same for all elements of a tensor: once a block
  const StepNumbers& state = *(const StepNumbers*)p.state;
  if (threadIdx.x == 0) {
    const double lr = state.lr * t.lr_scale;
    numbers[0] = A(lr / state.bias1), numbers[1] = A(1.0 / sqrt_(state.bias2));
    numbers[2] = A(1.0 - lr * t.weight_decay), numbers[3] = A(state.grad_scale);
  }
  __syncthreads();
  const A size = numbers[0], root = numbers[1], keep = numbers[2], scale = numbers[3];
  if (!(abs_(scale) < Limits<A>::infinity())) return;
  const A beta1 = A(p.beta1), beta2 = A(p.beta2), rest1 = A(1.0 - p.beta1), rest2 = A(1.0 - p.beta2), eps = A(p.eps);
  T *param = (T*)t.param, *first = (T*)t.m, *second = (T*)t.v;
  const T* grad = (const T*)t.grad;
  for (long long i = element_index(); i < t.count; i += (long long)gridDim.x * blockDim.x) {
    const A g = A(grad[i]) * scale;
    const A m = beta1 * A(first[i]) + rest1 * g, v = beta2 * A(second[i]) + rest2 * g * g;
    first[i] = T(m), second[i] = T(v);
    param[i] = T(A(param[i]) * keep - size * m / (sqrt_(v) * root + eps));
  }
}

KERNEL(ema, Ema) {
  const long long i = element_index();
  if (i >= p.count) return;
  if (p.state && !(abs_(((const StepNumbers*)p.state)->grad_scale) < Limits<double>::infinity())) return;
  T* average = (T*)p.average;
  average[i] = T(A(p.decay) * A(average[i]) + A(1.0 - p.decay) * A(((const T*)p.param)[i]));
}

KERNEL(square_sums, SquareSums) {
  const NormTensor& t = p.at[blockIdx.y];
  const long long start = (long long)blockIdx.x * NORM_CHUNK;
  if (start >= t.count) return;
  const T* x = (const T*)t.x;
  A sum = 0;
  for (long long i = start + threadIdx.x; i < start + NORM_CHUNK && i < t.count; i += blockDim.x) sum += A(x[i]) * A(x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) ((T*)p.partials)[t.first + blockIdx.x] = T(sum);
}

// One block.
KERNEL(clip_scale, ClipScale) {
  const T* partials = (const T*)p.partials;
  double sum = 0;
  for (long long i = threadIdx.x; i < p.count; i += blockDim.x) sum += double(partials[i]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  StepNumbers& state = *(StepNumbers*)p.state;
  const double norm = sqrt_(sum), scale = p.max_norm > 0 ? min_(1.0, p.max_norm / (norm + 1e-6)) : 1.0;
  state.grad_norm = norm;
  const double loss = p.loss ? double(*(const T*)p.loss) : 0.0;
  state.grad_scale = scale + (norm - norm) + (loss - loss); // NaN when one of them is not finite
}
