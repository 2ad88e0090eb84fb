//! Every operation case on every vector level of this processor, in both precisions, with one worker and with three.

use std::sync::Arc;

use lazuli_core::Runtime;
use lazuli_cpu::simd::Level;
use lazuli_cpu::{Cpu, Precision};

fn runtimes(precision: Precision) -> impl Iterator<Item = (String, Runtime)> {
    Level::supported().into_iter().flat_map(move |level| {
        // On Linux for Arm this runs under emulation, where each run is dear: one count has to do.
        let emulated = cfg!(all(target_arch = "aarch64", target_os = "linux"));
        let counts: &[usize] = if emulated { &[2] } else { &[1, 3] };
        counts.iter().map(move |&threads| {
            let cpu = Cpu::new(level, precision, threads).expect("threads start");
            (format!("{level:?} x{threads}"), Runtime::new(Arc::new(cpu)))
        })
    })
}

lazuli_testkit::conformance!(fast, runtimes(Precision::Fast), int8: 0.1);
lazuli_testkit::conformance!(exact, runtimes(Precision::Exact), int8: 0.0);
