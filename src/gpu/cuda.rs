//! The real device: libcuda's calls, one for one. Every refusal becomes an error that names the call, what it was for
//! and the driver's own words.
#![allow(unsafe_code)]

use super::cublaslt::CudaLt;
use super::driver::{Driver, Launch, Limits, Replay};
use super::{libraries, lt::Lt, modules, modules::Origin};
use crate::{Error, Result};
use cudarc::driver::sys;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, ffi::CStr, ffi::CString, ffi::c_void, path::PathBuf, ptr};
use sys::CUdevice_attribute_enum as Attribute;

/// What a call says in its driver's words, when it is not success.
pub(super) fn code(result: sys::CUresult) -> Result<(), String> {
    result.result().map_err(|error| {
        let [name, text] = [error.error_name(), error.error_string()].map(|words| match words {
            Ok(words) => words.to_string_lossy().into_owned(),
            Err(_) => format!("{:?}", error.0),
        });
        format!("{name}: {text}")
    })
}

/// A driver call, and what it is for.
macro_rules! cu {
    ($call:ident($($arg:expr),*), $($purpose:tt)+) => {
        // SAFETY: pointers are to locals or slices that outlive the call (the driver copies what it keeps), handles
        // belong to objects that are alive, and addresses are the caller's to answer for, by the contract of `Driver`.
        code(unsafe { sys::$call($($arg),*) })
            .map_err(|why| Error::device(format_args!("{} {}", stringify!($call), format_args!($($purpose)+)), why))
    };
}

/// A device's context, and the stream on which everything runs.
pub(super) struct Stream {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) raw: sys::CUstream,
}

// SAFETY: the driver's handles may be used by every thread that binds the context first.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Stream {}

impl Stream {
    fn open(device: sys::CUdevice) -> Result<Self> {
        let mut stream = Self { device, context: ptr::null_mut(), raw: ptr::null_mut() };
        cu!(cuDevicePrimaryCtxRetain(&mut stream.context, device), "of device {device}")?;
        stream.bind()?;
        cu!(cuStreamCreate(&mut stream.raw, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32), "of ours")?;
        Ok(stream)
    }

    /// Makes the context that of the calling thread.
    pub(super) fn bind(&self) -> Result<()> {
        cu!(cuCtxSetCurrent(self.context), "to that of device {}", self.device)
    }

    fn synchronize(&self, purpose: &str) -> Result<()> {
        self.bind()?;
        cu!(
            cuStreamSynchronize(self.raw),
            "{purpose}, or something before it (with CUDA_LAUNCH_BLOCKING=1 the error names its kernel)"
        )
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // over a symbol that the library lacks: this might ask for another
        }
        let _ = self.bind();
        if !self.raw.is_null() {
            let _ = cu!(cuStreamDestroy_v2(self.raw), "of ours");
        }
        if !self.context.is_null() {
            let _ = cu!(cuDevicePrimaryCtxRelease_v2(self.device), "of ours");
        }
    }
}

/// A card.
pub struct Cuda {
    lt: CudaLt,
    limits: Limits,
    pool: Handle<sys::CUmemoryPool>,
    capture: Mutex<Capture>,
    code: Mutex<Code>,
    stream: Arc<Stream>,
}

/// A handle of the driver's that is only used with the context bound.
#[derive(Clone, Copy)]
struct Handle<T>(T);

// SAFETY: as for `Stream`.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as for `Stream`.
unsafe impl<T> Sync for Handle<T> {}

/// What a capture changes about memory. The pool's calls would become part of the graph, so memory of a capture comes
/// from `cuMemAlloc` and returns to `cuMemFree`, and what is freed during one waits for its end.
#[derive(Default)]
struct Capture {
    on: bool,
    plain: HashSet<u64>,
    later: Vec<u64>,
}

/// The kernels so far, and the kernel files that they came from.
struct Code {
    cache: Option<PathBuf>,
    modules: HashMap<&'static str, Handle<sys::CUmodule>>,
    functions: HashMap<String, Function>,
}

/// A kernel, the dynamic shared memory that it may have now, and the bytes of its argument where the driver tells.
#[derive(Clone, Copy)]
struct Function {
    raw: Handle<sys::CUfunction>,
    shared: usize,
    args: Option<usize>,
}

/// Dynamic shared memory that every kernel may have.
const SHARED: usize = 48 << 10;

/// Opens the card that `ESPALIER_CUDA_DEVICE` numbers, by default the first; or says why CUDA is not in use.
pub fn open() -> Result<Cuda, String> {
    (*libraries::driver()).clone()?;
    libraries::quietly("libcuda", || Cuda::open().map_err(|error| error.to_string()))
}

/// The card's name, capability and sizes.
fn limits(device: sys::CUdevice) -> Result<Limits> {
    let (mut name, mut memory) = ([0u8; 256], 0);
    cu!(cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device), "of device {device}")?;
    cu!(cuDeviceTotalMem_v2(&mut memory, device), "of device {device}")?;
    let get = |attribute| {
        let mut value = 0;
        cu!(cuDeviceGetAttribute(&mut value, attribute, device), "{attribute:?}").map(|()| value.unsigned_abs())
    };
    Ok(Limits {
        name: CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().into_owned(),
        capability: (
            get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        shared: get(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        multiprocessors: get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory,
    })
}

/// Refuses what cannot work: an old card, no code for it, libraries that are missing or newer than the driver.
fn usable(limits: &Limits) -> Result<()> {
    let ((major, minor), unusable) = (limits.capability, |why: &str| Error::device(&limits.name, why));
    if major < 8 {
        return Err(unusable(&format!("compute capability {major}.{minor}: 8.0 (A100, RTX 30) or newer is needed")));
    }
    let driver = libraries::driver().as_ref().map_err(|why| unusable(why))?;
    if *driver < (12, 1) {
        let (major, minor) = driver;
        let why =
            format!("a driver of CUDA {major}.{minor}: 12.1 or newer is needed (kernels with arguments above 4 kB)");
        return Err(unusable(&why));
    }
    let mut needed = vec![("libcublasLt", libraries::cublaslt())];
    if !modules::is_embedded(limits.capability, driver.0) {
        needed.push(("libnvrtc", libraries::nvrtc()));
    }
    for (name, version) in needed {
        let version = version.as_ref().map_err(|why| unusable(why))?;
        if version.0 > driver.0 {
            let pair = format!("{name} is of CUDA {}, the driver of {}.{}", version.0, driver.0, driver.1);
            return Err(unusable(&format!("{pair}: install a newer driver or CUDA {} libraries", driver.0)));
        }
    }
    Ok(())
}

impl Cuda {
    fn open() -> Result<Self> {
        let (mut count, mut device) = (0, 0);
        cu!(cuInit(0), "of the driver")?;
        cu!(cuDeviceGetCount(&mut count), "of this machine")?;
        let asked = env::var("ESPALIER_CUDA_DEVICE").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "0".into());
        let ordinal = asked.parse().ok().filter(|ordinal| (0..count).contains(ordinal));
        let expected = || format!("the number of one of {count} devices, from 0");
        let ordinal = ordinal.ok_or_else(|| Error::invalid("ESPALIER_CUDA_DEVICE", expected(), &asked))?;
        cu!(cuDeviceGet(&mut device, ordinal), "{ordinal}")?;
        let limits = limits(device)?;
        usable(&limits)?;
        let (stream, mut pool) = (Arc::new(Stream::open(device)?), ptr::null_mut());
        cu!(cuDeviceGetDefaultMemPool(&mut pool, device), "of device {device}")?;
        // Memory stays with the pool over every synchronisation: giving it back and asking again costs milliseconds.
        let (threshold, mut all) = (sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
        cu!(cuMemPoolSetAttribute(pool, threshold, (&raw mut all).cast()), "release threshold")?;
        let code = Code { cache: crate::io::cache_folder(), modules: HashMap::new(), functions: HashMap::new() };
        Ok(Self {
            lt: CudaLt::new(Arc::clone(&stream))?,
            limits,
            pool: Handle(pool),
            capture: Mutex::default(),
            code: Mutex::new(code),
            stream,
        })
    }

    fn capture(&self) -> MutexGuard<'_, Capture> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for the device or reads the host's memory cannot be recorded.
    fn ensure_running(&self, what: &str) -> Result<()> {
        if self.capture().on { Err(Error::device(what, "not possible while work is recorded")) } else { Ok(()) }
    }

    fn give_back(&self, capture: &mut Capture, address: u64) {
        let _ = self.stream.bind();
        // Nobody can act on a refusal: the context is broken, and what is launched next says so.
        let _ = if capture.plain.remove(&address) {
            self.stream.synchronize("before cuMemFree").and_then(|()| cu!(cuMemFree_v2(address), "of {address:#x}"))
        } else {
            cu!(cuMemFreeAsync(address, self.stream.raw), "of {address:#x}")
        };
    }

    /// The kernel of a launch, ready for its shared memory.
    fn function(&self, launch: &Launch) -> Result<sys::CUfunction> {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        let mut function = match code.functions.get(launch.kernel) {
            Some(function) => *function,
            None => code.load(launch.kernel, &self.limits)?,
        };
        if function.args.is_some_and(|bytes| bytes != launch.args.len()) {
            let expected = format!("{} bytes of arguments", function.args.unwrap_or(0));
            return Err(Error::invalid(launch.kernel, expected, launch.args.len()));
        }
        if launch.shared > function.shared {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let (kernel, bytes, most) = (launch.kernel, launch.shared, self.limits.shared);
            cu!(
                cuFuncSetAttribute(function.raw.0, attribute, i32::try_from(bytes).unwrap_or(i32::MAX)),
                "of {kernel}: {bytes} bytes of dynamic shared memory, the card has {most}"
            )?;
            function.shared = launch.shared;
            code.functions.insert(kernel.into(), function);
        }
        Ok(function.raw.0)
    }
}

impl Code {
    /// A kernel file's code on the card. What the driver refuses is compiled anew, where that was not just done.
    fn module(&self, stem: &str, limits: &Limits) -> Result<Handle<sys::CUmodule>> {
        let driver = libraries::driver().as_ref().map_or(0, |version| version.0);
        let mut refused: Option<(Origin, Error)> = None;
        loop {
            let before = refused.as_ref().map(|(origin, _)| *origin);
            let both = |error| match &refused {
                Some((_, earlier)) => Error::device(earlier, error),
                None => error,
            };
            let image = modules::image(stem, limits.capability, driver, self.cache.as_deref(), before);
            let (image, origin) = image.map_err(both)?;
            let (mut module, bytes) = (ptr::null_mut(), image.len());
            let words = format!("of cuda/{stem}.cu ({bytes} bytes, {origin:?})");
            match cu!(cuModuleLoadData(&mut module, image.as_ptr().cast()), "{words}") {
                Ok(()) => return Ok(Handle(module)),
                Err(error) if origin == Origin::Compiled || before == Some(origin) => return Err(both(error)),
                Err(error) => refused = Some((origin, both(error))),
            }
        }
    }

    fn load(&mut self, kernel: &str, limits: &Limits) -> Result<Function> {
        let stem = modules::stem_of(kernel).ok_or_else(|| Error::invalid("kernel", "one of cuda/*.cu", kernel))?;
        if !self.modules.contains_key(stem) {
            self.modules.insert(stem, self.module(stem, limits)?);
        }
        let (mut raw, name) = (ptr::null_mut(), CString::new(kernel).map_err(|error| Error::device(kernel, error))?);
        cu!(cuModuleGetFunction(&mut raw, self.modules[stem].0, name.as_ptr()), "of {kernel}")?;
        let mut args = None;
        if matches!(libraries::driver(), Ok(version) if *version >= (12, 4)) {
            let (mut offset, mut size) = (0, 0);
            cu!(cuFuncGetParamInfo(raw, 0, &mut offset, &mut size), "of {kernel}")?;
            args = Some(size);
        }
        let function = Function { raw: Handle(raw), shared: SHARED, args };
        self.functions.insert(kernel.into(), function);
        Ok(function)
    }
}

impl Driver for Cuda {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.stream.bind()?;
        let (mut capture, mut address) = (self.capture(), 0);
        let mut ask = || match capture.on {
            true => cu!(cuMemAlloc_v2(&mut address, bytes), "of {bytes} bytes"),
            false => cu!(cuMemAllocAsync(&mut address, bytes, self.stream.raw), "of {bytes} bytes"),
        };
        // What the pool keeps for later it gives up only when asked, and what is freed only when the stream is there.
        let wait = || if capture.on { Ok(()) } else { self.stream.synchronize("before memory is given up") };
        let trim = || wait().and_then(|()| cu!(cuMemPoolTrimTo(self.pool.0, 0), "to 0"));
        ask().or_else(|_| trim().and_then(|()| ask())).map_err(|error| {
            let (mut free, mut total) = (0, 0);
            match cu!(cuMemGetInfo_v2(&mut free, &mut total), "after it") {
                Ok(()) => Error::device(error, format_args!("{free} of {total} bytes are free")),
                Err(_) => error,
            }
        })?;
        if capture.on {
            capture.plain.insert(address);
        }
        Ok(address)
    }

    fn free(&self, address: u64, _bytes: usize) {
        let mut capture = self.capture();
        if capture.on { capture.later.push(address) } else { self.give_back(&mut capture, address) }
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        self.ensure_running("upload")?;
        self.stream.bind()?;
        cu!(cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), self.stream.raw), "of {} bytes", from.len())?;
        // `from` may be reused at once. Nothing is lost inside a training step: it uploads before it launches.
        self.stream.synchronize("after an upload")
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.ensure_running("download")?;
        self.stream.bind()?;
        let bytes = to.len();
        cu!(cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, bytes, self.stream.raw), "of {bytes} bytes")?;
        self.stream.synchronize("after a download")
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.stream.bind()?;
        cu!(cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream.raw), "of {bytes} bytes")
    }

    fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        self.stream.bind()?;
        cu!(cuMemsetD8Async(to, 0, bytes, self.stream.raw), "of {bytes} bytes")
    }

    fn zero_columns(&self, to: u64, pitch: usize, width: usize, height: usize) -> Result<()> {
        self.stream.bind()?;
        let stream = self.stream.raw;
        cu!(cuMemsetD2D8Async(to, pitch, 0, width, height, stream), "of {height} times {width} in {pitch} bytes")
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.stream.bind()?;
        let function = self.function(launch)?;
        let ([gx, gy, gz], [bx, by, bz], shared) = (launch.grid, launch.block, launch.shared);
        let (mut args, none) = ([launch.args.as_ptr().cast_mut().cast::<c_void>()], ptr::null_mut());
        cu!(
            cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared as u32, self.stream.raw, args.as_mut_ptr(), none),
            "of {} with grid {gx} x {gy} x {gz}, block {bx} x {by} x {bz}, {shared} bytes of shared memory",
            launch.kernel
        )
    }

    fn synchronize(&self) -> Result<()> {
        self.ensure_running("synchronize")?;
        self.stream.synchronize("at the end")
    }

    fn begin_capture(&self) -> Result<()> {
        self.ensure_running("begin_capture")?;
        self.stream.bind()?;
        // The only mode in which cuMemAlloc is legal.
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
        cu!(cuStreamBeginCapture_v2(self.stream.raw, mode), "relaxed")?;
        self.capture().on = true;
        Ok(())
    }

    fn end_capture(&self) -> Result<Box<dyn Replay>> {
        self.stream.bind()?;
        let (mut graph, mut exec) = (ptr::null_mut(), ptr::null_mut());
        let ended = cu!(cuStreamEndCapture(self.stream.raw, &mut graph), "of the recorded work");
        let mut capture = self.capture();
        capture.on = false;
        for address in std::mem::take(&mut capture.later) {
            self.give_back(&mut capture, address);
        }
        ended?;
        let made = cu!(cuGraphInstantiateWithFlags(&mut exec, graph, 0), "of the recorded work");
        cu!(cuGraphDestroy(graph), "after its instantiation")?;
        made?;
        Ok(Box::new(Graph { exec: Handle(exec), stream: Arc::clone(&self.stream) }))
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        self.ensure_running("time")?;
        self.stream.bind()?;
        let (start, end) = (Event::new()?, Event::new()?);
        start.record(&self.stream)?;
        work()?;
        end.record(&self.stream)?;
        self.stream.synchronize("what is timed")?;
        end.milliseconds_since(&start)
    }

    fn lt(&self) -> &dyn Lt {
        &self.lt
    }
}

/// A recorded piece of the stream.
struct Graph {
    exec: Handle<sys::CUgraphExec>,
    stream: Arc<Stream>,
}

impl Replay for Graph {
    fn launch(&self) -> Result<()> {
        self.stream.bind()?;
        cu!(cuGraphLaunch(self.exec.0, self.stream.raw), "of recorded work")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // over a symbol that the library lacks: this might ask for another
        }
        // It may still run; only a stream that records cannot be waited for.
        let mut status = sys::CUstreamCaptureStatus_enum::CU_STREAM_CAPTURE_STATUS_NONE;
        let _ = self.stream.bind().and_then(|()| cu!(cuStreamIsCapturing(self.stream.raw, &mut status), "of ours"));
        if status == sys::CUstreamCaptureStatus_enum::CU_STREAM_CAPTURE_STATUS_NONE {
            let _ = self.stream.synchronize("before recorded work is destroyed");
        }
        let _ = cu!(cuGraphExecDestroy(self.exec.0), "of recorded work");
    }
}

/// A mark on the stream that has a time.
struct Event(sys::CUevent);

impl Event {
    fn new() -> Result<Self> {
        let mut event = ptr::null_mut();
        cu!(cuEventCreate(&mut event, 0), "for a time").map(|()| Self(event))
    }

    fn record(&self, stream: &Stream) -> Result<()> {
        cu!(cuEventRecord(self.0, stream.raw), "for a time")
    }

    fn milliseconds_since(&self, start: &Event) -> Result<f64> {
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
        let (what, mut milliseconds) = ("cuEventElapsedTime", 0f32);
        // SAFETY: the signature is the header's. Drivers before 12.8 have it only by this name, newer ones still do.
        let elapsed =
            unsafe { sys::culib().get::<Elapsed>(what.as_bytes()) }.map_err(|why| Error::device(what, why))?;
        // SAFETY: the pointer is to a local, the events are alive.
        code(unsafe { elapsed(&mut milliseconds, start.0, self.0) }).map_err(|why| Error::device(what, why))?;
        Ok(f64::from(milliseconds))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // over a symbol that the library lacks: this might ask for another
        }
        let _ = cu!(cuEventDestroy_v2(self.0), "of a time");
    }
}
