// Runs the blocks of a launch. A worker fiber runs CUDA threads one after the other until one has to wait; only then
// another fiber takes the threads not yet started. Warps run one by one, each as far as it can, in ascending or descending
// order of the threads: what a missing barrier leaves open shows in one of the orders.
#pragma once
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <string>

#include "fiber.h"
#include "sim.h"

// One launch, as src/gpu/sim.rs describes it and has checked it.
struct SimLaunch {
  int kernel;
  unsigned grid[3], block[3];
  size_t shared, shared_limit;
  const void* args;
  unsigned os_threads;
  int reverse;
};

namespace sim {

enum class State : char { Fresh, Ready, AtBarrier, AtWarp, Done };

// `size` bytes on their way to shared memory: `bytes` of them from device memory, the others 0.
struct Copy {
  void* to;
  const void* from;
  size_t size, bytes;
  int group;
};

struct Thread {
  Fiber* fiber;
  Index index;
  State state;
  // What it waits at.
  const char* what;
  Where where;
  unsigned mask;
  void* record;
  Work work;
  int groups;  // committed groups of asynchronous copies
  std::vector<Copy> copies;
};

constexpr size_t STATIC_LIMIT = 48 << 10;

// A piece of shared memory.
struct alignas(128) Line {
  char bytes[128];
};
constexpr size_t lines(size_t bytes) { return (bytes + sizeof(Line) - 1) / sizeof(Line); }

inline const char* base_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

// What the OS threads of a launch share.
struct Job {
  const Kernel& kernel;
  const SimLaunch& launch;
  const void* args;
  unsigned long long blocks;
  std::atomic<unsigned long long> next{0};
  std::atomic<bool> failed{false};
  std::mutex lock;
  unsigned long long error_block = ~0ull;
  std::string error;

  Job(const Kernel& kernel, const SimLaunch& launch, const void* args)
      : kernel(kernel), launch(launch), args(args), blocks(1ull * launch.grid[0] * launch.grid[1] * launch.grid[2]) {}
};

// Runs blocks on one OS thread.
class Runner {
  inline static Stacks stacks;
  Job& job;
  unsigned long long block = 0;
  std::vector<Thread> threads;
  std::deque<Fiber> fibers;
  std::vector<Fiber*> idle;
  Fiber scheduler;
  Fiber* worker = nullptr;  // the fiber that runs
  Thread* current = nullptr;
  unsigned fresh = 0, fresh_end = 0;  // threads of the running warp, in running order, that no fiber has started
  unsigned living = 0, at_barrier = 0;
  int votes = 0, counted = 0;
  bool failed = false;
  // Shared memory: the dynamic part, then the arrays by their keys; behind each a line as guard zone.
  struct Array {
    const void* key;
    Line* at;
    size_t bytes;
    unsigned char* end() const { return (unsigned char*)at + bytes; }
    Line* guard_end() const { return at + lines(bytes) + 1; }
  };
  size_t room;
  std::unique_ptr<Line[]> memory;
  std::vector<Array> arrays;
  size_t static_bytes = 0;

  // The thread that runs as the i-th.
  Thread& ordered(unsigned i) { return threads[job.launch.reverse ? threads.size() - 1 - i : i]; }

  void enter(Thread& thread) {
    current = &thread;
    here.thread = thread.index;
    here.lane = unsigned(&thread - threads.data()) % 32;
  }

  // The living lanes of `mask` in the thread's warp go on if all have come: `work` is done for them.
  bool complete(Thread& thread) {
    Thread* lanes = &threads[(&thread - threads.data()) / 32 * 32];
    const unsigned count = unsigned(std::min<size_t>(32, threads.data() + threads.size() - lanes));
    auto awaited = [&](unsigned lane) { return thread.mask >> lane & 1 && lanes[lane].state != State::Done; };
    // From the lane that runs last: the one that has not come is mostly found at once.
    for (unsigned i = 0; i < count; i++) {
      const unsigned lane = job.launch.reverse ? i : count - 1 - i;
      if (awaited(lane) && (lanes[lane].state != State::AtWarp || lanes[lane].mask != thread.mask)) return false;
    }
    void* records[32] = {};
    bool alike = true;
    for (unsigned lane = 0; lane < count; lane++) {
      if (!awaited(lane)) continue;
      const Thread& other = lanes[lane];
      alike &= other.work == thread.work && (other.what == thread.what || !strcmp(other.what, thread.what));
      records[lane] = other.record;
    }
    if (!alike) fail("lanes of one warp at different functions: %s", waiting().c_str());
    if (thread.work) thread.work(records);
    for (unsigned lane = 0; lane < count; lane++) {
      if (records[lane]) lanes[lane].state = State::Ready;
    }
    return true;
  }

  void finish(Thread& thread) {
    thread.state = State::Done;
    living--;
    Thread* lanes = &threads[(&thread - threads.data()) / 32 * 32];
    for (Thread* other = lanes; other < lanes + 32 && other < threads.data() + threads.size(); other++) {
      if (other->state == State::AtWarp) complete(*other);
    }
  }

  static void run_worker() {
    Runner& self = *running;
    arrive(self.scheduler);
    Fiber& mine = *self.worker;
    for (;;) {
      while (self.fresh < self.fresh_end) {
        Thread& thread = self.ordered(self.fresh++);
        thread.fiber = &mine;
        thread.state = State::Ready;
        self.enter(thread);
        self.job.kernel.body(self.job.args);
        self.finish(thread);
      }
      self.idle.push_back(&mine);
      jump(mine, self.scheduler);
    }
  }

  void resume(Fiber& fiber) {
    worker = &fiber;
    jump(scheduler, fiber);
  }

  Fiber& idle_fiber() {
    if (idle.empty()) {
      char* stack = stacks.take();
      if (!stack) throw std::bad_alloc();
      fibers.emplace_back();
      fibers.back().stack = stack;
      fibers.back().prepare(run_worker);
      idle.push_back(&fibers.back());
    }
    Fiber* fiber = idle.back();
    idle.pop_back();
    return *fiber;
  }

  // Runs the threads [begin, end) of the running order, a warp, as far as they can go; whether any moved.
  bool run_warp(unsigned begin, unsigned end) {
    bool moved = false;
    for (bool again = true; again && !failed;) {
      again = false;
      while (fresh < fresh_end && !failed) {
        again = true;
        resume(idle_fiber());
      }
      for (unsigned i = begin; i < end && !failed; i++) {
        Thread& thread = ordered(i);
        if (thread.state != State::Ready) continue;
        again = true;
        enter(thread);
        resume(*thread.fiber);
      }
      moved |= again;
    }
    return moved;
  }

  // The bounds of the i-th warp in running order; the one that is not full is the last warp of the block.
  unsigned warp_begin(unsigned i) {
    const unsigned n = unsigned(threads.size());
    if (!job.launch.reverse) return std::min(i * 32, n);
    return i == 0 ? 0 : std::min(n, (n + 31) % 32 + 1 + (i - 1) * 32);
  }

  void run_threads() {
    const unsigned warps = (unsigned(threads.size()) + 31) / 32;
    for (bool first = true; living && !failed; first = false) {
      bool moved = false;
      for (unsigned warp = 0; warp < warps && !failed; warp++) {
        const unsigned begin = warp_begin(warp), end = warp_begin(warp + 1);
        if (first) fresh = begin, fresh_end = end;
        moved |= run_warp(begin, end);
      }
      if (failed || !living) break;
      if (at_barrier == living) {
        release_barrier();
      } else if (!moved) {
        record("deadlock: " + waiting());
      }
    }
  }

  void release_barrier() {
    const Thread* first = nullptr;
    for (Thread& thread : threads) {
      if (thread.state != State::AtBarrier) continue;
      if (!first) first = &thread;
      if (thread.where.line != first->where.line || strcmp(thread.where.file, first->where.file)) {
        return record("threads at different barriers: " + waiting());
      }
    }
    for (Thread& thread : threads) {
      if (thread.state == State::AtBarrier) thread.state = State::Ready;
    }
    counted = votes;
    at_barrier = 0, votes = 0;
  }

  // "32 of 40 threads at __syncthreads (softmax.cu:12), 8 at __shfl_sync with mask 0x1 (softmax.cu:9), 0 done"
  std::string waiting() {
    std::vector<std::pair<std::string, unsigned>> places;
    unsigned done = 0;
    for (const Thread& thread : threads) {
      done += thread.state == State::Done;
      if (thread.state != State::AtBarrier && thread.state != State::AtWarp) continue;
      char place[300], mask[40] = "";
      if (thread.state == State::AtWarp) snprintf(mask, sizeof mask, " with mask %#010x", thread.mask);
      snprintf(place, sizeof place, "%s%s (%s:%d)", thread.what, mask, base_name(thread.where.file), thread.where.line);
      size_t i = 0;
      while (i < places.size() && places[i].first != place) i++;
      if (i == places.size()) places.emplace_back(place, 0);
      places[i].second++;
    }
    std::string text;
    for (size_t i = 0; i < places.size(); i++) {
      text += std::to_string(places[i].second);
      if (i == 0) text += " of " + std::to_string(threads.size()) + " threads";
      text += " at " + places[i].first + ", ";
    }
    return text + std::to_string(done) + " done";
  }

  // The error of this block; of several blocks' errors the first block's is kept.
  void record(const std::string& text) {
    failed = job.failed = true;
    char place[200];
    snprintf(place, sizeof place, "%s, block (%u, %u, %u): ", job.kernel.name, here.block.x, here.block.y, here.block.z);
    std::lock_guard<std::mutex> held(job.lock);
    if (block < job.error_block) job.error_block = block, job.error = place + text;
  }

  void set_up_block() {
    const unsigned* grid = job.launch.grid;
    const unsigned long long place = job.launch.reverse ? job.blocks - 1 - block : block;
    here.block = {unsigned(place % grid[0]), unsigned(place / grid[0] % grid[1]), unsigned(place / grid[0] / grid[1])};
    for (Thread& thread : threads) {
      thread.state = State::Fresh;
      thread.groups = 0;
      thread.copies.clear();
    }
    living = unsigned(threads.size());
    at_barrier = 0, votes = 0;
    static_bytes = 0;
    arrays.clear();
    add_array(nullptr, job.launch.shared);
  }

  // An array of NaN bytes, with a guard zone of them.
  void* add_array(const void* key, size_t bytes) {
    arrays.push_back({key, arrays.empty() ? memory.get() : arrays.back().guard_end(), bytes});
    const Array& array = arrays.back();
    memset(array.at, 0xff, (char*)array.guard_end() - (char*)array.at);
    return array.at;
  }

  // No shared array may have been written behind its end.
  void check_guards() {
    for (const Array& array : arrays) {
      for (const unsigned char* at = array.end(); at < (unsigned char*)array.guard_end(); at++) {
        if (*at == 0xff) continue;
        const char* what = array.key ? "a SHARED array" : "dynamic shared memory";
        return record("byte " + std::to_string(at - (unsigned char*)array.at) + " of " + what + " of " +
                      std::to_string(array.bytes) + " bytes was written");
      }
    }
  }

 public:
  inline static thread_local Runner* running = nullptr;

  // Room for the largest arrays; many small ones may need more, for their guard zones.
  explicit Runner(Job& job)
      : job(job), room(lines(job.launch.shared) + 3 * lines(STATIC_LIMIT)), memory(new Line[room]) {
    const unsigned* block = job.launch.block;
    here.block_dim = {block[0], block[1], block[2]};
    here.grid_dim = {job.launch.grid[0], job.launch.grid[1], job.launch.grid[2]};
    threads.resize(size_t(block[0]) * block[1] * block[2]);
    for (unsigned i = 0; i < threads.size(); i++) {
      threads[i].index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
    }
    running = this;
  }
  ~Runner() {
    for (Fiber& fiber : fibers) stacks.give_back(fiber.stack);
    running = nullptr;
  }

  void run_blocks() {
    while (!job.failed && (block = job.next++) < job.blocks) {
      set_up_block();
      run_threads();
      if (!failed) check_guards();
    }
  }

  [[noreturn]] void fail_here(const char* text) {
    char thread[100];
    snprintf(thread, sizeof thread, "thread (%u, %u, %u): ", here.thread.x, here.thread.y, here.thread.z);
    record(std::string(thread) + text);
    jump(*worker, scheduler);
    __builtin_unreachable();
  }

  int barrier(int value, const char* what, Where where) {
    Thread& thread = *current;
    thread.state = State::AtBarrier, thread.what = what, thread.where = where;
    at_barrier++;
    votes += value != 0;
    jump(*thread.fiber, scheduler);
    return counted;
  }

  void meet(unsigned mask, void* record, Work work, const char* what, Where where) {
    Thread& thread = *current;
    if (!(mask >> here.lane & 1)) {
      fail("%s (%s:%d) with mask %#010x, in which the calling lane %u is missing", what, base_name(where.file), where.line,
           mask, here.lane);
    }
    thread.state = State::AtWarp, thread.what = what, thread.where = where;
    thread.mask = mask, thread.record = record ? record : &thread, thread.work = work;
    if (!complete(thread)) jump(*thread.fiber, scheduler);
  }

  void* shared(const void* key, size_t bytes) {
    for (const Array& array : arrays) {
      if (array.key == key) return array.at;
    }
    static_bytes += (bytes + 15) / 16 * 16;
    const size_t both = job.launch.shared + static_bytes;
    if (static_bytes > STATIC_LIMIT) fail("%zu bytes of SHARED arrays, the limit is %zu", static_bytes, STATIC_LIMIT);
    if (both > job.launch.shared_limit) {
      fail("%zu bytes of shared memory, SHARED arrays among them, the card has %zu", both, job.launch.shared_limit);
    }
    if (arrays.back().guard_end() + lines(bytes) + 1 > memory.get() + room) fail("too many SHARED arrays");
    return add_array(key, bytes);
  }

  void* shared_dynamic() { return memory.get(); }

  void check_shared(const void* p, size_t bytes, Where where) {
    for (const Array& array : arrays) {
      if ((unsigned char*)p >= (unsigned char*)array.at && (unsigned char*)p + bytes <= array.end()) return;
    }
    fail("%zu bytes at %s:%d are not in shared memory", bytes, base_name(where.file), where.line);
  }

  void async_copy(void* to, const void* from, size_t size, size_t bytes) {
    memset(to, 0xff, size);
    current->copies.push_back({to, from, size, bytes, current->groups});
  }
  void async_commit() { current->groups++; }
  void async_wait(int groups) {
    size_t kept = 0;
    for (const Copy& copy : current->copies) {
      if (copy.group < current->groups - groups) {
        memset(copy.to, 0, copy.size);
        memcpy(copy.to, copy.from, copy.bytes);
      } else {
        current->copies[kept++] = copy;
      }
    }
    current->copies.resize(kept);
  }
};

}  // namespace sim
