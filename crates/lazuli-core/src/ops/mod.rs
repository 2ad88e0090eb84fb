//! Builders: the methods of [`crate::Array`] that add nodes. They check shapes at once and compute nothing.

mod create;
mod elementwise;
mod index;
mod linear;
mod reduce;
mod view;
