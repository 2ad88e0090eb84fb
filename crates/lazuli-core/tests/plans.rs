//! What plans promise: pruning, sharing memory by lifetime, in-place writes, caching by structure.

use lazuli_core::plan::{Place, StepKind};
use lazuli_core::{Array, Buffer, DType, Op, Runtime};
use proptest::prelude::*;

fn vector(values: &[f32]) -> Array {
    Array::from_slice(values, [values.len()])
}

#[test]
fn only_what_was_asked_for_runs() {
    let rt = Runtime::reference();
    let x = vector(&[1.0, 2.0]);
    let wanted = x.exp();
    let unwanted = wanted.log().sin();
    let plan = rt.plan(&[&wanted]);
    assert_eq!(plan.steps.len(), 1, "{plan}");
    rt.eval(&[&wanted]).expect("runs");
    assert!(wanted.is_evaluated() && !unwanted.is_evaluated());
}

#[test]
fn views_are_free_even_of_things_to_come() {
    let rt = Runtime::reference();
    let x = Array::iota(24).reshape([2, 3, 4]).transpose(&[1, 0, 2]).slice(2, 1..3).slice(0, 1..3);
    let plan = rt.plan(&[&x]);
    assert_eq!(plan.steps.len(), 1, "{plan}");
    let y = x.contiguous();
    rt.eval(&[&x, &y]).expect("runs");
    assert_eq!(y.as_slice::<i32>().expect("contiguous"), &[5, 6, 17, 18, 9, 10, 21, 22]);
}

#[test]
fn a_view_of_an_operation_whose_meaning_ends_in_a_view() {
    let rt = Runtime::reference();
    let ones = Array::from_vec(vec![1.0f32; 4], [2, 2]);
    let zeros = Array::from_vec(vec![0.0f32; 4], [2, 2]);
    let x = Array::from_vec((0..8).map(|i| i as f32).collect(), [2, 1, 4]);
    // A rotation by nothing: interleaved pairs are put together again by a reshape.
    let turned = x.rope(&ones, &zeros, lazuli_core::fused::RopeStyle::Interleaved);
    let y = turned.reshape([4, 2]).t().contiguous();
    rt.eval(&[&y]).expect("plans and runs");
    assert_eq!(y.as_slice::<f32>().expect("contiguous"), &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
}

#[test]
fn a_pool_that_nobody_else_holds_is_written_in_place() {
    let rt = Runtime::reference();
    let pool = Array::from_vec(vec![0.0f32; 2 * 3 * 4 * 5], [2, 3, 4, 5]);
    let rows = Array::from_vec((0..30).map(|i| i as f32).collect(), [2, 3, 5]);
    let slots = Array::from_slice(&[6, -1], [2]);
    let address = pool.view().expect("ready").planes[0].buffer.as_ptr();
    let written = pool.kv_write(&rows, &slots);
    rt.eval(&[&written]).expect("runs");
    assert_eq!(written.view().expect("ready").planes[0].buffer.as_ptr(), address);
    let page = written.as_slice::<f32>().expect("contiguous")[60..].to_vec(); // page 1: [heads, rows, dim]
    assert_eq!(page[2 * 5..3 * 5], [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(page[20 + 2 * 5..20 + 3 * 5], [5.0, 6.0, 7.0, 8.0, 9.0]);
    assert_eq!(page.iter().filter(|&&v| v != 0.0).count(), 14);
}

#[test]
fn pools_in_each_others_gaps_are_written_in_place() {
    let rt = Runtime::reference();
    let home = Buffer::zeroed(3 * (4 + 6) * 4).expect("small");
    let start = home.as_ptr();
    let shapes = [[1, 2, 2].into(), [1, 2, 3].into()];
    let mut pools = Array::interleaved(home, 3, &shapes, DType::F32).expect("enough room");
    for step in 0..3 {
        let slots = Array::from_slice(&[2 * step + 1], [1]);
        let written: Vec<Array> = pools
            .drain(..)
            .map(|pool| {
                let rows = Array::full([1, 1, pool.shape()[3]], 1.0 + step as f32, DType::F32);
                pool.kv_write(&rows, &slots)
            })
            .collect();
        rt.eval(&written.iter().collect::<Vec<_>>()).expect("runs");
        pools = written;
    }
    let at = |pool: &Array| pool.view().expect("ready").planes[0].buffer.as_ptr();
    assert_eq!([at(&pools[0]), at(&pools[1])], [start, start.wrapping_add(4 * 4)]);
    assert!(pools[0].as_slice::<f32>().is_err(), "it has gaps");
    let part = pools[0].view().expect("ready").planes[0].buffer.clone();
    assert!(Array::from_buffer(part, 0, [2], DType::F32).is_err(), "some bytes are the other's");
    // A view of a write that is still to be done knows of the gaps too.
    let slots = Array::from_slice(&[-1], [1]);
    let second = pools.pop().expect("two").kv_write(&Array::full([1, 1, 3], 9.0, DType::F32), &slots);
    let last = second.slice(3, 2..3).reshape([6]);
    let first = pools.pop().expect("one left").contiguous();
    rt.eval(&[&first, &last, &second]).expect("runs");
    let wanted = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 3.0, 3.0];
    assert_eq!(first.as_slice::<f32>().expect("contiguous"), wanted);
    assert_eq!(last.as_slice::<f32>().expect("contiguous"), [0.0, 1.0, 0.0, 2.0, 0.0, 3.0]);
}

#[test]
fn arrays_that_take_turns_need_room_for_all() {
    let two = [[2].into(), [3].into()];
    let make =
        |bytes, count, dtype| Array::interleaved(Buffer::zeroed(bytes).expect("small"), count, &two, dtype);
    assert!(make(40, 2, DType::F32).is_ok());
    assert!(make(39, 2, DType::F32).is_err());
    assert!(make(40, usize::MAX / 4, DType::F32).is_err());
    assert!(make(40, 1, DType::Quant("q8_0".parse().expect("a format"))).is_err());
}

#[test]
fn a_pool_that_is_held_elsewhere_keeps_its_contents() {
    let rt = Runtime::reference();
    let pool = Array::from_vec(vec![0.0f32; 8], [1, 1, 4, 2]);
    let rows = Array::from_vec(vec![1.0f32, 2.0], [1, 1, 2]);
    let written = pool.clone().kv_write(&rows, &Array::from_slice(&[3], [1]));
    rt.eval(&[&written]).expect("runs");
    assert_eq!(pool.as_slice::<f32>().expect("contiguous"), &[0.0; 8]);
    assert_eq!(written.as_slice::<f32>().expect("contiguous")[6..], [1.0, 2.0]);
}

#[test]
fn indices_outside_are_errors() {
    let rt = Runtime::reference();
    let table = Array::from_vec(vec![0.0f32; 6], [3, 2]);
    let err = rt.eval(&[&table.gather(&Array::from_slice(&[0, 3], [2]))]).expect_err("row 3 of 3");
    assert_eq!(err.to_string(), "gather: index 3 is outside 0..3");
}

#[test]
fn equal_structures_share_a_plan() {
    let rt = Runtime::reference();
    let w = vector(&[1.0, 2.0, 3.0]);
    let mut x = vector(&[1.0, 1.0, 1.0]);
    for _ in 0..300 {
        x = (&x * &w + 1.0).tanh();
        rt.eval(&[&x]).expect("runs");
    }
    let stats = rt.stats();
    // The first step starts from a vector that the caller's memory backs; all others are alike.
    assert!(stats.plan_misses <= 2, "{stats:?}");
    assert_eq!(stats.plan_hits + stats.plan_misses, 300);
}

#[test]
fn independent_projections_are_one_wave() {
    let rt = Runtime::reference();
    let x = Array::from_vec(vec![0.5f32; 8], [2, 4]);
    let w: Vec<Array> = (0..3).map(|i| Array::from_vec(vec![i as f32; 16], [4, 4])).collect();
    let h = x.exp();
    let sum = h.matmul(&w[0].t()) + h.matmul(&w[1].t()) + h.matmul(&w[2].t());
    let plan = rt.plan(&[&sum]);
    let widest = plan.waves.iter().map(ExactSizeIterator::len).max();
    assert_eq!(widest, Some(3), "{plan}");
}

#[test]
fn asynchronous_results_arrive() {
    let rt = Runtime::reference();
    let y = vector(&[1.0, 4.0]).sqrt();
    rt.async_eval(&[&y]).expect("starts");
    let z = &y + 1.0;
    rt.async_eval(&[&z]).expect("starts");
    assert_eq!(z.as_slice::<f32>().expect("waits"), &[2.0, 3.0]);
}

/// A random graph: each entry applies an operation to one or two earlier arrays.
fn random_graph(ops: &[(u8, usize, usize)]) -> Vec<Array> {
    let mut arrays = vec![Array::from_vec((0..12).map(|i| i as f32 * 0.1).collect(), [3, 4])];
    for &(op, a, b) in ops {
        let (a, b) = (arrays[a % arrays.len()].clone(), arrays[b % arrays.len()].clone());
        arrays.push(match op % 7 {
            0 => &a + &b,
            1 => a.tanh() * 2.0,
            2 => a.matmul(&b.t()).slice(1, 0..1) + &b,
            3 => a.softmax(),
            4 => a.less(&b).select(&a, &b),
            5 => a.sum(0) + &b,
            _ => a.cast(DType::F16).cast(DType::F32),
        });
    }
    arrays
}

proptest! {
    /// Two values whose lifetimes overlap never share bytes, unless a step writes over its own dying input.
    #[test]
    fn live_ranges_never_overlap(
        ops in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..40),
        asked in any::<usize>(),
    ) {
        let arrays = random_graph(&ops);
        let rt = Runtime::new(std::sync::Arc::new(lazuli_core::Reference)); // with chains
        let plan = rt.plan(&[arrays.last().expect("one"), &arrays[asked % arrays.len()]]);
        let wave_of: Vec<usize> =
            plan.waves.iter().enumerate().flat_map(|(w, steps)| steps.clone().map(move |_| w)).collect();
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.values.len()];
        for (step, &wave) in plan.steps.iter().zip(&wave_of) {
            lives[step.output.value] = Some((wave, wave));
            for input in &step.inputs {
                if let Some((_, last)) = &mut lives[input.value] {
                    prop_assert!(*last <= wave, "read before it is written");
                    *last = wave;
                }
            }
        }
        let takes_over = |new: usize, old: usize| plan.steps.iter().zip(&wave_of).any(|(step, &wave)| {
            let alone = plan.steps.iter().zip(&wave_of).filter(|(s, w)| {
                **w == wave && s.inputs.iter().any(|i| i.value == old)
            }).count() == 1;
            step.output.value == new && step.inputs.iter().any(|i| i.value == old)
                && lives[old].is_some_and(|(_, last)| last == wave) && alone
                && matches!(step.kind, StepKind::Chain(_) | StepKind::Op(Op::Fused(_)))
        });
        for (i, a) in plan.values.iter().enumerate() {
            for (j, b) in plan.values.iter().enumerate().skip(i + 1) {
                let (Place::Arena(x), Place::Arena(y)) = (a.place, b.place) else { continue };
                let (Some(p), Some(q)) = (lives[i], lives[j]) else { continue };
                let shared_bytes = x < y + b.bytes && y < x + a.bytes;
                let shared_time = p.0 <= q.1 && q.0 <= p.1;
                prop_assert!(!(shared_bytes && shared_time) || takes_over(i, j) || takes_over(j, i), "{plan}");
                prop_assert!(x + a.bytes <= plan.arena_bytes && y + b.bytes <= plan.arena_bytes);
            }
        }
    }
}
