//! Lazuli as one library.
