//! Builds what is not Rust: with the feature `sim` the simulated kernels.

#[cfg(feature = "sim")]
#[path = "build/sim.rs"]
mod sim;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=cuda");
    #[cfg(feature = "sim")]
    sim::build();
}
