//! Reads golden cases, runs the function of their kind and compares every result.
//!
//! Only the kinds' functions call the library: reading and comparing share no code with what they test.

pub mod case;
pub mod compare;
pub mod compare_json;
pub mod glob;
pub mod kinds;
pub mod produced;
pub mod rules;
pub mod run;
pub mod safetensors;
