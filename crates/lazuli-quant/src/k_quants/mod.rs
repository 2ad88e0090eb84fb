//! The K-quants: super-blocks of 256 elements whose group scales are themselves quantised.
//!
//! Source: GGUF specification and ggml block definitions. Encoders search each group's scale by weighted least
//! squares ([`search`]), quantise the scales, then choose the codes again for the scales as stored.

mod q2_k;
mod q3_k;
mod q4_k;
mod q5_k;
mod q6_k;
mod search;
mod settle;

pub(crate) use q2_k::{decode_q2_k, encode_q2_k};
pub(crate) use q3_k::{decode_q3_k, encode_q3_k};
pub(crate) use q4_k::{decode_q4_k, encode_q4_k};
pub(crate) use q5_k::{decode_q5_k, encode_q5_k};
pub(crate) use q6_k::{decode_q6_k, encode_q6_k};
