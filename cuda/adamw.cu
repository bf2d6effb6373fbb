// What runs on all parameters at once: AdamW with the moving average, the gradient norm. A block takes a piece of PIECE
// elements of one tensor; a thread takes 16 bytes of every operand at a time, single elements behind the last whole ones.
// One pass: parameter, both moments, gradient and average are read once and written once.
#include "common/pieces.cuh"
#include "common/reduce.cuh"
#include "common/vec.cuh"

template <class T> __device__ __forceinline__ bool aligned(Ptr p) { return aligned((const T*)p); }

// vector(i) for the places of whole Vecs of this block's piece, then single(i) for the elements behind them.
template <class T, class Entry, class V, class S>
__device__ __forceinline__ void each_of_piece(const Entry& t, bool aligned, V vector, S single) {
  constexpr int N = Vec<T>::COUNT;
  const long long first = (blockIdx.x - t.first) * PIECE, last = min_(first + PIECE, t.count);
  const long long whole = aligned ? last - (last - first) % N : first;
  for (long long i = first + threadIdx.x * N; i < whole; i += blockDim.x * N) vector(i);
  for (long long i = whole + threadIdx.x; i < last; i += blockDim.x) single(i);
}

// The numbers of a step as one tensor takes them.
template <class A> struct Rates {
  A size, root, keep, scale, beta1, beta2, rest1, rest2, eps, decay, rest;
};

template <class A> __device__ __forceinline__ void update(const Rates<A>& r, A& param, A& m, A& v, A grad) {
  const A g = grad * r.scale;
  m = r.beta1 * m + r.rest1 * g, v = r.beta2 * v + r.rest2 * g * g;
  param = param * r.keep - r.size * m / (sqrt_(v) * r.root + r.eps);
}

// COUNT neighbouring elements from `i` on.
template <class T, class A, int COUNT>
__device__ __forceinline__ void update_at(const AdamwTensor& t, const Rates<A>& r, long long i) {
  struct alignas(COUNT == 1 ? sizeof(T) : 16) Some {
    T at[COUNT];
  };
  auto load = [&](Ptr from) { return *(const Some*)((const T*)from + i); };
  auto store = [&](Ptr to, const Some& some) { *(Some*)((T*)to + i) = some; };
  Some param = load(t.param);
  if (t.grad) {
    Some m = load(t.m), v = load(t.v);
    const Some grad = load(t.grad);
    for (int k = 0; k < COUNT; k++) {
      A p = A(param.at[k]), a = A(m.at[k]), b = A(v.at[k]);
      update(r, p, a, b, A(grad.at[k]));
      param.at[k] = T(p), m.at[k] = T(a), v.at[k] = T(b);
    }
    store(t.param, param), store(t.m, m), store(t.v, v);
  }
  if (t.average) {
    Some average = load(t.average);
    for (int k = 0; k < COUNT; k++) average.at[k] = T(r.decay * A(average.at[k]) + r.rest * A(param.at[k]));
    store(t.average, average);
  }
}

KERNEL(adamw, Adamw) {
  const AdamwTensor& t = p.at[piece_owner(p.at, p.tensors)];
  SHARED(Rates<A>, shared, 1);  // the same for all elements of a tensor: once a block
  if (threadIdx.x == 0) {
    const StepNumbers none = {}, &state = p.state ? *(const StepNumbers*)p.state : none;
    const double lr = state.lr * t.lr_scale;
    shared[0] = {A(lr / state.bias1), A(1.0 / sqrt_(state.bias2)), A(1.0 - lr * t.weight_decay), A(state.grad_scale),
                 A(p.beta1), A(p.beta2), A(1.0 - p.beta1), A(1.0 - p.beta2), A(p.eps), A(t.decay), A(1.0 - t.decay)};
  }
  __syncthreads();
  const Rates<A> r = shared[0];
  if (!(abs_(r.scale) < Limits<A>::infinity())) return;
  const bool all = aligned<T>(t.param) && aligned<T>(t.m) && aligned<T>(t.v) && aligned<T>(t.grad) && aligned<T>(t.average);
  each_of_piece<T>(t, all, [&](long long i) { update_at<T, A, Vec<T>::COUNT>(t, r, i); },
                   [&](long long i) { update_at<T, A, 1>(t, r, i); });
}

KERNEL(square_sums, SquareSums) {
  const NormTensor& t = p.at[piece_owner(p.at, p.tensors)];
  const T* x = (const T*)t.x;
  A sum = 0;
  auto add = [&](T v) { sum += A(v) * A(v); };
  each_of_piece<T>(t, aligned(x), [&](long long i) {
    const Vec<T> some = load_vec(x + i);
    for (int k = 0; k < Vec<T>::COUNT; k++) add(some.at[k]);
  }, [&](long long i) { add(x[i]); });
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
