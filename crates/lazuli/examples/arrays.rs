//! Lazy arrays: operations build a graph, and only what is asked for is computed.
//!
//! `cargo run --release --example arrays`

use lazuli::backends::RuntimeOptions;
use lazuli::core::Array;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = RuntimeOptions::default().runtime()?;

    // Four points, and the matrix that turns them by a quarter.
    let points = Array::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 2.0, 2.0, -1.0, 3.0], [4, 2]);
    let turn = Array::from_slice(&[0.0f32, -1.0, 1.0, 0.0], [2, 2]);

    // Nothing has run yet: `turned` and `lengths` are descriptions, and views such as `t` never copy.
    let turned = points.matmul(&turn.t());
    let lengths = (&turned * &turned).sum(-1).sqrt();
    println!("before: {lengths:?}");

    // The plan says what would run: how many steps, which of them together, and in how much memory.
    println!("\n{}\n", runtime.plan(&[&lengths]));

    // Now it runs, on all cores. The result is borrowed where it lies.
    runtime.eval(&[&lengths])?;
    println!("lengths: {:?}", lengths.as_slice::<f32>()?);

    // `turned` was needed on the way but not asked for, so its memory was free to be used again.
    println!("turned is {}", if turned.is_evaluated() { "here" } else { "still a description" });

    // The same structure again is a cached plan: this is what makes one more token cheap.
    for scale in [2.0f32, 3.0] {
        let points = Array::from_slice(&[scale; 8], [4, 2]);
        let turned = points.matmul(&turn.t());
        let lengths = (&turned * &turned).sum(-1).sqrt();
        runtime.eval(&[&lengths])?;
    }
    let stats = runtime.stats();
    println!("plans made: {}, plans found in the cache: {}", stats.plan_misses, stats.plan_hits);
    Ok(())
}
