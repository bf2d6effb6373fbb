//! Builds what is not Rust: the kernels for cards, and with the feature `sim` for the processor.

#[path = "build/kernels.rs"]
mod kernels;
#[cfg(feature = "sim")]
#[path = "build/sim.rs"]
mod sim;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=cuda");
    kernels::embed();
    #[cfg(feature = "sim")]
    sim::build();
}
