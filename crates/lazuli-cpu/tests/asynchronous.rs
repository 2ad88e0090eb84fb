//! Programs that run behind the caller's back: results arrive, in order, and failures come with the borrow.

use std::sync::Arc;

use lazuli_core::{Array, Runtime};
use lazuli_cpu::simd::Level;
use lazuli_cpu::{Cpu, Precision};

fn runtime() -> Runtime {
    Runtime::new(Arc::new(Cpu::new(Level::detect(), Precision::Fast, 2).expect("threads start")))
}

#[test]
fn results_arrive_in_the_order_of_submission() {
    let rt = runtime();
    let w = Array::from_vec((0..64 * 64).map(|i| (i % 7) as f32 * 0.01).collect(), [64, 64]);
    let mut x = Array::from_vec(vec![1.0f32; 64], [1, 64]);
    let mut expected = x.clone();
    for _ in 0..50 {
        x = x.matmul(&w.t()).tanh();
        rt.async_eval(&[&x]).expect("starts");
        expected = expected.matmul(&w.t()).tanh();
    }
    runtime().eval(&[&expected]).expect("runs");
    let (found, expected) = (x.as_slice::<f32>().expect("waits"), expected.as_slice::<f32>().expect("ready"));
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {expected:?}");
}

#[test]
fn a_failure_comes_with_the_borrow_and_the_runtime_goes_on() {
    let rt = runtime();
    let table = Array::from_vec(vec![0.5f32; 6], [3, 2]);
    let bad = table.gather(&Array::from_slice(&[7], [1]));
    rt.async_eval(&[&bad]).expect("starts");
    let error = bad.as_slice::<f32>().expect_err("row 7 of 3");
    assert_eq!(error.to_string(), "gather: index 7 is outside 0..3");
    let good = table.gather(&Array::from_slice(&[2], [1]));
    let _ = rt.eval(&[&good]); // the failure of the run before may be told here once more
    rt.eval(&[&good]).expect("the runtime goes on");
    assert_eq!(good.as_slice::<f32>().expect("ready"), &[0.5, 0.5]);
}
