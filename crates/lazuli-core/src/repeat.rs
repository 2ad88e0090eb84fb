//! [`Repeater`]: evaluations that come again with other inputs, repeated without building and tracing their graphs.
//!
//! A decode step is the same graph every time. Two evaluations that differ in nothing but their inputs show what belongs
//! to which input; from then on a run needs no more than the new inputs. What shows it is that both traces have one plan
//! and that every other leaf is the very same memory: a leaf that is made anew each time might depend on anything, so
//! then nothing is repeated.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::array::WeakArray;
use crate::buffer::WeakBuffer;
use crate::plan::cache::Compiled;
use crate::{Array, DType, Layout, Plane, Result, Shape, View};

/// The most recordings kept: each mix of sequence and token counts makes one.
const CAPACITY: usize = 16;

/// What [`crate::Runtime::eval_again`] has learnt of one function. Use another for each function.
#[derive(Default)]
pub struct Repeater {
    recordings: Vec<Recording>,
}

/// What tells inputs of one evaluation from those of another, their values aside.
#[derive(PartialEq, Eq)]
pub(crate) struct Kind {
    structure: SmallVec<[usize; 4]>,
    inputs: Vec<(Shape, DType, Layout)>,
}

/// How an evaluation uses its inputs.
pub(crate) struct Recording {
    pub kind: Kind,
    pub compiled: Arc<Compiled>,
    pub leaves: Vec<Leaf>,
    pub results: Vec<Given>,
    /// A second evaluation did the same.
    pub proven: bool,
}

/// Where a leaf of the plan comes from.
pub(crate) enum Leaf {
    /// An input or a view of one. Its memory may be written (`donated`) if nobody else holds the input.
    Input { index: usize, layout: Layout, donated: bool },
    /// The same memory every time.
    Fixed(View),
}

/// Where a result comes from.
pub(crate) enum Given {
    /// The plan's next output.
    Computed(Shape, DType),
    /// The input itself.
    Input(usize),
    /// The same array every time.
    Fixed(Array),
}

impl Kind {
    /// Of evaluated inputs; `structure` is what else the function depends on.
    pub fn of(structure: &[usize], inputs: &[Array]) -> Self {
        let kind = |x: &Array| (x.shape().clone(), x.dtype(), x.layout());
        Self { structure: structure.into(), inputs: inputs.iter().map(kind).collect() }
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Input { index: a, layout: x, donated: d },
                Self::Input { index: b, layout: y, donated: e },
            ) => (a, x, d) == (b, y, e),
            (Self::Fixed(a), Self::Fixed(b)) => same(a, b),
            _ => false,
        }
    }
}

/// Whether both show the same memory. Nobody writes it while it is held here, and nothing else can come to lie there.
fn same(a: &View, b: &View) -> bool {
    let equal = |a: &[Plane], b: &[Plane]| {
        let mut pairs = a.iter().zip(b);
        a.len() == b.len() && pairs.all(|(a, b)| a.offset == b.offset && a.buffer.same(&b.buffer))
    };
    let stacks = match (&a.stack, &b.stack) {
        (Some(a), Some(b)) => equal(a, b),
        (None, None) => true,
        _ => false,
    };
    a.layout == b.layout && equal(&a.planes, &b.planes) && stacks
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Computed(a, x), Self::Computed(b, y)) => (a, x) == (b, y),
            (Self::Input(a), Self::Input(b)) => a == b,
            (Self::Fixed(a), Self::Fixed(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

impl Repeater {
    /// The recording that `inputs` can be run with.
    pub(crate) fn find(&self, kind: &Kind, inputs: &[Array]) -> Option<&Recording> {
        let recording = self.recordings.iter().find(|r| r.proven && r.kind == *kind)?;
        let holds = |leaf: &Leaf| match leaf {
            Leaf::Input { index, donated: true, .. } => inputs[*index].is_alone(1),
            _ => true,
        };
        recording.leaves.iter().all(holds).then_some(recording)
    }

    /// Takes what an evaluation did; it counts from the second time on that it did the same.
    pub(crate) fn learn(&mut self, mut new: Recording) {
        if let Some(at) = self.recordings.iter().position(|r| r.kind == new.kind) {
            let old = self.recordings.remove(at);
            new.proven = Arc::ptr_eq(&old.compiled, &new.compiled)
                && (&old.leaves, &old.results) == (&new.leaves, &new.results);
        } else if self.recordings.len() >= CAPACITY {
            self.recordings.remove(0);
        }
        self.recordings.push(new);
    }
}

/// The inputs of an evaluation, remembered without holding them: what lies at an address cannot be mistaken for what lay
/// there before, as it could by addresses alone when an input is dropped unused.
pub(crate) struct Inputs(Vec<(WeakArray, WeakBuffer)>);

impl Inputs {
    /// Of evaluated arrays.
    ///
    /// # Errors
    /// If one is not.
    pub fn of(inputs: &[Array]) -> Result<Self> {
        let known = |x: &Array| Ok((x.downgrade(), x.view()?.planes[0].buffer.downgrade()));
        Ok(Self(inputs.iter().map(known).collect::<Result<_>>()?))
    }

    /// Which input `array` is.
    pub fn position(&self, array: &Array) -> Option<usize> {
        self.0.iter().position(|(input, _)| input.is(array))
    }

    /// Where a leaf comes from; `None` if that cannot be told for the next time.
    pub fn leaf(&self, array: &Array, view: &View, donated: bool) -> Option<Leaf> {
        let shown = || self.0.iter().position(|(_, buffer)| buffer.is(&view.planes[0].buffer));
        match self.position(array).or_else(shown) {
            Some(index) => Some(Leaf::Input { index, layout: view.layout.clone(), donated }),
            None if donated => None,
            None => Some(Leaf::Fixed(view.clone())),
        }
    }
}
