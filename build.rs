//! Builds what is not Rust: the kernels for GPUs, and with the feature `sim` for the processor.

#[path = "build/nvcc.rs"]
mod nvcc;
#[cfg(feature = "sim")]
#[path = "build/sim.rs"]
mod sim;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    nvcc::embed_kernels(&nvcc::folder("CARGO_MANIFEST_DIR").join("cuda"), &nvcc::folder("OUT_DIR"));
    #[cfg(feature = "sim")]
    sim::build();
}
