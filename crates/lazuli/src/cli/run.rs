//! `lazuli run`: one prompt, one answer, streamed.

use std::io::{IsTerminal, Read};
use std::time::Instant;

use lazuli::engine::FinishReason;
use lazuli::io::Message;
use serde_json::json;

use super::conversation::{self, Talker};
use super::generation::{Generation, Think};
use super::{Context, Failure};

/// Answer a prompt
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "lazuli run [OPTIONS] [MODEL] <PROMPT>",
    after_help = "\
Examples:
  lazuli run \"What is unified memory?\"                  the default model
  lazuli run model.gguf \"Write a haiku\" --temp 0.8
  lazuli run org/name:Q4_K_M --system \"Be brief.\" \"Why is the sky blue?\"
  lazuli run model.gguf --raw \"Once upon a time\" -n 64   no chat template
  git diff | lazuli run model.gguf \"Summarise this change:\" -

A prompt of `-` is read from standard input; together with a prompt before it, it follows that."
)]
pub struct Args {
    /// The prompt; a model may stand before it
    #[arg(value_name = "PROMPT", required = true, num_args = 1..=3)]
    words: Vec<String>,
    /// Give the prompt to the model as it stands, without its chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    #[command(flatten)]
    generation: Generation,
}

/// Streams the answer to stdout, or prints `{"model", "text", "reasoning", "finish_reason", "stats"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let start = Instant::now();
    let (model, prompt) = prompt(&args.words)?;
    let talker = Talker::open(cx, model, &args.generation.limits)?;
    let generation = &args.generation;
    let prompt = if args.raw || !talker.has_template() {
        if !generation.variables.is_empty() {
            return Err(Failure::usage(
                "--set is for the chat template, and there is none (or --raw leaves it out)",
            ));
        }
        if !args.raw {
            cx.ui().note("the model has no chat template: the prompt is given as it stands, as with --raw");
        }
        talker.raw_prompt(&prompt)
    } else {
        let system = generation.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", prompt)]).collect();
        talker.chat_prompt(&messages, generation)?
    };
    let answer = talker.answer(cx, prompt, generation)?;
    if cx.json() {
        cx.print_json(&json!({
            "model": talker.label,
            "text": (generation.think != Think::Only).then_some(&answer.text),
            "reasoning": (generation.think != Think::Hide).then_some(&answer.reasoning),
            "finish_reason": conversation::reason_name(answer.reason),
            "stats": conversation::stats_json(&answer.stats, start, talker.threads),
        }))?;
    } else {
        let shown = if generation.think == Think::Only { &answer.reasoning } else { &answer.text };
        if !shown.ends_with('\n') {
            cx.out().text("\n")?;
        }
        if answer.reason == FinishReason::Context {
            cx.ui().note("the context is full: ask for more with --context");
        }
        if generation.stats {
            anstream::eprintln!("\n{}", conversation::stats_text(&answer.stats, talker.threads));
        }
    }
    if answer.reason == FinishReason::Cancelled { Err(Failure::Interrupted) } else { Ok(()) }
}

/// Which words are the model and which the prompt. A lone word is the prompt.
fn prompt(words: &[String]) -> Result<(Option<&str>, String), Failure> {
    let piped = |before: &str| {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok::<_, Failure>(if before.is_empty() { text } else { format!("{before}\n\n{text}") })
    };
    let (model, prompt) = match words {
        [prompt] if prompt == "-" => (None, piped("")?),
        [prompt] => (None, prompt.clone()),
        [model, prompt] if prompt == "-" => (Some(model.as_str()), piped("")?),
        [model, prompt] => (Some(model.as_str()), prompt.clone()),
        [model, before, last] if last == "-" => (Some(model.as_str()), piped(before)?),
        _ => {
            let hint = "put the prompt in quotes: lazuli run MODEL \"PROMPT\"";
            return Err(Failure::usage(format!(
                "expected a model and a prompt, found {} words: {hint}",
                words.len()
            )));
        }
    };
    if prompt.trim().is_empty() {
        let from = if std::io::stdin().is_terminal() { "" } else { " (nothing came from standard input)" };
        return Err(Failure::usage(format!("the prompt is empty{from}")));
    }
    Ok((model, prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_model_may_be_left_out() {
        let lone = words(&["Why?"]);
        assert!(matches!(prompt(&lone), Ok((None, text)) if text == "Why?"));
        let both = words(&["m.gguf", "Why?"]);
        assert!(matches!(prompt(&both), Ok((Some("m.gguf"), text)) if text == "Why?"));
        assert!(matches!(prompt(&words(&["m", "two", "words"])), Err(Failure::Usage(_))));
        assert!(matches!(prompt(&words(&["m", " "])), Err(Failure::Usage(_))));
    }
}
