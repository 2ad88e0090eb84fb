//! [`Weights`]: a cursor into the named arrays of a checkpoint.
//!
//! Checks shapes and remembers which names were read, so that a loader can refuse a checkpoint with tensors
//! that nobody used. It does not know where the arrays come from.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use lazuli_core::{Array, Shape};

use crate::{Error, Result};

/// A place among a checkpoint's named arrays. Cheap to clone.
///
/// ```
/// # use lazuli_core::Array;
/// # use lazuli_nn::Weights;
/// let arrays = [("layers.3.norm.weight".to_string(), Array::from_slice(&[1.0f32, 2.0], [2]))];
/// let weights = Weights::new(arrays);
/// let layer = weights.at("layers").at(3);
/// let norm = layer.get("norm.weight", [2])?;
/// assert!(layer.optional("norm.bias", [2])?.is_none());
/// assert!(weights.unused().is_empty());
/// # Ok::<(), lazuli_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weights {
    store: Arc<Store>,
    prefix: String,
}

#[derive(Debug)]
struct Store {
    arrays: HashMap<String, Array>,
    unused: Mutex<BTreeSet<String>>,
    /// Names and shapes of what was asked for, if nothing is there and anything may be asked for.
    asked: Option<Mutex<Vec<(String, Shape)>>>,
}

impl Weights {
    /// All arrays of a checkpoint by name, at the root.
    pub fn new(arrays: impl IntoIterator<Item = (String, Array)>) -> Self {
        let arrays: HashMap<String, Array> = arrays.into_iter().collect();
        let unused = Mutex::new(arrays.keys().cloned().collect());
        Self { store: Arc::new(Store { arrays, unused, asked: None }), prefix: String::new() }
    }

    /// No arrays at all, in place of which every one that must be there is given as zeros without storage: to find out
    /// what a model would read. Arrays that need not be there are not.
    pub fn listing() -> Self {
        let store = Store { arrays: HashMap::new(), unused: Mutex::default(), asked: Some(Mutex::default()) };
        Self { store: Arc::new(store), prefix: String::new() }
    }

    /// What was asked for, in order: the names and shapes of [`Weights::listing`].
    pub fn asked(&self) -> Vec<(String, Shape)> {
        let asked = self.store.asked.as_ref();
        asked.map_or_else(Vec::new, |asked| asked.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The place below this one that `name` names.
    pub fn at(&self, name: impl Display) -> Self {
        Self { store: self.store.clone(), prefix: format!("{}{name}.", self.prefix) }
    }

    /// The array `name` below this place.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if there is none, [`Error::TensorShape`] if it has another shape.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Array> {
        let expected = shape.into();
        if let Some(asked) = &self.store.asked {
            asked.lock().unwrap_or_else(PoisonError::into_inner).push((self.full(name), expected.clone()));
            return Ok(Array::from_slice(&[0.0f32], [1]).broadcast_to(expected));
        }
        self.optional(name, expected.clone())?
            .ok_or_else(|| Error::MissingTensor { name: self.full(name), expected })
    }

    /// The array `name` below this place, if there is one.
    ///
    /// # Errors
    /// [`Error::TensorShape`] if it has another shape.
    pub fn optional(&self, name: &str, shape: impl Into<Shape>) -> Result<Option<Array>> {
        let (name, expected) = (self.full(name), shape.into());
        let Some(array) = self.store.arrays.get(&name) else { return Ok(None) };
        if *array.shape() != expected {
            return Err(Error::TensorShape { name, found: array.shape().clone(), expected });
        }
        self.store.unused.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(Some(array.clone()))
    }

    /// The arrays `<number>.<name>` below this place, for all numbers below `count`, as one array with a leading axis.
    /// Each stays where it lies; see [`Array::stack`].
    ///
    /// # Errors
    /// As for [`Weights::get`], and if they differ in type.
    pub fn stacked(&self, count: usize, name: &str, shape: impl Into<Shape>) -> Result<Array> {
        let shape = shape.into();
        let member = |index: usize| self.at(index).get(name, shape.clone());
        let members = (0..count).map(member).collect::<Result<Vec<_>>>()?;
        if self.store.asked.is_some() {
            let whole: Shape = std::iter::once(count).chain(shape.iter().copied()).collect();
            return Ok(Array::from_slice(&[0.0f32], [1]).broadcast_to(whole));
        }
        Ok(Array::stack(&members)?)
    }

    /// Whether there is an array `name` of a float type below this place. Asking does not count as using it.
    pub fn float(&self, name: &str) -> bool {
        self.store.arrays.get(&self.full(name)).is_some_and(|array| array.dtype().is_float())
    }

    /// Whether there is an array `name` below this place. Asking does not count as using it.
    pub fn contains(&self, name: &str) -> bool {
        self.store.arrays.contains_key(&self.full(name))
    }

    /// All arrays (whatever this place is) that somebody has got, with their names, in no order.
    pub fn used(&self) -> Vec<(&str, &Array)> {
        let unused = self.store.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.store.arrays.iter().filter(|(name, _)| !unused.contains(*name));
        all.map(|(name, array)| (name.as_str(), array)).collect()
    }

    /// The names of all arrays (whatever this place is) that nobody has got yet, sorted.
    pub fn unused(&self) -> Vec<String> {
        self.store.unused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_can_be_listed() {
        let weights = Weights::listing();
        assert_eq!(weights.at("a").get("w", [2, 3]).unwrap().shape()[..], [2, 3]);
        assert_eq!(weights.stacked(2, "x", [4]).unwrap().shape()[..], [2, 4]);
        assert!(weights.optional("y", [1]).unwrap().is_none() && !weights.contains("a.w"));
        let names: Vec<_> = weights.asked().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.w", "0.x", "1.x"]);
    }

    #[test]
    fn numbered_arrays_make_a_stack() {
        let array = |rows: usize| Array::from_vec(vec![0.0f32; rows * 3], [rows, 3]);
        let named = |index: usize, rows| (format!("experts.{index}.w"), array(rows));
        let weights = Weights::new([named(0, 2), named(1, 2), named(2, 1)]).at("experts");
        assert_eq!(weights.stacked(2, "w", [2, 3]).unwrap().shape()[..], [2, 2, 3]);
        assert_eq!(weights.unused(), ["experts.2.w"]);
        assert!(weights.stacked(3, "w", [2, 3]).unwrap_err().to_string().contains("`experts.2.w` has shape"));
        assert!(weights.stacked(4, "w", [1, 3]).is_err());
    }

    #[test]
    fn names_shapes_and_use_are_checked() {
        let zeros = || Array::from_vec(vec![0.0f32; 6], [2, 3]);
        let weights = Weights::new([("a.0.w".to_string(), zeros()), ("a.1.w".to_string(), zeros())]);
        let place = weights.at("a").at(0);
        let missing = place.get("b", [2]).unwrap_err().to_string();
        assert_eq!(missing, "tensor `a.0.b` is missing: the architecture needs it, of shape [2]");
        let wrong = place.get("w", [3, 2]).unwrap_err().to_string();
        assert_eq!(wrong, "tensor `a.0.w` has shape [2, 3], but the model's settings make it [3, 2]");
        assert_eq!(weights.unused(), ["a.0.w", "a.1.w"]);
        place.get("w", [2, 3]).unwrap();
        assert_eq!(weights.unused(), ["a.1.w"]);
        assert_eq!(weights.used().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a.0.w"]);
        assert!(weights.contains("a.1.w") && !weights.contains("a.2.w"));
    }
}
