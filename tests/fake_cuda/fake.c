// A driver, an NVRTC and a cuBLASLt that do to the host's memory what the real ones do to the card's, and write every call
// that matters to the file FAKE_LOG. One library serves under all three names.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t Ptr;
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, STREAM = 0x5ea, CAP = 64 << 20 };

static void say(const char* format, ...) {
  FILE* file = fopen(getenv("FAKE_LOG"), "a");
  va_list list;
  va_start(list, format);
  vfprintf(file, format, list);
  fputc('\n', file);
  fclose(file);
}

static int number(const char* variable) { return atoi(getenv(variable)); }
#ifndef LIBRARIES
#define LIBRARIES number("FAKE_LIBRARIES")
#endif

// ---- the driver

static int capturing, bound;
int cuInit(unsigned flags) { return flags; }
int cuDriverGetVersion(int* version) { return *version = number("FAKE_DRIVER"), OK; }
int cuGetErrorName(int error, const char** text) {
  *text = error == OUT_OF_MEMORY   ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE"
                                   : "CUDA_ERROR_INVALID_VALUE";
  return OK;
}
int cuGetErrorString(int error, const char** text) { return *text = error == OUT_OF_MEMORY ? "out of memory" : "invalid", OK; }
int cuDeviceGetCount(int* count) { return *count = 2, OK; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, OK; }
int cuDeviceGetName(char* name, int size, int device) { return snprintf(name, size, "Fake %d", device), OK; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { return *bytes = CAP, OK; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  int capability = number("FAKE_CAPABILITY");
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 97 ? 200 << 10 : attribute == 16 ? 4 : -1;
  return OK;
}
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = (void*)0xc0, OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { return say("release"), OK; }
#ifndef PARTIAL
int cuCtxSetCurrent(void* context) { return bound = context == (void*)0xc0, OK; }
#endif
int cuStreamCreate(void** stream, unsigned flags) { return *stream = (void*)STREAM, flags == 1 && bound ? OK : INVALID; }
int cuStreamDestroy_v2(void* stream) { return say("stream destroyed"), OK; }
int cuStreamSynchronize(void* stream) { return say("synchronize"), stream == (void*)STREAM && !capturing ? OK : INVALID; }
int cuDeviceGetDefaultMemPool(void** pool, int device) { return *pool = (void*)0xb0, OK; }
int cuMemPoolSetAttribute(void* pool, int attribute, void* value) {
  return say("pool %d %llx", attribute, (unsigned long long)*(uint64_t*)value), OK;
}
int cuMemPoolTrimTo(void* pool, size_t keep) { return say("trim"), OK; }
int cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = 4096, *total = CAP, OK; }
static int take(Ptr* address, size_t bytes) { return bytes > CAP ? OUT_OF_MEMORY : (*address = (Ptr)aligned_alloc(256, (bytes + 255) / 256 * 256), OK); }
int cuMemAllocAsync(Ptr* address, size_t bytes, void* stream) { return say("alloc async"), capturing ? INVALID : take(address, bytes); }
int cuMemAlloc_v2(Ptr* address, size_t bytes) { return say("alloc plain"), take(address, bytes); }
int cuMemFreeAsync(Ptr address, void* stream) { return say("free async"), capturing ? INVALID : (free((void*)address), OK); }
int cuMemFree_v2(Ptr address) { return say("free plain"), free((void*)address), OK; }
int cuMemcpyHtoDAsync_v2(Ptr to, const void* from, size_t n, void* stream) { return memcpy((void*)to, from, n), OK; }
int cuMemcpyDtoHAsync_v2(void* to, Ptr from, size_t n, void* stream) { return memcpy(to, (void*)from, n), OK; }
int cuMemcpyDtoDAsync_v2(Ptr to, Ptr from, size_t n, void* stream) { return memmove((void*)to, (void*)from, n), OK; }
int cuMemsetD2D8Async(Ptr to, size_t pitch, unsigned char value, size_t width, size_t height, void* stream) {
  for (size_t row = 0; row < height; row++) memset((void*)(to + row * pitch), value, width);
  return width <= pitch && stream == (void*)STREAM ? OK : INVALID;
}
int cuMemsetD8Async(Ptr to, unsigned char value, size_t n, void* stream) { return memset((void*)to, value, n), OK; }
int cuModuleLoadData(void** module, const void* image) { // takes NVRTC's code and nvcc's, but nothing while FAKE_LOG.refuse is there
  char refuse[4096];
  snprintf(refuse, sizeof refuse, "%s.refuse", getenv("FAKE_LOG"));
  FILE* file = fopen(refuse, "r");
  if (file) fclose(file);
  int source = !memcmp(image, "#line ", 6), fatbin = !memcmp(image, "\x50\xed\x55\xba", 4);
  if (file || !(source || fatbin)) return say("module refused"), INVALID_IMAGE;
  return say(source ? "module of NVRTC" : "module of nvcc"), *module = (void*)1, OK;
}
int cuModuleGetFunction(void** function, void* module, const char* name) { return *function = strdup(name), OK; }
int cuFuncGetParamInfo(void* function, size_t index, size_t* offset, size_t* size) {
  return *offset = 0, *size = strncmp(function, "fill", 4) ? 40 : 32, OK;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  return say("attribute %d of %s: %d", attribute, (char*)function, value), value > 200 << 10 ? INVALID : OK;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** args, void** extra) {
  say("launch %s %u %u %u, %u %u %u, %u, args %llx..%x", (char*)function, gx, gy, gz, bx, by, bz, shared,
      (unsigned long long)*(uint64_t*)args[0], ((unsigned char*)args[0])[39]);
  return gx && stream == (void*)STREAM && !extra ? OK : INVALID;
}
int cuStreamIsCapturing(void* stream, int* status) { return *status = capturing, OK; }
int cuStreamBeginCapture_v2(void* stream, int mode) { return capturing = 1, mode == 2 ? OK : INVALID; }
int cuStreamEndCapture(void* stream, void** graph) { return say("capture ends"), capturing = 0, *graph = (void*)2, OK; }
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags) { return *exec = (void*)3, OK; }
int cuGraphDestroy(void* graph) { return say("graph destroyed"), OK; }
int cuGraphLaunch(void* exec, void* stream) { return say("replay"), exec == (void*)3 ? OK : INVALID; }
int cuGraphExecDestroy(void* exec) { return say("exec destroyed"), OK; }
int cuEventCreate(void** event, unsigned flags) { return *event = malloc(1), OK; }
int cuEventRecord(void* event, void* stream) { return say("event"), OK; }
int cuEventDestroy_v2(void* event) { return free(event), OK; }
int cuEventElapsedTime(float* milliseconds, void* from, void* to) { return *milliseconds = 1.5f, OK; }

// ---- NVRTC: its machine code is the source

static char* text;
int nvrtcVersion(int* major, int* minor) { return *major = LIBRARIES, *minor = 0, OK; }
int nvrtcCreateProgram(void** program, const char* source, const char* name, int n, void* headers, void* names) {
  return *program = text = strdup(source), OK;
}
int nvrtcCompileProgram(void* program, int count, const char** options) { return say("nvrtc %s", options[count - 1]), OK; }
int nvrtcGetCUBINSize(void* program, size_t* size) { return *size = strlen(text), OK; }
int nvrtcGetCUBIN(void* program, char* to) { return memcpy(to, text, strlen(text)), OK; }
int nvrtcDestroyProgram(void** program) { return OK; }

// ---- cuBLASLt

size_t cublasLtGetVersion(void) { return LIBRARIES * 10000 + 2; }
int cublasLtCreate(void** handle) { return *handle = (void*)7, OK; }
int cublasLtDestroy(void* handle) { return say("lt destroyed"), OK; }
const char* cublasLtGetStatusString(int status) { return "words"; }
int cublasLtMatmulDescCreate(void** desc, int compute, int scale) { return *desc = (void*)0xd, OK; }
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t size) { return size == 4 ? OK : 7; }
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) { return *layout = (void*)rows, OK; }
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t size) { return OK; }
int cublasLtMatmulPreferenceCreate(void** preference) { return *preference = (void*)8, OK; }
int cublasLtMatmulPreferenceDestroy(void* preference) { return OK; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t size) {
  uint64_t number = 0;
  return memcpy(&number, value, size), say("preference %d: %llu", attribute, (unsigned long long)number), OK;
}
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted,
                                   uint64_t* results, int* found) {
  for (int i = 0; i < 8; i++) results[i] = 100 + i;
  return *found = a != (void*)99, OK;
}
int cublasLtMatmul(void* handle, void* desc, float* alpha, Ptr a, void* la, Ptr b, void* lb, float* beta, Ptr c, void* lc,
                   Ptr d, void* ld, uint64_t* algo, Ptr workspace, size_t bytes, void* stream) {
  say("matmul %g %g %llx %llx %llx %llx, algo %llu, %zu bytes, stream %d", *alpha, *beta, a, b, c, d,
      (unsigned long long)algo[7], bytes, stream == (void*)STREAM);
  return OK;
}
