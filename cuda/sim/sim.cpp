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

Kernel::Kernel(const char* name, void (*body)(const void*), size_t args_len, unsigned max_threads)
    : name(name), body(body), args_len(args_len), max_threads(max_threads), next(kernels) {
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
void async_copy(void* to, const void* from, int size, int bytes, Where where) {
  check_aligned(to, size_t(size), where);
  check_aligned(from, size_t(size), where);
  check_shared(to, size_t(size), where);
  if (bytes < 0 || bytes > size) fail("async_copy of %d bytes", bytes);
  Runner::running->async_copy(to, from, size_t(size), size_t(bytes));
}
void async_commit() { Runner::running->async_commit(); }
void async_wait(int groups) { Runner::running->async_wait(groups); }

}  // namespace sim

extern "C" {

// The kernel's number, and what a launch of it has to keep to; -1: there is none of this name, -2: there are several.
int sim_find(const char* name, size_t* args_len, unsigned* max_threads) {
  int found = -1, id = 0;
  for (const sim::Kernel* kernel = sim::kernels; kernel; kernel = kernel->next, id++) {
    if (strcmp(kernel->name, name)) continue;
    found = found == -1 ? id : -2;
    *args_len = kernel->args_len, *max_threads = kernel->max_threads;
  }
  return found;
}

// Memory that no kernel may touch, or may again; only AddressSanitizer looks.
void sim_poison([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes, [[maybe_unused]] int poisoned) {
#ifdef __SANITIZE_ADDRESS__
  poisoned ? __asan_poison_memory_region(p, bytes) : __asan_unpoison_memory_region(p, bytes);
#endif
}

// 0, or 1 and what went wrong in `error`.
int sim_launch(const SimLaunch* launch, char* error, size_t error_len) {
  const sim::Kernel* kernel = sim::kernels;
  for (int id = launch->kernel; id > 0; id--) kernel = kernel->next;
  std::vector<uint4> args((kernel->args_len + 15) / 16);  // aligned
  memcpy(args.data(), launch->args, kernel->args_len);
  sim::Job job(*kernel, *launch, args.data());
  std::vector<std::thread> others;
  for (unsigned i = 1; i < launch->os_threads && i < job.blocks; i++) others.emplace_back(sim::run, std::ref(job));
  sim::run(job);
  for (std::thread& other : others) other.join();
  if (job.failed) snprintf(error, error_len, "%s", job.error.c_str());
  return job.failed;
}

}
