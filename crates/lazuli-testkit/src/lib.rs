//! What the other crates test with: random inputs, a table of operation cases, tolerances, the fixtures.
//!
//! [`conformance!`] runs every case on a backend and compares it with the reference interpreter. A dev-dependency
//! only; nothing here ships.
#![forbid(unsafe_code)]

mod cases;
mod compare;
pub mod fixtures;
mod random;

pub use cases::{Case, cases};
pub use compare::{Mismatch, check_case, difference};
pub use lazuli_core::Runtime;
pub use random::Random;

/// Makes a test that runs all cases on each of the named runtimes:
/// `conformance!(name, runtimes, int8: error)`, where `runtimes` yields `(String, Runtime)` and `error` is what packed
/// products may lose to int8 activations (0 for exact backends).
#[macro_export]
macro_rules! conformance {
    ($name:ident, $runtimes:expr, int8: $int8:expr) => {
        #[test]
        fn $name() {
            let runtimes: Vec<(String, $crate::Runtime)> = $runtimes.collect();
            let (mut failures, mut checked) = (Vec::new(), 0);
            for case in $crate::cases() {
                checked += runtimes.len();
                failures.extend($crate::check_case(&case, &runtimes, $int8));
            }
            assert!(checked > 0, "no runtime was checked");
            assert!(failures.is_empty(), "{} of {checked} cases:\n{}", failures.len(), failures.join("\n"));
        }
    };
}
