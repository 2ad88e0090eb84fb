//! Every operation case on every vector level of this processor, in both precisions, with one worker and with three.

use std::sync::Arc;

use lazuli_core::Runtime;
use lazuli_cpu::simd::Level;
use lazuli_cpu::{Cpu, Precision};

fn runtimes(precision: Precision) -> impl Iterator<Item = (String, Runtime)> {
    Level::supported().into_iter().flat_map(move |level| {
        [1, 3].into_iter().map(move |threads| {
            let cpu = Cpu::new(level, precision, threads).expect("threads start");
            (format!("{level:?} x{threads}"), Runtime::new(Arc::new(cpu)))
        })
    })
}

lazuli_testkit::conformance!(fast, runtimes(Precision::Fast), int8: 0.1);
lazuli_testkit::conformance!(exact, runtimes(Precision::Exact), int8: 0.0);
