//! Text from the library: a question in the model's chat format, the answer as it comes.
//!
//! `cargo run --release --example generate -- smollm2 "What is unified memory?"`

use std::io::Write;

use lazuli::Model;
use lazuli::backends::RuntimeOptions;
use lazuli::engine::{Engine, EngineOptions, Event, Request, SamplingParams};
use lazuli::io::{Message, Position, StreamDecoder};
use lazuli::store::{self, FetchPolicy, ModelRef};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "smollm2".to_owned());
    let question = arguments.next().unwrap_or_else(|| "What is unified memory?".to_owned());

    // A name becomes a path; what is not on this machine is fetched.
    let found = store::resolve(&ModelRef::parse(&name)?, FetchPolicy::IfMissing)?;

    // Opening maps the files. Network, tokenizer and template are made from them one by one.
    let model = Model::open(&found.path)?;
    let tokenizer = model.tokenizer()?;
    let (prompt, reasoning) = match model.chat_template()? {
        Some(template) => {
            let messages = [Message::new("user", question.as_str())];
            let prompt = lazuli::chat_prompt(&tokenizer, &template, &messages, &serde_json::Map::new())?;
            (prompt.tokens, prompt.reasoning)
        }
        None => (lazuli::text_prompt(&tokenizer, &question), None),
    };

    // The engine is a thread of its own; requests go in, events come out.
    let runtime = RuntimeOptions::default().runtime()?;
    let engine = Engine::start(model.causal_lm()?, runtime, EngineOptions::default())?;
    let stream = engine.submit(Request {
        max_tokens: Some(200),
        sampling: SamplingParams { temperature: 0.7, min_p: 0.05, ..SamplingParams::default() },
        stop_tokens: tokenizer.eog().to_vec(),
        text: Some(Box::new(StreamDecoder::new(&tokenizer, Position::Start))),
        // What the model says to itself comes as `reasoning` of the events, and is left out here.
        reasoning,
        ..Request::new(prompt)
    });
    for event in stream {
        match event {
            Event::Started { .. } => {}
            Event::Token { text, .. } => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            Event::Finished { stats, .. } => {
                println!("\n\n{} tokens, {:.1} a second", stats.generated_tokens, stats.decode_rate());
            }
            Event::Failed { error } => return Err(error.into()),
        }
    }
    Ok(())
}
