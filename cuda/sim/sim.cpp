// What sim.h declares, and the C functions that src/gpu/sim.rs calls.
#include "sim.h"

#include <stdarg.h>

#include <thread>

#include "runner.h"

namespace sim {
namespace {

const Kernel* kernels = nullptr;

void run(Job& job) {
  try {
    Runner(job).run_blocks();
  } catch (const std::exception& e) {
    job.failed = true;
    std::lock_guard<std::mutex> held(job.lock);
    if (job.error.empty()) job.error = std::string(job.kernel.name) + ": " + e.what();
  }
}

}  // namespace

Kernel::Kernel(const char* name, void (*body)(const void*), size_t args_size, unsigned max_threads)
    : name(name), body(body), args_size(args_size), max_threads(max_threads), next(kernels) {
  kernels = this;
}

void fail(const char* format, ...) {
  char text[600];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  Runner::running->fail_here(text);
}

int barrier(int value, const char* what, Where where) { return Runner::running->barrier(value, what, where); }
void meet(unsigned mask, void* record, Work work, const char* what, Where where) {
  Runner::running->meet(mask, record, work, what, where);
}
void* shared_dynamic() { return Runner::running->shared_dynamic(); }
void* shared(const void* key, size_t bytes) { return Runner::running->shared(key, bytes); }
void check_shared(const void* p, size_t bytes, Where where) { Runner::running->check_shared(p, bytes, where); }
void async_copy(void* to, const void* from, int bytes, Where where) {
  check_aligned(to, 16, where);
  check_aligned(from, 16, where);
  check_shared(to, 16, where);
  if (bytes < 0 || bytes > 16) fail("async_copy of %d bytes", bytes);
  Runner::running->async_copy(to, from, size_t(bytes));
}
void async_commit() { Runner::running->async_commit(); }
void async_wait(int groups) { Runner::running->async_wait(groups); }

}  // namespace sim

namespace {

const sim::Kernel* kernel_at(int id) {
  const sim::Kernel* kernel = sim::kernels;
  while (kernel && id-- > 0) kernel = kernel->next;
  return kernel;
}

}  // namespace

extern "C" {

// The kernel's number; -1: there is none of this name, -2: there are several.
int sim_find(const char* name) {
  int found = -1, id = 0;
  for (const sim::Kernel* kernel = sim::kernels; kernel; kernel = kernel->next, id++) {
    if (!strcmp(kernel->name, name)) found = found == -1 ? id : -2;
  }
  return found;
}

size_t sim_args_size(int id) {
  const sim::Kernel* kernel = kernel_at(id);
  return kernel ? kernel->args_size : 0;
}

// Memory that no kernel may touch, or may again; only AddressSanitizer looks.
void sim_poison([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes, [[maybe_unused]] int poisoned) {
#ifdef __SANITIZE_ADDRESS__
  poisoned ? __asan_poison_memory_region(p, bytes) : __asan_unpoison_memory_region(p, bytes);
#endif
}

// 0, or 1 and what went wrong in `error`.
int sim_launch(const SimLaunch* launch, char* error, size_t error_len) {
  const sim::Kernel* kernel = kernel_at(launch->kernel);
  const auto& b = launch->block;
  const unsigned long long threads = 1ull * b[0] * b[1] * b[2];
  if (!kernel) return snprintf(error, error_len, "no kernel has the number %d", launch->kernel), 1;
  if (launch->args_len != kernel->args_size) {
    return snprintf(error, error_len, "%s: expected %zu bytes of arguments, found %zu", kernel->name, kernel->args_size,
                    launch->args_len), 1;
  }
  if (threads == 0 || threads > kernel->max_threads) {
    return snprintf(error, error_len, "%s: expected 1 to %u threads a block, found %llu", kernel->name,
                    kernel->max_threads, threads), 1;
  }
  std::vector<uint4> args((launch->args_len + 15) / 16);  // aligned
  memcpy(args.data(), launch->args, launch->args_len);
  sim::Job job(*kernel, *launch, args.data());
  std::vector<std::thread> others;
  for (unsigned i = 1; i < launch->os_threads && i < job.blocks; i++) others.emplace_back(sim::run, std::ref(job));
  sim::run(job);
  for (std::thread& other : others) other.join();
  if (!job.failed) return 0;
  return snprintf(error, error_len, "%s", job.error.c_str()), 1;
}

}
