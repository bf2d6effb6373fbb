//! The simulated device: it runs kernels as CUDA defines them, and finds what CUDA leaves undefined.
#![cfg(feature = "sim")]

use std::sync::Arc;

use bytemuck::{Pod, Zeroable, bytes_of};
use espalier::gpu::driver::{Driver, Launch};
use espalier::gpu::sim::{Card, Order, Sim};
use espalier::noise::{Philox, fnv1a64};
use support::{Buffer, ORDERS, Test, launch, refused, sim, values};

#[path = "common/sim.rs"]
mod support;

#[test]
fn a_missing_barrier_shows_in_one_order() {
    let sim = sim();
    let x: Vec<f32> = values(96).iter().map(|&v| v as f32).collect();
    let from = Buffer::of(&sim, &x);
    let wrong = |mode: i32, barrier: u64, order| {
        sim.set_order(order);
        let out = Buffer::of(&sim, &x);
        let args = Test { out: out.address, x: from.address, a: barrier, count: 96, mode, ..Test::default() };
        launch(&sim, "test_neighbour_f32", 1, 96, 0, &args).unwrap();
        let expected = |i: usize| x[usize::try_from(i as i32 + mode).ok().filter(|&j| j < 96).unwrap_or(i)];
        out.read::<f32>().iter().enumerate().filter(|&(i, &y)| y != expected(i)).count()
    };
    for distance in [1, 31, 32, 33] {
        for order in ORDERS {
            assert_eq!(wrong(distance, 1, order), 0);
            assert_eq!(wrong(-distance, 1, order), 0);
        }
        let missing = 96 - distance as usize;
        assert_eq!((wrong(distance, 0, Order::Forward), wrong(distance, 0, Order::Reverse)), (missing, 0));
        assert_eq!((wrong(-distance, 0, Order::Forward), wrong(-distance, 0, Order::Reverse)), (0, missing));
    }
}

#[test]
fn shared_memory_is_poisoned_before_each_block() {
    let sim = sim();
    let out = Buffer::of(&sim, &[0f64; 16 * 5]);
    launch(&sim, "test_poison_f64", 5, 1, 64, &Test { out: out.address, ..Test::default() }).unwrap();
    assert!(out.read::<u64>().iter().all(|&bits| bits == u64::MAX));
    let fresh = Buffer::new(&sim, 24);
    assert!(fresh.read::<f64>().iter().all(|v| v.is_nan()));
}

#[test]
fn waits_that_do_not_fit_together_are_named() {
    let sim = sim();
    let text = |mode, count, block| {
        refused(&sim, "test_divergent_f32", block, 0, &Test { mode, count, ..Test::default() })
            .replace("launch of test_divergent_f32: test_divergent_f32, block (0, 0, 0): ", "")
    };
    for order in ORDERS {
        sim.set_order(order);
        let deadlock = text(0, 40, 48);
        assert!(deadlock.starts_with("deadlock: 40 of 48 threads at __syncthreads (test_kernels.cu:"), "{deadlock}");
        assert!(deadlock.contains(", 8 at __syncwarp with mask 0xffffffff (test_kernels.cu:"), "{deadlock}");
        assert!(deadlock.ends_with("), 0 done"), "{deadlock}");
        let barriers = text(1, 8, 40);
        assert!(
            barriers.starts_with("threads at different barriers: 8 of 40 threads at __syncthreads ("),
            "{barriers}"
        );
        let masks = text(2, 8, 32);
        assert!(masks.starts_with("deadlock: 8 of 32 threads at __shfl_sync with mask 0x0000ffff"), "{masks}");
        assert!(masks.contains(", 24 at __shfl_sync with mask 0xffffffff"), "{masks}");
        let missing = text(3, 0, 32);
        assert!(missing.contains("with mask 0x0000ffff, in which the calling lane"), "{missing}");
        let functions = text(4, 5, 32);
        assert!(
            functions.contains("lanes of one warp at different functions: 5 of 32 threads at __ballot"),
            "{functions}"
        );
    }
    // Lanes that have left are not waited for; a shuffle from one is an error.
    let out = Buffer::new(&sim, 4 * 48);
    let args = |mode| Test { out: out.address, mode, ..Test::default() };
    let absent = refused(&sim, "test_absent_f32", 48, 0, &args(16));
    assert!(absent.contains("shuffles from lane 16, which is not there"), "{absent}");
    launch(&sim, "test_absent_f32", 1, 48, 0, &args(15)).unwrap();
    assert_eq!(out.read::<i32>(), [[15; 32].as_slice(), &[47; 16]].concat());
}

#[test]
fn writes_outside_an_allocation_are_found() {
    for (mode, side) in [(-1, "4 bytes before"), (25, "0 bytes behind"), (88, "252 bytes behind")] {
        let sim = sim();
        let address = sim.alloc(100).unwrap();
        launch(&sim, "test_write_f32", 1, 1, 0, &Test { out: address, mode: 24, ..Test::default() }).unwrap();
        sim.check_guards().unwrap();
        launch(&sim, "test_write_f32", 1, 1, 0, &Test { out: address, mode, ..Test::default() }).unwrap();
        let text = format!("an allocation of 100 bytes was written to {side} it");
        assert!(sim.check_guards().unwrap_err().to_string().contains(&text), "{}", sim.check_guards().unwrap_err());
        sim.synchronize().unwrap();
        sim.free(address, 100);
        assert!(sim.synchronize().unwrap_err().to_string().contains(&text));
    }
}

#[test]
fn writes_to_freed_memory_are_found() {
    let sim = sim();
    let address = sim.alloc(100).unwrap();
    sim.free(address, 100);
    sim.check_guards().unwrap();
    // AddressSanitizer ends the process at the write itself.
    if std::env::var_os("ESPALIER_SIM_SANITIZE").is_none() {
        launch(&sim, "test_write_f32", 1, 1, 0, &Test { out: address, mode: 24, ..Test::default() }).unwrap();
        let error = sim.check_guards().unwrap_err().to_string();
        assert!(error.contains("freed memory of 100 bytes was written to"), "{error}");
    }
}

#[test]
fn memory_calls_stay_inside_one_allocation() {
    let sim = sim();
    let (a, b) = (Buffer::of(&sim, &[1u8; 100]), Buffer::of(&sim, &[2u8; 300]));
    assert_eq!((a.address % 256, b.address % 256), (0, 0));
    sim.copy(b.address + 250, a.address + 50, 50).unwrap();
    sim.zero(b.address, 10).unwrap();
    assert_eq!(b.read::<u8>(), [[0; 10].as_slice(), &[2; 240], &[1; 50]].concat());
    sim.zero_columns(b.address + 297, 1, 1, 3).unwrap();
    sim.zero_columns(a.address + 8, 45, 2, 3).unwrap();
    let zeros: Vec<usize> = a.read::<u8>().iter().enumerate().filter(|(_, v)| **v == 0).map(|(i, _)| i).collect();
    assert_eq!((zeros, &b.read::<u8>()[296..]), (vec![8, 9, 53, 54, 98, 99], [1, 0, 0, 0].as_slice()));
    for [pitch, width, height] in [[1, 2, 1], [8, 8, 0], [usize::MAX, 1, 3]] {
        assert!(
            sim.zero_columns(a.address, pitch, width, height).unwrap_err().to_string().contains("zero fill of columns")
        );
    }
    for bad in [
        sim.copy(b.address + 251, a.address + 50, 50),
        sim.copy(b.address, a.address + 51, 50),
        sim.zero(a.address, 101),
        sim.zero(a.address - 1, 1),
        sim.zero_columns(a.address + 9, 45, 2, 3),
        sim.upload(a.address + 100, &[0]),
        sim.download(a.address + 1, &mut [0; 100]),
    ] {
        let text = bad.unwrap_err().to_string();
        assert!(text.contains("expected a range inside one living allocation, found "), "{text}");
    }
    for bytes in [0, (4 << 30) - 399, usize::MAX] {
        assert!(sim.alloc(bytes).unwrap_err().to_string().contains("expected 1 to 4294966896 bytes"));
    }
    sim.free(a.address, 99);
    assert!(sim.zero(b.address, 1).is_ok() && sim.synchronize().unwrap_err().to_string().contains("99 bytes at "));
}

#[test]
fn each_card_has_its_limits() {
    for (card, shared) in [(Card::Sm80, 163 << 10), (Card::Sm86, 99 << 10), (Card::Sm90, 227 << 10)] {
        let sim = Arc::new(Sim::new(card));
        assert_eq!(sim.limits().shared, shared);
        let args = |mode, a: usize| Test { mode, a: a as u64, ..Test::default() };
        let fits = shared - (24 << 10);
        launch(&sim, "test_shared_f32", 1, 32, fits, &args(1, 0)).unwrap();
        let text = refused(&sim, "test_shared_f32", 1, fits + 16, &args(1, 0));
        assert!(text.contains(&format!("{} bytes of shared memory, SHARED arrays among", shared + 16)), "{text}");
        let text = refused(&sim, "test_shared_f32", 1, shared + 1, &args(1, 0));
        assert!(text.contains(&format!("expected at most {shared} bytes, found {}", shared + 1)), "{text}");
        let text = refused(&sim, "test_shared_f32", 1, 0, &args(0, 0));
        assert!(text.contains("49168 bytes of SHARED arrays, the limit is 49152"), "{text}");
        let text = refused(&sim, "test_shared_f32", 1, 16, &args(2, 6144));
        assert!(text.contains("byte 24576 of a SHARED array of 24576 bytes was written"), "{text}");
        let text = refused(&sim, "test_shared_f32", 1, 20, &args(3, 5));
        assert!(text.contains("byte 20 of dynamic shared memory of 20 bytes was written"), "{text}");
    }
}

#[test]
fn launches_that_a_card_refuses() {
    let sim = sim();
    let try_it = |kernel: &str, grid, block, args: &[u8]| {
        sim.launch(&Launch { kernel, grid, block, shared: 0, args }).map_err(|error| error.to_string())
    };
    let out = Buffer::new(&sim, 8);
    let good = Test { out: out.address, ..Test::default() };
    let args = bytes_of(&good);
    try_it("test_write_f64", [1, 1, 1], [16, 8, 8], args).unwrap();
    for grid in [[0, 1, 1], [1, 65_536, 1], [1, 1, 65_536], [1 << 31, 1, 1], [1, 0, 1]] {
        let text = try_it("test_write_f64", grid, [1; 3], args).unwrap_err();
        assert_eq!(
            text,
            format!("test_write_f64: grid: expected 1 to [2147483647, 65535, 65535] blocks, found {grid:?}")
        );
    }
    for block in [[1025, 1, 1], [1, 0, 1], [1 << 16, 1 << 16, 1], [33, 32, 1], [1, 1, 65]] {
        assert!(
            try_it("test_write_f64", [1; 3], block, args).unwrap_err().contains("block: expected 1 to 1024 threads")
        );
    }
    let text = try_it("softmax_fwd_f32", [1; 3], [257, 1, 1], &[0; 40]).unwrap_err();
    assert!(text.contains("block: expected 1 to 256 threads, at most 64 in z, found [257, 1, 1]"), "{text}");
    let text = try_it("test_write_f64", [1; 3], [1; 3], &args[1..]).unwrap_err();
    assert_eq!(text, "test_write_f64: arguments: expected 48 bytes, found 47");
    let text = try_it("test_write_i32", [1; 3], [1; 3], args).unwrap_err();
    assert_eq!(text, "kernel test_write_i32: expected one of this name, found none");
}

#[test]
fn threads_that_left_take_no_part() {
    let sim = sim();
    for order in ORDERS {
        sim.set_order(order);
        for count in [1, 2, 31, 32, 33, 64, 95, 96] {
            let out = Buffer::of(&sim, &[0f32; 96]);
            let args = Test { out: out.address, count, ..Test::default() };
            launch(&sim, "test_early_exit_f32", 1, 96, 0, &args).unwrap();
            let expected = (count * 1000 + count / 2) as f32;
            assert!(
                out.read::<f32>()
                    .iter()
                    .enumerate()
                    .all(|(i, &v)| v == if i < count as usize { expected } else { 0.0 })
            );
        }
    }
}

#[test]
fn warp_functions_give_what_cuda_defines() {
    let sim = sim();
    for (n, by, width) in (1..=256).map(|n| (n, [1, 2, 5, 16, 31][n % 5], [32, 16, 8, 32, 4, 2][n % 6])) {
        sim.set_order(ORDERS[n % 2]);
        let (v, at) = (values(n), by as i32);
        let (x, out) = (Buffer::of(&sim, &v), Buffer::new(&sim, n * 7 * 8));
        let args = Test { out: out.address, x: x.address, a: by, b: width as u64, count: n as i32, ..Test::default() };
        launch(&sim, "test_warp_f64", 1, n as u32, 0, &args).unwrap();
        let found = out.read::<f64>();
        for i in 0..n {
            let (lane, first) = (i as i32 % 32, i / 32 * 32);
            let here = (n - first).min(32) as i32;
            let (group, last) = (lane / width * width, lane / width * width + width - 1);
            let is = |k: usize, lane: i32| assert_eq!(found[i * 7 + k], v[first + lane as usize], "{n} {i} {k}");
            is(0, at.min(here - 1));
            if here == 32 {
                is(1, if (lane ^ at) > last { lane } else { lane ^ at });
                is(2, if lane - at < group { lane } else { lane - at });
                is(3, if lane + at > last { lane } else { lane + at });
            }
            let ballot = (0..here).filter(|&l| v[first + l as usize] > 0.5).map(|l| 1u32 << l).sum::<u32>();
            let votes = [f64::from(ballot), f64::from(u8::from(at < here)), f64::from(u8::from(here <= at))];
            assert_eq!(found[i * 7 + 4..][..3], votes, "{n} {i}");
        }
    }
}

#[test]
fn reductions_are_sums_and_maxima() {
    let sim = sim();
    for n in 1..=256usize {
        sim.set_order(ORDERS[n % 2]);
        let mut v = values(n);
        let threads = n.next_multiple_of(32);
        if n % 7 == 0 {
            v[n / 2] = f64::NAN;
        }
        let (x, out) = (Buffer::of(&sim, &v), Buffer::new(&sim, threads * 32));
        let args = Test { out: out.address, x: x.address, count: n as i32, ..Test::default() };
        launch(&sim, "test_reduce_f64", 1, threads as u32, 0, &args).unwrap();
        let top = if n % 7 == 0 { f64::NAN } else { v.iter().copied().fold(f64::MIN, f64::max) };
        for (i, found) in out.read::<f64>().chunks(4).enumerate() {
            let warp = v.iter().skip(i / 32 * 32).take(32).sum::<f64>();
            let squares = v.iter().map(|v| v * v).sum();
            for (found, expected) in found.iter().zip([warp, v.iter().sum(), squares, top]) {
                assert_eq!(found.is_nan(), expected.is_nan());
                assert!(
                    expected.is_nan() || (found - expected).abs() <= 1e-13 * expected.abs(),
                    "{n} {i} {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn philox_gives_the_bits_of_the_host() {
    let sim = sim();
    let (seed, step) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
    let out = Buffer::new(&sim, 3 * 50 * 32);
    let args = Test { out: out.address, a: seed, b: step, c: fnv1a64("drop_path"), ..Test::default() };
    launch(&sim, "test_philox_f32", 3, 50, 0, &args).unwrap();
    for (sample, found) in out.read::<u32>().chunks(50 * 8).enumerate() {
        let philox = Philox { seed, step };
        let mut words = philox.stream("drop_path", sample as u64 * 0x1_0000_0001);
        let mut uniforms = words.clone();
        for found in found.chunks(8) {
            assert_eq!(found[..4], [(); 4].map(|()| words.next_u32()));
            assert_eq!(found[4..], [(); 4].map(|()| uniforms.next_f32().to_bits()));
        }
    }
}

#[test]
fn atomics_count_all_threads_of_all_blocks() {
    let sim = sim();
    let n = 3 * 2 * 5 * 7 * 3 * 2;
    let out = Buffer::of(&sim, &vec![0f32; n + 2]);
    let args = Test { out: out.address, ..Test::default() };
    let shape =
        Launch { kernel: "test_atomics_f32", grid: [3, 2, 5], block: [7, 3, 2], shared: 0, args: bytes_of(&args) };
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(|| sim.launch(&shape)).unwrap();
    let found = out.read::<f32>();
    assert_eq!(found[..2], [(0..n).map(|i| (i % 8) as f32).sum::<f32>(), n as f32]);
    assert!(found[2..].iter().enumerate().all(|(i, &v)| v == i as f32));
}

#[test]
fn vectors_have_to_be_aligned() {
    let sim = sim();
    let x: Vec<f32> = (0..36).map(|i| i as f32).collect();
    let (from, out) = (Buffer::of(&sim, &x), Buffer::new(&sim, 128));
    let args = |mode| Test { out: out.address, x: from.address, mode, ..Test::default() };
    launch(&sim, "test_vec_f32", 1, 8, 0, &args(4)).unwrap();
    assert_eq!(out.read::<f32>(), x[4..].iter().map(|v| v + 1.0).collect::<Vec<_>>());
    let text = refused(&sim, "test_vec_f32", 8, 0, &args(3));
    assert!(text.contains("vec.cuh:") && text.ends_with("is not aligned to 16 bytes"), "{text}");
}

#[test]
fn mathematics_is_accurate() {
    let sim = sim();
    let x: Vec<f64> = (-3000..=3000).map(|i| f64::from(i) / 200.0).chain(values(1000)).collect();
    let cdf = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let exact = |x: f64| {
        let pdf = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        [cdf(x), pdf, x.exp(), x.abs().ln_1p(), x.abs().sqrt(), x.floor().max(-2.0)]
    };
    let run = |kernel: &str, from: &Buffer, out: &Buffer| {
        let args = Test { out: out.address, x: from.address, count: x.len() as i32, ..Test::default() };
        launch(&sim, kernel, x.len().div_ceil(128) as u32, 128, 0, &args).unwrap();
    };
    let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    let (from, out) = (Buffer::of(&sim, &single), Buffer::new(&sim, x.len() * 24));
    run("test_math_f32", &from, &out);
    for (found, x) in out.read::<f32>().chunks(6).zip(&single) {
        for (k, (found, exact)) in found.iter().zip(exact(f64::from(*x))).enumerate() {
            let bound = if k < 2 { 1.2e-7 } else { 2.4e-7 * exact.abs() };
            assert!((f64::from(*found) - exact).abs() <= bound, "function {k} of {x}: {found} and {exact}");
        }
    }
    let (from, out) = (Buffer::of(&sim, &x), Buffer::new(&sim, x.len() * 48));
    run("test_math_f64", &from, &out);
    for (found, x) in out.read::<f64>().chunks(6).zip(&x) {
        for (k, (found, exact)) in found.iter().zip(exact(*x)).enumerate() {
            assert!((found - exact).abs() <= 5e-16 * exact.abs().max(1.0), "function {k} of {x}: {found} and {exact}");
        }
    }
}

#[test]
fn a_capture_records_and_replays() {
    let sim = sim();
    let (x, out) = (Buffer::of(&sim, &[1f32; 32]), Buffer::of(&sim, &[0f32; 32]));
    sim.begin_capture().unwrap();
    {
        let args = Test { out: out.address, x: x.address, ..Test::default() }; // its bytes are recorded
        launch(&sim, "test_vec_f32", 1, 8, 0, &args).unwrap();
    }
    sim.copy(x.address, out.address, 64).unwrap();
    sim.zero(x.address + 124, 4).unwrap();
    sim.zero_columns(x.address + 112, 8, 4, 2).unwrap(); // the elements 28 and 30
    let replay = sim.end_capture().unwrap();
    assert_eq!((x.read::<f32>(), out.read::<f32>()), (vec![1.0; 32], vec![0.0; 32]));
    for round in 0..3 {
        replay.launch().unwrap();
        let base = round as f32;
        let expected = [[base + 2.0; 16].as_slice(), &[1.0; 12], &[0.0, 1.0, 0.0, 0.0]].concat();
        assert_eq!(x.read::<f32>(), expected);
        assert_eq!(out.read::<f32>()[..17], [[base + 2.0; 16].as_slice(), &[2.0]].concat());
    }
    sim.begin_capture().unwrap();
    replay.launch().unwrap();
    let twice = sim.end_capture().unwrap();
    assert_eq!(x.read::<f32>()[0], 4.0);
    twice.launch().unwrap();
    assert_eq!(x.read::<f32>()[0], 5.0);
    assert!(sim.end_capture().err().unwrap().to_string().contains("the stream is not capturing"));
    let forbidden: [fn(&Sim, u64) -> espalier::Result<()>; 4] = [
        |sim, at| sim.upload(at, &[0]),
        |sim, at| sim.download(at, &mut [0]),
        |sim, _| sim.synchronize(),
        |sim, _| sim.begin_capture(),
    ];
    for call in forbidden {
        sim.begin_capture().unwrap();
        let text = call(&sim, x.address).unwrap_err().to_string();
        assert!(text.ends_with("operation not permitted when stream is capturing"), "{text}");
        assert!(sim.zero(x.address, 4).unwrap_err().to_string().contains("previous error during capture"));
        assert!(sim.end_capture().is_err());
    }
    assert!(sim.time(&mut || replay.launch()).unwrap() > 0.0);
    assert_eq!(x.read::<f32>()[0], 6.0);
}

/// `SoftmaxFwd` of `cuda/params.h`.
#[repr(C)]
#[derive(Clone, Copy, Zeroable, Pod)]
struct SoftmaxFwd {
    y: u64,
    x: u64,
    mask: u64,
    rows: i32,
    cols: i32,
    stride: i32,
    mask_stride: i32,
}

/// Softmax over the columns whose mask is not 0, in f64; 0 in a row without any.
fn softmax(x: &[f64], mask: &[f64]) -> Vec<f64> {
    let kept = || x.iter().zip(mask).filter(|(_, mask)| **mask != 0.0).map(|(x, _)| *x);
    let top = kept().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = kept().map(|x| (x - top).exp()).sum();
    x.iter().zip(mask).map(|(x, mask)| if *mask == 0.0 { 0.0 } else { (x - top).exp() / sum }).collect()
}

/// The kernel against [`softmax`], for one shape, with one mask a row (1), one for all (2) or none (0).
fn check_softmax<T: Pod + num_traits::Float>(
    name: &str, [rows, cols, stride]: [usize; 3], masks: usize, tolerance: f64,
) {
    let sim = sim();
    let cast = |values: &[f64]| values.iter().map(|&v| T::from(v).unwrap()).collect::<Vec<T>>();
    let x: Vec<f64> = values(rows * stride).iter().map(|v| f64::from((v * 20.0 - 10.0) as f32)).collect();
    let mask_width = cols.next_multiple_of(8); // masks are stored so whatever x is
    let mask_stride = if masks == 1 { mask_width } else { 0 };
    let mask: Vec<f64> =
        values(rows * mask_width).iter().map(|v| f64::from(u8::from(masks == 0 || *v > 0.6))).collect();
    let (x_buffer, mask_buffer) = (Buffer::of(&sim, &cast(&x)), Buffer::of(&sim, &cast(&mask)));
    let y = Buffer::of(&sim, &vec![T::from(7).unwrap(); rows * stride]);
    let args = SoftmaxFwd {
        y: y.address,
        x: x_buffer.address,
        mask: if masks == 0 { 0 } else { mask_buffer.address },
        rows: rows as i32,
        cols: cols as i32,
        stride: stride as i32,
        mask_stride: mask_stride as i32,
    };
    for order in ORDERS {
        sim.set_order(order);
        launch(&sim, name, rows.div_ceil(4) as u32, 128, 0, &args).unwrap();
        let found = y.read::<T>();
        for row in 0..rows {
            let expected = softmax(&x[row * stride..][..cols], &mask[row * mask_stride..][..cols]);
            for (c, &found) in found[row * stride..][..stride].iter().enumerate() {
                let found = found.to_f64().unwrap();
                let expected = expected.get(c).copied().unwrap_or(0.0); // zeros behind the row
                assert!((found - expected).abs() <= tolerance, "{name} {rows}x{cols} {row} {c}: {found}, {expected}");
            }
        }
        sim.check_guards().unwrap();
    }
}

#[test]
fn softmax_kernels_agree_with_the_equation() {
    for shape in [[1, 1, 1], [3, 5, 8], [9, 31, 32], [8, 32, 32], [5, 33, 40], [13, 197, 200], [2, 577, 577]] {
        for masks in 0..3 {
            check_softmax::<f32>("softmax_fwd_f32", shape, masks, 3e-7);
            check_softmax::<f64>("softmax_fwd_f64", shape, masks, 1e-15);
        }
    }
}
