//! [`plan`]: model, weights, machine and workload together, as one answer.

use serde::Serialize;

use crate::advice::{self, Change};
use crate::memory::{Memory, Sizes, Workload};
use crate::speed::{self, Bound, EngineKind, Estimate, Traffic};
use crate::{Error, KvFormat, Machine, ModelShape, Result, Weights};

/// What is planned.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The model.
    pub model: &'a ModelShape,
    /// How its weights are packed.
    pub weights: &'a Weights,
    /// Where it runs.
    pub machine: &'a Machine,
    /// Sizes that are known better than by arithmetic.
    pub sizes: Sizes,
}

/// How it is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Tokens of each sequence; the first is planned, all of them stand in the table. Empty: a usual one.
    pub contexts: Vec<usize>,
    /// Sequences at once.
    pub concurrency: usize,
    /// How keys and values are stored.
    pub kv: KvFormat,
    /// Tokens in the cache for the speed of generation.
    pub depth: usize,
    /// Tokens of the prompt for the speed of reading.
    pub prompt: usize,
    /// Whose overheads are assumed.
    pub engine: EngineKind,
    /// Whether a context beyond the model's is planned.
    pub beyond: Beyond,
}

/// What happens to a context that is longer than the model was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused.
    Refused,
    /// It is planned.
    Planned,
}

/// The context that is planned if nobody says: what fits most conversations.
pub const USUAL_CONTEXT: usize = 8192;

/// The answer. Bytes are bytes; speeds are tokens a second of one sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The model's name.
    pub model: String,
    /// The machine's name.
    pub machine: String,
    /// Whose overheads are assumed.
    pub engine: &'static str,
    /// How the weights are packed.
    pub format: String,
    /// How keys and values are stored.
    pub kv_format: &'static str,
    /// Elements of all weights.
    pub parameters: u64,
    /// Elements that a token is multiplied with.
    pub active_parameters: u64,
    /// Mean bits of a weight.
    pub bits_per_weight: f64,
    /// Tokens of each sequence.
    pub context: usize,
    /// The most that the model was made for.
    pub model_context: usize,
    /// Sequences at once.
    pub concurrency: usize,
    /// Bytes of weights.
    pub weights_bytes: u64,
    /// Bytes that a token takes in all layers.
    pub kv_bytes_per_token: u64,
    /// Bytes of all keys and values: layers with a window keep it and a chunk of prompt.
    pub kv_bytes: u64,
    /// Bytes of intermediate results.
    pub workspace_bytes: u64,
    /// Bytes of the process besides.
    pub fixed_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
    /// Bytes that may be used, if the machine's memory is known.
    pub budget_bytes: Option<u64>,
    /// Bytes that may be had with other settings of the system.
    pub budget_most_bytes: Option<u64>,
    /// Where the budget comes from.
    pub budget_from: Option<&'static str>,
    /// Whether it fits the budget.
    pub fits: Option<bool>,
    /// Bytes left (below zero: missing).
    pub headroom_bytes: Option<i128>,
    /// The longest context that fits, at most the model's; 0 if none does.
    pub max_context: Option<usize>,
    /// The least packed format that fits at this context.
    pub largest_format: Option<String>,
    /// Tokens in the cache for [`Outcome::decode_tok_s`].
    pub depth: usize,
    /// Tokens of the prompt for [`Outcome::prefill_tok_s`].
    pub prompt: usize,
    /// Bytes that one decode step reads.
    pub decode_bytes: u64,
    /// Speed of generation; not known without a bandwidth, or for Lazuli where it was not calibrated.
    pub decode_tok_s: Option<Estimate>,
    /// Speed of all sequences together.
    pub decode_total_tok_s: Option<f64>,
    /// What a decode step can never exceed: bytes over bandwidth.
    pub decode_ceiling_tok_s: Option<f64>,
    /// Speed of reading a prompt, where the machine's arithmetic is known.
    pub prefill_tok_s: Option<Estimate>,
    /// Seconds to the first token, likewise.
    pub first_token_s: Option<f64>,
    /// What limits generation.
    pub bound_by: Option<Bound>,
    /// What limits reading.
    pub prefill_bound_by: Option<Bound>,
    /// The same for each context that was asked for.
    pub table: Vec<Row>,
    /// What would make it fit, with the figures.
    pub changes: Vec<Change>,
}

/// One context of [`Outcome::table`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Tokens of each sequence.
    pub context: usize,
    /// Sequences at once.
    pub concurrency: usize,
    /// Bytes of all keys and values.
    pub kv_bytes: u64,
    /// Bytes of everything.
    pub total_bytes: u64,
    /// Whether it fits.
    pub fits: Option<bool>,
    /// Speed of generation with the context full.
    pub decode_tok_s: Option<Estimate>,
}

impl Options {
    /// One sequence of a usual length on `engine`.
    pub fn new(engine: EngineKind) -> Self {
        Self {
            contexts: Vec::new(),
            concurrency: 1,
            kv: KvFormat::F16,
            depth: 512,
            prompt: 512,
            engine,
            beyond: Beyond::Refused,
        }
    }

    pub(crate) fn load(&self, context: usize) -> Workload {
        Workload { context, concurrency: self.concurrency, kv: self.kv }
    }
}

impl Source<'_> {
    pub(crate) fn memory(&self, options: &Options, context: usize) -> Memory {
        Memory::of(self.model, self.weights, &options.load(context), self.sizes)
    }

    /// The longest context that fits `budget`, at most the model's.
    pub fn longest(&self, options: &Options, budget: u64) -> usize {
        let fits = |context: usize| self.memory(options, context).total() <= budget;
        if !fits(1) {
            return 0;
        }
        let (mut least, mut most) = (1, self.model.context.max(1));
        if fits(most) {
            return most;
        }
        // Memory grows with the context, so that halving finds the border.
        while most - least > 1 {
            let middle = usize::midpoint(least, most);
            if fits(middle) { least = middle } else { most = middle }
        }
        least
    }

    fn decode(&self, options: &Options, depth: usize) -> Result<Option<(Estimate, Bound, Traffic)>> {
        let unknown = options.engine == EngineKind::Lazuli && self.machine.measured.is_none();
        if unknown || self.machine.bandwidth.0 <= 0.0 {
            return Ok(None);
        }
        let traffic = Traffic::decode(self.model, self.weights, options.kv, depth, options.concurrency);
        let (estimate, bound) = speed::decode(self.machine, options.engine, &traffic)?;
        Ok(Some((estimate, bound, traffic)))
    }

    fn row(&self, options: &Options, context: usize, budget: Option<u64>) -> Result<Row> {
        let memory = self.memory(options, context);
        Ok(Row {
            context,
            concurrency: options.concurrency,
            kv_bytes: memory.kv,
            total_bytes: memory.total(),
            fits: budget.map(|budget| memory.total() <= budget),
            decode_tok_s: self.decode(options, context)?.map(|(estimate, ..)| estimate),
        })
    }
}

/// Plans a model on a machine.
///
/// # Errors
/// [`Error::BeyondContext`], or [`Error::Value`] for sizes of zero.
pub fn plan(source: &Source, options: &Options) -> Result<Outcome> {
    let Source { model, weights, machine, .. } = *source;
    let usual = [USUAL_CONTEXT.min(model.context)];
    let contexts = if options.contexts.is_empty() { &usual[..] } else { &options.contexts };
    check(model, options, contexts)?;
    let context = contexts[0];
    let memory = source.memory(options, context);
    let total = memory.total();
    let budget = machine.budget();
    let safe = budget.map(|budget| budget.safe);
    let decode = source.decode(options, options.depth)?;
    let ceiling = |(_, _, t): &(Estimate, Bound, Traffic)| machine.bandwidth.1 / (t.weights + t.kv);
    let prefill = speed::prefill(machine, model, weights, options.prompt);
    Ok(Outcome {
        model: model.name.clone(),
        machine: machine.name.clone(),
        engine: options.engine.name(),
        format: weights.name().to_owned(),
        kv_format: options.kv.name(),
        parameters: model.parameters(),
        active_parameters: model.active_parameters(),
        bits_per_weight: weights.bits(model),
        context,
        model_context: model.context,
        concurrency: options.concurrency,
        weights_bytes: memory.weights,
        kv_bytes_per_token: model.kv_bytes_per_token(options.kv) as u64,
        kv_bytes: memory.kv,
        workspace_bytes: memory.workspace,
        fixed_bytes: memory.fixed,
        total_bytes: total,
        budget_bytes: safe,
        budget_most_bytes: budget.map(|budget| budget.most),
        budget_from: budget.map(|budget| budget.why),
        fits: safe.map(|safe| total <= safe),
        headroom_bytes: safe.map(|safe| i128::from(safe) - i128::from(total)),
        max_context: safe.map(|safe| source.longest(options, safe)),
        largest_format: safe.and_then(|safe| advice::largest_format(source, options, context, safe)),
        depth: options.depth,
        prompt: options.prompt,
        decode_bytes: decode.as_ref().map_or_else(
            || Traffic::decode(model, weights, options.kv, options.depth, options.concurrency).weights as u64,
            |(_, _, t)| (t.weights + t.kv) as u64,
        ),
        decode_tok_s: decode.as_ref().map(|d| d.0),
        decode_total_tok_s: decode.as_ref().map(|d| d.0.p50 * options.concurrency as f64),
        decode_ceiling_tok_s: decode.as_ref().map(ceiling),
        prefill_tok_s: prefill.as_ref().map(|p| p.0),
        first_token_s: prefill.as_ref().map(|p| options.prompt as f64 / p.0.p50),
        bound_by: decode.as_ref().map(|d| d.1),
        prefill_bound_by: prefill.as_ref().map(|p| p.1),
        table: contexts.iter().map(|&n| source.row(options, n, safe)).collect::<Result<_>>()?,
        changes: safe.map_or_else(Vec::new, |safe| advice::changes(source, options, context, safe)),
    })
}

fn check(model: &ModelShape, options: &Options, contexts: &[usize]) -> Result<()> {
    let above_zero = |what, number: usize| match number {
        0 => Err(Error::value(what, "0", "expected a number above zero")),
        _ => Ok(()),
    };
    above_zero("concurrency", options.concurrency)?;
    above_zero("prompt", options.prompt)?;
    for &context in contexts.iter().chain([&options.depth, &options.prompt]) {
        if context > model.context && options.beyond == Beyond::Refused {
            return Err(Error::BeyondContext {
                model: model.name.clone(),
                asked: context,
                most: model.context,
            });
        }
    }
    contexts.iter().try_for_each(|&context| above_zero("context", context))
}
