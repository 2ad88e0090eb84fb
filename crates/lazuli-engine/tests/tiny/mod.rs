//! A decoder with random weights, small enough for the reference interpreter, with ways to make it fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lazuli_core::fused::RopeStyle;
use lazuli_core::{Array, DType, Runtime};
use lazuli_engine::sample::Rng;
use lazuli_engine::{Answer, Engine, EngineOptions, Request, TextStream};
use lazuli_models::{CausalLm, Spec};
use lazuli_nn::{
    Activation, Attention, AttentionConfig, BatchArrays, Bias, Embedding, GatedMlp, Head, KvPool, Linear,
    RmsNorm, Rope, RopeConfig, RopeScaling, Weights,
};

pub const VOCABULARY: usize = 67;
/// A forward pass that meets this token panics.
pub const PANICS: u32 = 65;
/// A forward pass that meets this token cannot be evaluated.
pub const FAILS: u32 = 66;

/// Bytes of weights that the model says it reads for a token.
pub const DECODE_BYTES: usize = 1000;

const HIDDEN: usize = 24;
const INNER: usize = 40;
const LAYERS: usize = 2;

pub struct Tiny {
    spec: Spec,
    embedding: Embedding,
    layers: Vec<Layer>,
    rope: Rope,
    head: Head,
    /// Tokens of the largest batch so far.
    pub largest: Arc<AtomicUsize>,
}

struct Layer {
    norms: [RmsNorm; 2],
    attention: Attention,
    mlp: GatedMlp,
}

fn attention() -> AttentionConfig {
    AttentionConfig { scale: 0.6, ..AttentionConfig::plain(HIDDEN, 4, 2, 8) }
}

fn weights() -> Weights {
    let mut rng = Rng::new(11);
    let mut random = |shape: [usize; 2], scale: f64| {
        let values = (0..shape[0] * shape[1]).map(|_| ((rng.next_unit() - 0.5) * scale) as f32).collect();
        Array::from_vec::<f32>(values, shape)
    };
    let mut all = vec![
        ("embed.weight".to_owned(), random([VOCABULARY, HIDDEN], 2.0)),
        ("head.weight".to_owned(), random([VOCABULARY, HIDDEN], 2.0)),
        ("norm.weight".to_owned(), Array::from_vec(vec![1.0f32; HIDDEN], [HIDDEN])),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("q_proj", [32, HIDDEN]),
            ("k_proj", [16, HIDDEN]),
            ("v_proj", [16, HIDDEN]),
            ("o_proj", [HIDDEN, 32]),
            ("gate_proj", [INNER, HIDDEN]),
            ("up_proj", [INNER, HIDDEN]),
            ("down_proj", [HIDDEN, INNER]),
        ] {
            all.push((format!("{layer}.{name}.weight"), random(shape, 0.9)));
        }
        for name in ["before", "after"] {
            let ones = Array::from_vec(vec![1.0f32; HIDDEN], [HIDDEN]);
            all.push((format!("{layer}.{name}.weight"), ones));
        }
    }
    Weights::new(all)
}

impl Tiny {
    pub fn new() -> Self {
        let w = weights();
        let norm = |w: Weights| RmsNorm::load(&w, HIDDEN, 1e-5, 0.0).unwrap();
        let layers = (0..LAYERS).map(|layer| Layer {
            norms: ["before", "after"].map(|name| norm(w.at(layer).at(name))),
            attention: Attention::load(&w.at(layer), attention()).unwrap(),
            mlp: GatedMlp::load(&w.at(layer), HIDDEN, INNER, Bias::Without, Activation::Silu).unwrap(),
        });
        let projection = Linear::load(&w.at("head"), VOCABULARY, HIDDEN, Bias::Without).unwrap();
        let rope =
            RopeConfig { theta: 10_000.0, rotated: 8, style: RopeStyle::Halves, scaling: RopeScaling::None };
        Self {
            spec: spec(),
            embedding: Embedding::load(&w.at("embed"), VOCABULARY, HIDDEN, 1.0).unwrap(),
            layers: layers.collect(),
            rope: Rope::new(&rope),
            head: Head::new(norm(w.at("norm")), projection, None),
            largest: Arc::default(),
        }
    }
}

fn spec() -> Spec {
    Spec {
        architecture: "tiny".into(),
        layers: LAYERS,
        hidden: HIDDEN,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocabulary: VOCABULARY,
        context: 4096,
        kv: vec![attention().kv(); LAYERS],
        parameters: 0,
        weight_bytes: 0,
        decode_bytes: DECODE_BYTES,
        experts: None,
    }
}

impl CausalLm for Tiny {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn forward(&self, batch: &BatchArrays, kv: &mut KvPool) -> Array {
        let tokens = batch.tokens.as_slice::<i32>().unwrap();
        self.largest.fetch_max(tokens.len(), Ordering::Relaxed);
        assert!(!tokens.contains(&(PANICS as i32)), "the tiny model met its token");
        let mut x = self.embedding.forward(&batch.tokens); // [tokens, hidden]
        if tokens.contains(&(FAILS as i32)) {
            let outside = Array::from_vec(vec![VOCABULARY as i32; tokens.len()], [tokens.len()]);
            x = self.embedding.forward(&outside);
        }
        let rope = self.rope.tables(batch);
        for (index, layer) in self.layers.iter().enumerate() {
            x = &x + layer.attention.forward(&layer.norms[0].forward(&x), &rope, batch, kv, index);
            x = &x + layer.mlp.forward(&layer.norms[1].forward(&x));
        }
        let logits = self.head.forward(&x, batch);
        if logits.shape()[0] == 0 {
            return logits;
        }
        // The model never says the tokens at which it fails.
        let said = (0..VOCABULARY as u32).map(|id| if id == PANICS || id == FAILS { -1e9f32 } else { 0.0 });
        logits + Array::from_vec(said.collect(), [VOCABULARY])
    }
}

/// Options under which results are exact and memory is small.
pub fn options(context: usize) -> EngineOptions {
    EngineOptions {
        context,
        max_sequences: 8,
        prefill_chunk: 512,
        pool_tokens: Some(context * 8),
        kv_dtype: DType::F32,
    }
}

pub fn engine(options: EngineOptions) -> Engine {
    Engine::start(Box::new(Tiny::new()), Runtime::reference(), options).unwrap()
}

/// `len` tokens that look random and depend on `seed`.
pub fn prompt(seed: u64, len: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| (rng.next_u64() % 64) as u32).collect()
}

/// A greedy request for at most `max` tokens.
pub fn greedy(prompt: Vec<u32>, max: usize) -> Request {
    Request { max_tokens: Some(max), ..Request::new(prompt) }
}

/// What an engine of its own answers.
pub fn alone(request: Request) -> Answer {
    engine(options(256)).submit(request).wait().unwrap()
}

/// Writes each token as a word: `w12 `.
pub struct Words;

impl TextStream for Words {
    fn push(&mut self, id: u32) -> String {
        format!("w{id} ")
    }

    fn finish(&mut self) -> String {
        String::new()
    }
}
