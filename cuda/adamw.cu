// What runs on all parameters at once: AdamW with the moving average, the gradient norm. A block takes a piece of one tensor
// (common/pieces.cuh), element by element (common/elements.cuh).
// One pass: parameter, both moments, gradient and average are read once and written once.
#include "common/elements.cuh"
#include "common/pieces.cuh"
#include "common/reduce.cuh"

// The numbers of a step as one tensor takes them.
template <class A> struct Rates {
  A size, root, keep, scale, beta1, beta2, rest1, rest2, eps, decay, rest;
};

template <class T, class A> __device__ __forceinline__ void update(const Rates<A>& r, T& param, T& m, T& v, A grad) {
  const A g = grad * r.scale, first = r.beta1 * A(m) + r.rest1 * g, second = r.beta2 * A(v) + r.rest2 * g * g;
  param = T(A(param) * r.keep - r.size * first / (sqrt_(second) * r.root + r.eps));
  m = T(first), v = T(second);
}

KERNEL(adamw, Adamw) {
  const AdamwTensor& t = p.at[piece_owner(p.at, p.tensors)];
  SHARED(Rates<A>, shared, 1);  // the same for all elements of a tensor: once a block
  if (threadIdx.x == 0) {
    const StepNumbers state = p.state ? *(const StepNumbers*)p.state : StepNumbers{};
    const double lr = state.lr * t.lr_scale;
    shared[0] = {A(lr / state.bias1), A(1.0 / sqrt_(state.bias2)), A(1.0 - lr * t.weight_decay), A(state.grad_scale),
                 A(p.beta1), A(p.beta2), A(1.0 - p.beta1), A(1.0 - p.beta2), A(p.eps), A(t.decay), A(1.0 - t.decay)};
  }
  __syncthreads();
  const Rates<A>& r = shared[0];
  if (!(abs_(r.scale) < Limits<A>::infinity())) return;
  const auto param = elements<T>(t.param), m = elements<T>(t.m), v = elements<T>(t.v), grad = elements<T>(t.grad),
             average = elements<T>(t.average);
  const Piece piece = piece_of(t);
  each_vec<T, PIECE_VECS<T>>(piece.first, piece.last, [&](long long i, auto p, auto a, auto b, auto g, auto mean) {
    const long long left = piece.last - i;
    if (t.grad) {
#pragma unroll
      for (int k = 0; k < VEC<T>; k++) update(r, p.at[k], a.at[k], b.at[k], A(g.at[k]));
      store_some((T*)t.param + i, p, left, param.whole);
      store_some((T*)t.m + i, a, left, m.whole), store_some((T*)t.v + i, b, left, v.whole);
    }
    if (t.average) {
#pragma unroll
      for (int k = 0; k < VEC<T>; k++) mean.at[k] = T(r.decay * A(mean.at[k]) + r.rest * A(p.at[k]));
      store_some((T*)t.average + i, mean, left, average.whole);
    }
  }, param, m, v, grad, average);
}

KERNEL(square_sums, SquareSums) {
  const NormTensor& t = p.at[piece_owner(p.at, p.tensors)];
  const Piece piece = piece_of(t);
  A sum = 0;
  each_vec<T, PIECE_VECS<T>>(piece.first, piece.last, [&](long long, const auto& x) {
#pragma unroll
    for (int k = 0; k < VEC<T>; k++) sum += A(x.at[k]) * A(x.at[k]);
  }, elements<T>(t.x));
  sum = block_sum(sum);
  if (threadIdx.x == 0) ((A*)p.partials)[blockIdx.x] = sum;
}

// One block.
KERNEL(clip_scale, ClipScale) {
  const A* partials = (const A*)p.partials;
  double sum = 0;
  for (long long i = threadIdx.x; i < p.count; i += blockDim.x) sum += double(partials[i]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  StepNumbers& state = *(StepNumbers*)p.state;
  const double norm = sqrt_(sum) / state.loss_scale;
  const double scale = p.max_norm > 0 ? min_(1.0, p.max_norm / (norm + 1e-6)) : 1.0;
  state.grad_norm = norm;
  const double loss = p.loss ? double(*(const A*)p.loss) : 0.0;
  state.grad_scale = scale / state.loss_scale + (norm - norm) + (loss - loss); // NaN when one of them is not finite
}

// One thread.
KERNEL(loss_seed, LossSeed) {
  if (threadIdx.x == 0) *(A*)p.out = A(((const StepNumbers*)p.state)->loss_scale);
}
