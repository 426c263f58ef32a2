//! One program for each parser of the gateway; what must hold is in `gateway::fuzzing`.

pub use libfuzzer_sys;

use gateway::fuzzing::{TARGETS, Target};
use std::fs;
use std::path::PathBuf;

/// Names the directory into which a program writes the inputs it begins with.
const SEEDS: &str = "JUCHU_FUZZ_SEEDS";

#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::write_seeds($name),
            |bytes: &[u8]| ($crate::target($name).check)(bytes)
        );
    };
}

pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("there is one for each program")
}

pub fn write_seeds(name: &str) {
    let Some(directory) = std::env::var_os(SEEDS).map(PathBuf::from) else { return };
    for (number, seed) in target(name).seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number}")), seed).expect("the directory takes files");
    }
}
