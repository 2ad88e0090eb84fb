//! [`Array`]: the handle to a node of the graph, and [`View`], where an evaluated node's bytes lie.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lazuli_quant::Format;
use smallvec::{SmallVec, smallvec};

use crate::infer::infer;
use crate::{Buffer, DType, Element, Error, Layout, Op, Result, Shape, Ticket};

/// A lazy, immutable, n-dimensional array: a cheap handle to a node that either knows how its value would be
/// computed or where it lies. Cloning shares the node.
///
/// An array does not live on a device: operations run on the [`crate::Backend`] of the
/// [`crate::Runtime`] that evaluates it.
#[derive(Clone)]
pub struct Array(Arc<Node>);

/// Knows an array by sight and does not keep it.
pub(crate) struct WeakArray(Weak<Node>);

impl WeakArray {
    /// Whether it is this one.
    pub fn is(&self, array: &Array) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&array.0))
    }
}

pub(crate) struct Node {
    shape: Shape,
    dtype: DType,
    ready: OnceLock<Ready>,
    lazy: Mutex<Option<Lazy>>,
}

pub(crate) struct Lazy {
    pub op: Op,
    pub inputs: SmallVec<[Array; 4]>,
}

#[derive(Clone)]
struct Ready {
    view: View,
    /// Set while an asynchronous evaluation may still be writing the bytes.
    ticket: Option<Ticket>,
}

/// One plane of an array's storage: a byte range that starts at `offset` in `buffer`.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The memory.
    pub buffer: Buffer,
    /// Bytes before the plane's first.
    pub offset: usize,
}

impl Plane {
    /// The bytes from the plane's start to the buffer's end.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_bytes()[self.offset..]
    }
}

/// Where an evaluated array lies: its planes (one, or two to three for planar weight formats) and the layout
/// of its elements in them. For packed formats the last axis of the storage is contiguous, and offset and
/// strides count elements, so that element `i` belongs to row `i / columns`.
#[derive(Clone, Debug)]
pub struct View {
    /// Codes first, then scales and biases.
    pub planes: SmallVec<[Plane; 1]>,
    /// Offset and strides in elements.
    pub layout: Layout,
    /// If the array is a stack of arrays that lie apart (experts with a tensor each): the planes of all of them,
    /// one member after the other, each as long and laid out as the first, whose planes are `planes` too.
    pub stack: Option<Arc<[Plane]>>,
}

impl View {
    /// A view of one plane that starts with the buffer.
    pub fn new(buffer: Buffer, layout: Layout) -> Self {
        Self { planes: smallvec![Plane { buffer, offset: 0 }], layout, stack: None }
    }

    /// The planes of a stack's member `index`, or of the whole array if it is not a stack.
    pub fn member(&self, index: usize) -> &[Plane] {
        let count = self.planes.len();
        self.stack.as_ref().map_or(&self.planes, |all| &all[index * count..][..count])
    }
}

impl Array {
    /// An array over `bytes of shape` that start at `offset` of `buffer`: a weight in a mapped file.
    ///
    /// # Errors
    /// If the buffer is too short, or a packed row does not divide into blocks.
    pub fn from_buffer(buffer: Buffer, offset: usize, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        Self::from_planes(&[(buffer, offset)], shape, dtype)
    }

    /// An array of a format with several planes, each given by its buffer and byte offset
    /// (codes, scales, biases).
    ///
    /// # Errors
    /// If the number of planes is not the format's, a plane is too short or has other arrays in between
    /// ([`Array::interleaved`]), or rows do not divide into blocks.
    pub fn from_planes(planes: &[(Buffer, usize)], shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let wanted = if let DType::Quant(format) = dtype { format.planes() } else { 1 };
        if planes.len() != wanted {
            let why = format!("found {} planes, expected {wanted}", planes.len());
            return Err(Error::Decode { dtype, why });
        }
        for (index, (buffer, offset)) in planes.iter().enumerate() {
            if buffer.is_woven() {
                return Err(Error::Decode {
                    dtype,
                    why: "other arrays lie between the buffer's bytes".into(),
                });
            }
            let needed = plane_bytes(dtype, index, &shape)?;
            if offset.checked_add(needed).is_none_or(|end| end > buffer.len()) {
                let (offset, found) = (*offset, buffer.len());
                return Err(Error::OutOfBounds { shape, dtype, needed, offset, found });
            }
        }
        let planes = planes.iter().map(|(b, offset)| Plane { buffer: b.clone(), offset: *offset }).collect();
        let layout = Layout::contiguous(&shape);
        Ok(Self::ready(shape, dtype, View { planes, layout, stack: None }, None))
    }

    /// Arrays `[count, ..shape]`, one for each of `shapes`, whose entries take turns in `buffer`: the first entry of
    /// each, then the second of each. What `count` entries of all of them use lies together at the buffer's beginning,
    /// however many there could be. Each array may be written in place as if it had a buffer of its own.
    ///
    /// # Errors
    /// If the buffer is too short, or the type is a packed format.
    ///
    /// # Panics
    /// If somebody else holds the buffer.
    ///
    /// ```
    /// # use lazuli_core::{Array, DType, Buffer, Runtime};
    /// let buffer = Buffer::from_vec(vec![0i32, 1, 2, 10, 11, 12]);
    /// let parts = Array::interleaved(buffer, 2, &[[1].into(), [2].into()], DType::I32)?;
    /// let second = parts[1].contiguous();
    /// Runtime::reference().eval(&[&second])?;
    /// assert_eq!(second.as_slice::<i32>()?, &[1, 2, 11, 12]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    pub fn interleaved(buffer: Buffer, count: usize, shapes: &[Shape], dtype: DType) -> Result<Vec<Self>> {
        let size = dtype
            .size()
            .ok_or_else(|| Error::Decode { dtype, why: "packed rows have no entries of one size".into() })?;
        let stride: usize = shapes.iter().map(Shape::elements).sum();
        let whole: Shape = [count, stride].into();
        let needed = count.checked_mul(stride).and_then(|all| all.checked_mul(size)).unwrap_or(usize::MAX);
        if needed > buffer.len() {
            return Err(Error::OutOfBounds { shape: whole, dtype, needed, offset: 0, found: buffer.len() });
        }
        let (mut arrays, mut ranges, mut start) = (Vec::new(), Vec::new(), 0);
        for entry in shapes {
            let shape: Shape = std::iter::once(count).chain(entry.iter().copied()).collect();
            let layout = Layout::spaced(&shape, stride);
            ranges.push(start * size..(start + layout.reach(&shape)) * size);
            arrays.push((shape, layout));
            start += entry.elements();
        }
        let ready = |((shape, layout), part)| Self::ready(shape, dtype, View::new(part, layout), None);
        Ok(arrays.into_iter().zip(buffer.weave(&ranges)).map(ready).collect())
    }

    /// Arrays of one shape and type as one array with a leading axis, without a copy: each stays where it lies.
    /// Only [`Array::expert_matmul`] reads the result, and it cannot be viewed in another shape.
    ///
    /// # Errors
    /// If there is no array, one was not evaluated, they differ in shape or type, or one has gaps.
    pub fn stack(members: &[Self]) -> Result<Self> {
        let mismatch = |why: String| Error::Stack { why };
        let first = members.first().ok_or_else(|| mismatch("there are no arrays".into()))?;
        let (shape, dtype) = (first.shape(), first.dtype());
        let mut planes: Vec<Plane> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let view = member.view()?;
            if (member.shape(), member.dtype()) != (shape, dtype) {
                let (found, other) = (member.dtype(), member.shape());
                return Err(mismatch(format!("array {index} is {found} {other}, the first {dtype} {shape}")));
            }
            if view.layout != Layout::contiguous(shape) || member.is_stack() {
                return Err(mismatch(format!("array {index} does not start its storage, or has gaps")));
            }
            planes.extend(view.planes.iter().cloned());
        }
        let shape: Shape = std::iter::once(members.len()).chain(shape.iter().copied()).collect();
        let first = planes[..planes.len() / members.len()].into();
        let view = View { planes: first, layout: Layout::contiguous(&shape), stack: Some(planes.into()) };
        Ok(Self::ready(shape, dtype, view, None))
    }

    /// Whether this is a [`Array::stack`].
    pub fn is_stack(&self) -> bool {
        self.0.ready.get().is_some_and(|ready| ready.view.stack.is_some())
    }

    /// Copies a slice into a new array.
    ///
    /// # Panics
    /// If the shape does not hold as many elements as the slice.
    ///
    /// ```
    /// # use lazuli_core::Array;
    /// let x = Array::from_slice(&[1, 2, 3, 4, 5, 6], [2, 3]);
    /// assert_eq!(x.shape(), &[2, 3].into());
    /// ```
    #[track_caller]
    pub fn from_slice<T: Element>(values: &[T], shape: impl Into<Shape>) -> Self {
        Self::from_vec(values.to_vec(), shape)
    }

    /// Takes a vector's memory as an array, without copying.
    ///
    /// # Panics
    /// If the shape does not hold as many elements as the vector.
    #[track_caller]
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.elements(), values.len(), "from_vec: {shape} does not hold {} values", values.len());
        let layout = Layout::contiguous(&shape);
        Self::ready(shape, T::DTYPE, View::new(Buffer::from_vec(values), layout), None)
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// What the elements are.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The weight format, if the array is packed.
    pub fn format(&self) -> Option<Format> {
        if let DType::Quant(format) = self.0.dtype { Some(format) } else { None }
    }

    /// Whether the value has been computed (or is being computed by an asynchronous evaluation).
    pub fn is_evaluated(&self) -> bool {
        self.0.ready.get().is_some()
    }

    /// Where the value lies.
    ///
    /// # Errors
    /// If the array was not evaluated, or the evaluation failed.
    pub fn view(&self) -> Result<&View> {
        let ready = self
            .0
            .ready
            .get()
            .ok_or_else(|| Error::NotEvaluated { shape: self.0.shape.clone(), dtype: self.0.dtype })?;
        if let Some(ticket) = &ready.ticket {
            ticket.wait()?;
        }
        Ok(&ready.view)
    }

    /// Borrows an evaluated array's elements, row-major, without a copy.
    ///
    /// # Errors
    /// If the array was not evaluated, holds another type, or is a strided or misaligned view.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let view = self.view()?;
        if self.is_stack() {
            return Err(Error::Strided { shape: self.shape().clone() });
        }
        if T::DTYPE != self.dtype() && !(T::DTYPE == DType::U8 && self.dtype() == DType::Bool) {
            return Err(Error::WrongDType { found: self.dtype(), wanted: T::DTYPE });
        }
        if !view.layout.is_contiguous(self.shape()) {
            return Err(Error::Strided { shape: self.shape().clone() });
        }
        let plane = &view.planes[0];
        let start = plane.offset + view.layout.offset * size_of::<T>();
        let bytes = &plane.buffer.as_bytes()[start..][..self.shape().elements() * size_of::<T>()];
        let values = crate::buffer::cast_slice(bytes);
        let Some(values) = values else {
            return Err(Error::Strided { shape: self.shape().clone() });
        };
        Ok(values)
    }

    /// Bytes of the elements, all planes together (what a kernel reads when it reads them all).
    pub fn bytes(&self) -> usize {
        self.dtype().bytes(self.shape().rows(), self.shape().last_dim()).unwrap_or(0)
    }

    /// A new node that applies `op`.
    ///
    /// # Panics
    /// If the operation does not take these shapes or types; the message names all of them.
    #[track_caller]
    pub(crate) fn apply(op: Op, inputs: &[&Self]) -> Self {
        match infer(&op, inputs) {
            Ok((shape, dtype)) => Self::lazy(op, inputs, shape, dtype),
            Err(why) => {
                let list: Vec<_> = inputs.iter().map(|a| format!("{} {}", a.dtype(), a.shape())).collect();
                panic!("{}({}): {why}", op.name(), list.join(", "))
            }
        }
    }

    fn lazy(op: Op, inputs: &[&Self], shape: Shape, dtype: DType) -> Self {
        let inputs = inputs.iter().map(|&a| a.clone()).collect();
        let lazy = Mutex::new(Some(Lazy { op, inputs }));
        Self(Arc::new(Node { shape, dtype, ready: OnceLock::new(), lazy }))
    }

    pub(crate) fn ready(shape: Shape, dtype: DType, view: View, ticket: Option<Ticket>) -> Self {
        let ready = OnceLock::from(Ready { view, ticket });
        Self(Arc::new(Node { shape, dtype, ready, lazy: Mutex::new(None) }))
    }

    /// The same storage under another shape and layout. Views of views are flattened, and a view of an
    /// evaluated array is evaluated at once.
    pub(crate) fn with_layout(&self, shape: Shape, make: impl FnOnce(&Layout) -> Layout) -> Self {
        if let Some(ready) = self.0.ready.get() {
            assert!(!self.is_stack(), "a stack of separate arrays has no other view");
            let planes = ready.view.planes.clone();
            let view = View { planes, layout: make(&ready.view.layout), stack: None };
            return Self::ready(shape, self.dtype(), view, ready.ticket.clone());
        }
        let (base, layout) = match self.locked().as_ref() {
            Some(Lazy { op: Op::View(layout), inputs }) => (inputs[0].clone(), make(layout)),
            Some(lazy) => (self.clone(), make(&lazy.op.layout(self.shape()))),
            None => (self.clone(), make(&Layout::contiguous(self.shape()))),
        };
        Self::lazy(Op::View(layout), &[&base], shape, self.dtype())
    }

    /// The layout of the elements in the storage of the node underneath.
    pub(crate) fn layout(&self) -> Layout {
        if let Some(ready) = self.0.ready.get() {
            return ready.view.layout.clone();
        }
        match self.locked().as_ref() {
            Some(Lazy { op: Op::View(layout), .. }) => layout.clone(),
            Some(lazy) => lazy.op.layout(self.shape()),
            None => Layout::contiguous(self.shape()),
        }
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, Option<Lazy>> {
        self.0.lazy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Identity of the node, valid while the handle lives.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub(crate) fn downgrade(&self) -> WeakArray {
        WeakArray(Arc::downgrade(&self.0))
    }

    /// How many handles to the node there are.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether the node has this many handles and its memory, which may be written, no others.
    pub(crate) fn is_alone(&self, handles: usize) -> bool {
        let Ok(view) = self.view() else { return false };
        self.handles() == handles
            && view.planes.iter().all(|p| p.buffer.is_unique() && p.buffer.is_writable())
    }

    /// Gives the node its value and lets go of its inputs.
    pub(crate) fn fulfil(&self, view: View, ticket: Option<Ticket>) {
        // A node that another evaluation finished first keeps its value: both are equal.
        let _ = self.0.ready.set(Ready { view, ticket });
        let inputs = self.locked().take();
        drop(inputs);
    }
}

fn plane_bytes(dtype: DType, plane: usize, shape: &Shape) -> Result<usize> {
    let (rows, cols) = (shape.rows(), shape.last_dim());
    let overflow = || Error::OutOfMemory { bytes: usize::MAX, what: "an array" };
    match dtype {
        DType::Quant(format) if cols % format.block_len() != 0 => {
            Err(Error::Ragged { dtype, block: format.block_len(), cols })
        }
        DType::Quant(format) => format.plane_bytes(plane, rows, cols).ok_or_else(overflow),
        other => other.bytes(rows, cols).ok_or_else(overflow),
    }
}

impl Drop for Node {
    /// Frees deep graphs without recursion: nodes that nobody else holds hand their inputs to a list.
    fn drop(&mut self) {
        let take = |node: &mut Node| node.lazy.get_mut().ok().and_then(Option::take).map(|l| l.inputs);
        let mut waiting: Vec<Array> = take(self).into_iter().flatten().collect();
        while let Some(array) = waiting.pop() {
            if let Some(mut node) = Arc::into_inner(array.0) {
                waiting.extend(take(&mut node).into_iter().flatten());
            }
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} {}", self.dtype(), self.shape())?;
        match self.locked().as_ref() {
            Some(lazy) if !self.is_evaluated() => write!(f, ", lazy {})", lazy.op.name()),
            _ => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_graph_is_dropped_without_recursion() {
        let mut x = Array::from_slice(&[1.0f32], [1]);
        for _ in 0..200_000 {
            x = &x + 1.0;
        }
        drop(x);
    }

    #[test]
    fn borrowing_checks_type_and_state() {
        let x = Array::from_slice(&[1.0f32, 2.0], [2]);
        assert!(matches!(x.as_slice::<i32>(), Err(Error::WrongDType { .. })));
        assert!(matches!((&x + &x).as_slice::<f32>(), Err(Error::NotEvaluated { .. })));
        let table = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
        assert!(matches!(table.t().as_slice::<f32>(), Err(Error::Strided { .. })));
        assert_eq!(table.slice(0, 1..2).as_slice::<f32>().expect("contiguous"), &[3.0, 4.0]);
    }

    #[test]
    fn a_stack_shares_the_storage_of_equal_arrays() {
        let (a, b) = (Array::from_slice(&[1.0f32, 2.0], [1, 2]), Array::from_slice(&[3.0f32, 4.0], [1, 2]));
        let stack = Array::stack(&[a.clone(), b.clone()]).expect("equal arrays");
        assert_eq!((stack.shape(), stack.is_stack()), (&[2, 1, 2].into(), true));
        let start = |array: &Array| array.view().expect("evaluated").planes[0].buffer.as_ptr();
        assert_eq!(stack.view().expect("evaluated").member(1)[0].buffer.as_ptr(), start(&b));
        assert!(matches!(stack.as_slice::<f32>(), Err(Error::Strided { .. })));
        let panics = |f: &dyn Fn() -> Array| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(f()))).is_err()
        };
        assert!(panics(&|| &stack + 1.0) && panics(&|| stack.reshape([2, 2])));
        for wrong in [Array::from_slice(&[1.0f32], [1, 1]), Array::from_slice(&[1, 2], [1, 2]), &a + 1.0] {
            assert!(Array::stack(&[a.clone(), wrong]).is_err());
        }
        let gaps = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]).t().slice(0, 0..1);
        assert!(Array::stack(&[gaps]).expect_err("gaps").to_string().contains("gaps"));
        assert!(Array::stack(&[]).is_err());
    }

    #[test]
    fn weights_must_fit_their_buffer() {
        let buffer = Buffer::zeroed(18 * 4 - 1).expect("small");
        let err =
            Array::from_buffer(buffer, 0, [2, 64], DType::Quant(Format::Q4_0)).expect_err("one byte short");
        assert!(err.to_string().contains("needs 72 bytes"), "{err}");
    }
}
