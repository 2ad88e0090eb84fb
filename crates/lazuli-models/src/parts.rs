//! [`Parts`]: the weights that all decoders have under the same names, and their models' numbers.

use lazuli_nn::{Bias, Embedding, Head, LayerKv, Linear, Norm, RmsNorm, Weights};

use crate::config::{Decoder, HeadWeight};
use crate::source::Source;
use crate::{Result, Spec};

/// Loads what architectures load alike.
pub struct Parts<'a> {
    /// Everything below `model`.
    pub weights: Weights,
    source: &'a Source,
    decoder: &'a Decoder,
}

impl<'a> Parts<'a> {
    /// The parts of a model whose settings have been read.
    pub fn new(source: &'a Source, decoder: &'a Decoder) -> Self {
        Self { weights: source.weights.at("model"), source, decoder }
    }

    /// `embed_tokens`; its rows are multiplied by `scale`.
    pub fn embedding(&self, scale: f32) -> Result<Embedding> {
        let Decoder { vocabulary, hidden, .. } = *self.decoder;
        Ok(Embedding::load(&self.weights.at("embed_tokens"), vocabulary, hidden, scale)?)
    }

    /// The norm `name` below `weights`, of rows between layers.
    pub fn norm(&self, weights: &Weights, name: &str) -> Result<RmsNorm> {
        Ok(RmsNorm::load(&weights.at(name), self.decoder.hidden, self.decoder.eps, 0.0)?)
    }

    /// What `load` makes of the weights and the index of each layer.
    pub fn layers<T>(&self, load: impl Fn(Weights, usize) -> Result<T>) -> Result<Vec<T>> {
        let all = self.weights.at("layers");
        (0..self.decoder.layers).map(|index| load(all.at(index), index)).collect()
    }

    /// `norm`, and the projection to logits: `lm_head`, or the embedding's table. `softcap` as for [`Head`].
    pub fn head(&self, embedding: &Embedding, norm: impl Into<Norm>, softcap: Option<f32>) -> Result<Head> {
        let Decoder { vocabulary, hidden, head, .. } = *self.decoder;
        let projection = match head {
            HeadWeight::Tied => embedding.tied(),
            HeadWeight::Own => {
                Linear::load(&self.source.weights.at("lm_head"), vocabulary, hidden, Bias::Without)?
            }
        };
        Ok(Head::new(norm, projection, softcap))
    }

    /// The model's numbers, when all its weights have been got; layer `i` keeps `kv(i)` of a token.
    pub fn spec(&self, architecture: &str, kv: impl Fn(usize) -> LayerKv) -> Spec {
        let kv = (0..self.decoder.layers).map(kv).collect();
        Spec::new(architecture, self.decoder, kv, &self.source.weights)
    }
}
