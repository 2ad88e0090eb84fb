//! Evaluations that are repeated without their graph give what they would give with it, or are not repeated.

use lazuli_core::{Array, DType, Repeater, Runtime};

fn numbers(array: &Array) -> Vec<f32> {
    array.as_slice::<f32>().expect("evaluated and dense").to_vec()
}

#[test]
fn a_repeated_evaluation_writes_in_place_what_the_graph_would_give() {
    let (rt, mut again) = (Runtime::reference(), Repeater::default());
    let weight = Array::from_slice(&[2.0f32, 3.0], [2]);
    let mut pool = Array::from_slice(&[0.0f32; 4], [2, 1, 1, 2]);
    let home = pool.view().unwrap().planes[0].buffer.as_ptr();
    let mut expected = [0.0f32; 4];
    for step in 0..6 {
        let slot = step % 2;
        let x = [step as f32, -1.0];
        let inputs = vec![Array::from_slice(&x, [2]), Array::from_slice(&[slot as i32], [1]), pool];
        let mut results = rt
            .eval_again(&mut again, &[], inputs, |inputs| {
                let [x, slots, pool] = <[Array; 3]>::try_from(inputs).unwrap();
                // A view of an input, and a weight that is the same every time.
                let keys = &x.reshape([1, 1, 2]) * &weight.reshape([1, 1, 2]);
                let pool = pool.kv_write(&keys, &slots);
                let sum = pool.sum(-1).reshape([2]);
                vec![pool, sum]
            })
            .unwrap();
        let sum = results.pop().unwrap();
        pool = results.pop().unwrap();
        expected[2 * slot..][..2].copy_from_slice(&[2.0 * x[0], -3.0]);
        assert_eq!(numbers(&pool), expected);
        assert_eq!(numbers(&sum), [expected[0] + expected[1], expected[2] + expected[3]]);
        assert_eq!(pool.view().unwrap().planes[0].buffer.as_ptr(), home, "step {step}");
    }
    assert_eq!(rt.stats().repeats, 4);
}

#[test]
fn what_depends_on_more_than_its_inputs_is_not_repeated() {
    let (rt, mut again) = (Runtime::reference(), Repeater::default());
    for step in 0..4 {
        let inputs = vec![Array::from_slice(&[1.0f32, 2.0], [2])];
        let fresh = Array::from_slice(&[step as f32, 0.0], [2]);
        let results = rt.eval_again(&mut again, &[], inputs, |inputs| vec![&inputs[0] + &fresh]).unwrap();
        assert_eq!(numbers(&results[0]), [1.0 + step as f32, 2.0]);
    }
    assert_eq!(rt.stats().repeats, 0);
    // What is made anew may come to lie where an input lay that was not used.
    for step in 0..8 {
        let inputs = vec![Array::from_slice(&[1.0f32], [1]), Array::from_slice(&[5.0f32], [1])];
        let add = |mut inputs: Vec<Array>| {
            drop(inputs.pop());
            vec![&inputs[0] + &Array::from_slice(&[step as f32], [1])]
        };
        let results = rt.eval_again(&mut again, &[1], inputs, add).unwrap();
        assert_eq!(numbers(&results[0]), [1.0 + step as f32]);
    }
    assert_eq!(rt.stats().repeats, 0);
}

#[test]
fn another_structure_or_shape_is_another_evaluation() {
    let (rt, mut again) = (Runtime::reference(), Repeater::default());
    for step in 0..12 {
        let (by, len) = ((step / 2) % 2, 1 + step % 2);
        let values = vec![step as f32; len];
        let inputs = vec![Array::from_vec(values, [len])];
        let results =
            rt.eval_again(&mut again, &[by], inputs, |inputs| vec![&inputs[0] * (1.0 + by as f32)]).unwrap();
        assert_eq!(numbers(&results[0]), vec![step as f32 * (1.0 + by as f32); len]);
    }
    // Four kinds, three of each, of which the first two show how it goes.
    assert_eq!(rt.stats().repeats, 4);
}

#[test]
fn memory_that_somebody_else_holds_is_not_written() {
    let (rt, mut again) = (Runtime::reference(), Repeater::default());
    let mut kept = Vec::new();
    for step in 0..5 {
        let x = Array::from_slice(&[step as f32; 4], [4]);
        if step >= 3 {
            kept.push(x.clone());
        }
        let run = |inputs: Vec<Array>| {
            let [x] = <[Array; 1]>::try_from(inputs).unwrap();
            vec![
                x.reshape([2, 1, 1, 2])
                    .kv_write(&Array::full([1, 1, 2], 9.0, DType::F32), &Array::full([1], 1.0, DType::I32)),
            ]
        };
        let results = rt.eval_again(&mut again, &[], vec![x], run).unwrap();
        assert_eq!(numbers(&results[0]), [step as f32, step as f32, 9.0, 9.0]);
    }
    assert_eq!(rt.stats().repeats, 1);
    for (step, x) in kept.iter().enumerate() {
        assert_eq!(numbers(x), [3.0 + step as f32; 4]);
    }
}

#[test]
fn results_may_be_inputs_and_constants() {
    let (rt, mut again) = (Runtime::reference(), Repeater::default());
    let constant = Array::from_slice(&[7.0f32], [1]);
    for step in 0..4 {
        let inputs = vec![Array::from_slice(&[step as f32], [1])];
        let results = rt
            .eval_again(&mut again, &[], inputs, |inputs| {
                let double = &inputs[0] * 2.0;
                vec![constant.clone(), double, inputs[0].clone()]
            })
            .unwrap();
        let all: Vec<f32> = results.iter().flat_map(numbers).collect();
        assert_eq!(all, [7.0, 2.0 * step as f32, step as f32]);
    }
    assert_eq!(rt.stats().repeats, 2);
    let lazy = vec![&constant + 1.0];
    assert!(rt.eval_again(&mut again, &[], lazy, |inputs| inputs).is_err());
}
