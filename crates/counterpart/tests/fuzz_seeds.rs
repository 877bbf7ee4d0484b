//! The kept inputs of the fuzz targets, run once each: whatever fuzzing ever found stays found.
//!
//! Fuzzing itself is `./test fuzz`; here nothing is invented.

#[path = "../src/exit.rs"]
#[allow(dead_code, reason = "the binary uses all of it")]
mod exit;
#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_kept_input_of_every_fuzz_target_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let inputs = std::fs::read_dir(corpus.join(name)).expect("each target has seeds");
        let mut count = 0;
        for input in inputs {
            let bytes = std::fs::read(input.expect("a directory can be listed").path());
            target(&bytes.expect("a seed can be read"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}
