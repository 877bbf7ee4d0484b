//! The program that libFuzzer drives: the target named in `FUZZ_TARGET`.
//!
//! One program for all targets, so that one build serves them all. It must do nothing but call the target.
#![no_main]

use std::sync::OnceLock;

use counterpart_fuzz::targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1
}

fuzz_target!(|data: &[u8]| CHOSEN.get_or_init(chosen)(data));
