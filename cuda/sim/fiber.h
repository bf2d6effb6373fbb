// Stacks and jumps between them: assembly on x86-64 and aarch64, ucontext elsewhere. AddressSanitizer is told of each jump.
#pragma once
#include <string.h>
#include <sys/mman.h>
#include <mutex>
#include <vector>
#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__ELF__) && !defined(SIM_UCONTEXT)
#define SIM_JUMP
extern "C" void sim_jump(void** save, void* load);
#else
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(SIM_JUMP) && defined(__x86_64__)
asm(R"(
.text; .globl sim_jump; .type sim_jump, @function
sim_jump:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi); mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
.size sim_jump, .-sim_jump
)");
#elif defined(SIM_JUMP)
asm(R"(
.text; .globl sim_jump; .type sim_jump, %function
sim_jump:
  sub sp, sp, #160
  stp x19, x20, [sp]; stp x21, x22, [sp, #16]; stp x23, x24, [sp, #32]; stp x25, x26, [sp, #48]; stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]; stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]
  mov x9, sp; str x9, [x0]; mov sp, x1
  ldp x19, x20, [sp]; ldp x21, x22, [sp, #16]; ldp x23, x24, [sp, #32]; ldp x25, x26, [sp, #48]; ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]; ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size sim_jump, .-sim_jump
)");
#endif

namespace sim {

constexpr size_t STACK = 256 << 10, PAGE = 64 << 10;

// Stacks with an unreadable page below them; they are kept for the next launch.
class Stacks {
  std::mutex lock;
  std::vector<char*> idle;

 public:
  // The lowest byte of a stack; null when there is no memory.
  char* take() {
    {
      std::lock_guard<std::mutex> held(lock);
      if (!idle.empty()) {
        char* stack = idle.back();
        idle.pop_back();
        return stack;
      }
    }
    void* p = mmap(nullptr, PAGE + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    mprotect(p, PAGE, PROT_NONE);
    return (char*)p + PAGE;
  }
  void give_back(char* stack) {
    std::lock_guard<std::mutex> held(lock);
    idle.push_back(stack);
  }
};

// A flow of control: the scheduler's own (no stack of ours) or a worker's.
struct Fiber {
  char* stack = nullptr;
#ifdef SIM_JUMP
  void* at = nullptr;
#else
  ucontext_t at;
#endif
  // The same for AddressSanitizer, which also wants to know the scheduler's stack.
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake = nullptr;

  // The next jump here calls `entry`, which never returns.
  void prepare(void (*entry)()) {
    bottom = stack, size = STACK, fake = nullptr;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stack, STACK);  // what an abandoned run left
#endif
    // Stacks lie a constant distance apart: without this their ends would share few cache lines' places.
    [[maybe_unused]] char* start = stack + STACK - (size_t)stack / (PAGE + STACK) % 61 * 256;
#if defined(SIM_JUMP) && defined(__x86_64__)
    void** top = (void**)start;
    *--top = nullptr;  // where the return address of `entry` is looked for; aligns the stack as a call does
    *--top = (void*)entry;
    at = top - 6;
    memset(at, 0, 48);
#elif defined(SIM_JUMP)
    at = start - 160;
    memset(at, 0, 160);
    ((void**)at)[11] = (void*)entry;
#else
    getcontext(&at);
    at.uc_stack.ss_sp = stack, at.uc_stack.ss_size = STACK, at.uc_link = nullptr;
    makecontext(&at, entry, 0);
#endif
  }
};

inline void jump(Fiber& from, Fiber& to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake, to.bottom, to.size);
#endif
#ifdef SIM_JUMP
  sim_jump(&from.at, to.at);
#else
  swapcontext(&from.at, &to.at);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

// The first thing in a worker's entry, which `from` jumped to.
inline void arrive([[maybe_unused]] Fiber& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.size);
#endif
}

}  // namespace sim
