//! Fuzzing of everything that reads bytes from outside: the targets, and the program that libFuzzer drives.
//!
//! The seeds of each target are in `corpus/`, and run as ordinary tests of the binary as well.

#[path = "../../crates/counterpart/src/exit.rs"]
#[allow(dead_code, reason = "the binary uses all of it")]
mod exit;
pub mod targets;
