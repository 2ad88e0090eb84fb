//! The engine's thread with a tiny random model on the reference interpreter.

#![allow(clippy::unwrap_used)] // Helpers of tests stop at the first fault too.

mod tiny;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lazuli_core::Runtime;
use lazuli_engine::reasoning::{Marks, Part};
use lazuli_engine::{
    Engine, EngineOptions, EngineStats, Error, Event, FinishReason, Reasoning, Request, SamplingParams,
};
use tiny::{DECODE_BYTES, FAILS, PANICS, Tiny, VOCABULARY, Words, alone, engine, greedy, options, prompt};

/// Waits until the engine has no work, or fails after a while.
fn settled(engine: &Engine) -> EngineStats {
    let start = Instant::now();
    loop {
        let stats = engine.stats().unwrap();
        if stats.running + stats.waiting == 0 {
            return stats;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "still busy: {stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn eight_prompts_together_give_what_each_gives_alone() {
    let lengths = [1, 3, 70, 17, 128, 40, 64, 9];
    let requests = || (0u64..).zip(lengths).map(|(seed, len)| greedy(prompt(seed, len), 20));
    // Chunks much shorter than the prompts, so that parts of prompts and single tokens share steps.
    let engine = engine(EngineOptions { prefill_chunk: 24, ..options(256) });
    let streams: Vec<_> = requests().map(|request| engine.submit(request)).collect();
    let together: Vec<_> = streams.into_iter().map(|stream| stream.wait().unwrap()).collect();
    let mut kinds = BTreeSet::new();
    for (answer, request) in together.iter().zip(requests()) {
        assert_eq!(answer.tokens, alone(request).tokens);
        assert_eq!((answer.reason, answer.tokens.len()), (FinishReason::Length, 20));
        kinds.extend(answer.tokens.iter().copied());
    }
    assert!(kinds.len() > 20, "the tiny model says always the same: {kinds:?}");
    let stats = engine.stats().unwrap();
    assert_eq!(stats.generated_tokens, 8 * 20);
    assert_eq!(stats.prompt_tokens, lengths.iter().sum::<usize>() as u64);
    // Steps were shared: alone, generating takes 20 steps each.
    assert!(stats.steps < 100, "{stats:?}");
}

#[test]
fn a_step_takes_no_more_of_prompts_than_a_chunk() {
    let model = Tiny::new();
    let largest = model.largest.clone();
    let with = EngineOptions { prefill_chunk: 16, ..options(128) };
    let engine = Engine::start(Box::new(model), Runtime::reference(), with).unwrap();
    let streams: Vec<_> = (0..3).map(|seed| engine.submit(greedy(prompt(seed, 50), 4))).collect();
    for stream in streams {
        stream.wait().unwrap();
    }
    let most = largest.load(Ordering::Relaxed);
    assert!((16..=18).contains(&most), "{most}");
}

#[test]
fn decode_steps_find_their_plan() {
    let engine = engine(options(384));
    let mut stream = engine.submit(greedy(prompt(1, 20), 310));
    let mut seen = 0;
    let mut misses = 0;
    for event in &mut stream {
        if let Event::Token { .. } = event {
            seen += 1;
        }
        if seen == 4 && misses == 0 {
            misses = engine.stats().unwrap().runtime.plan_misses;
        }
    }
    assert_eq!(seen, 310);
    let runtime = engine.stats().unwrap().runtime;
    // One plan for the prompt and one for a token.
    assert_eq!((misses, runtime.plan_misses), (2, 2));
    assert!(runtime.plan_hits >= 308, "{runtime:?}");
}

#[test]
fn the_events_come_in_order_with_their_figures() {
    let engine = engine(options(128));
    let request = Request { seed: Some(7), logprobs: true, ..greedy(prompt(3, 10), 5) };
    let events: Vec<Event> = engine.submit(request).collect();
    assert!(matches!(events[0], Event::Started { prompt_tokens: 10, reused: 0, seed: 7 }), "{:?}", events[0]);
    for event in &events[1..6] {
        let Event::Token { logprob: Some(logprob), .. } = event else { panic!("{event:?}") };
        assert!((-10.0..0.0).contains(logprob));
    }
    let Event::Finished { reason: FinishReason::Length, stats } = events[6] else {
        panic!("{:?}", events[6])
    };
    assert_eq!(events.len(), 7);
    assert_eq!((stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens), (10, 0, 5));
    assert!(stats.prefill_seconds > 0.0 && stats.decode_seconds > 0.0);
    assert!(stats.first_token_seconds >= stats.prefill_seconds + stats.queue_seconds - 1e-6);
    // From 10 to 15 tokens; two layers keep 2 heads of 8 numbers of 4 bytes, keys and values, of each.
    assert_eq!(stats.bytes_per_token, DECODE_BYTES as u64 + 12 * (2 * 2 * 2 * 8 * 4));
    assert!(stats.prefill_rate() > 0.0 && stats.decode_rate() > 0.0);
}

#[test]
fn cancelling_ends_a_text_and_frees_its_pages() {
    let engine = engine(EngineOptions { pool_tokens: None, ..options(2048) });
    let mut stream = engine.submit(Request::new(prompt(1, 10)));
    let waits = engine.submit(Request::new(prompt(2, 10)));
    let first: Vec<Event> = stream.by_ref().take(4).collect();
    assert!(matches!(first[3], Event::Token { .. }));
    // Each may fill the whole pool, so the second waits for the first.
    let stats = engine.stats().unwrap();
    assert_eq!((stats.running, stats.waiting, stats.promised_pages), (1, 1, stats.pages));
    waits.cancel();
    let events: Vec<Event> = waits.collect();
    assert!(matches!(events[..], [Event::Finished { reason: FinishReason::Cancelled, .. }]), "{events:?}");
    stream.cancel();
    let Some(Event::Finished { reason, stats }) = stream.last() else { panic!("no end") };
    assert_eq!(reason, FinishReason::Cancelled);
    assert!((3..2000).contains(&stats.generated_tokens));
    assert_eq!(engine.stats().unwrap().promised_pages, 0);
    assert_eq!(engine.submit(greedy(prompt(4, 5), 6)).wait().unwrap().tokens.len(), 6);
}

#[test]
fn a_dropped_stream_is_cancelled() {
    let engine = engine(options(2048));
    let mut stream = engine.submit(Request::new(prompt(1, 10)));
    assert!(stream.next().is_some());
    drop(stream);
    assert!(settled(&engine).generated_tokens < 2000);
}

#[test]
fn reasoning_is_a_stream_of_its_own() {
    let with_text = |request: Request| Request { text: Some(Box::new(Words)), ..request };
    let free = alone(with_text(greedy(prompt(5, 12), 12)));
    assert_eq!(free.reasoning, "");
    let at = (3..12).find(|&i| !free.tokens[..i].contains(&free.tokens[i])).unwrap();
    let close = free.tokens[at];
    let marks = Marks::Tokens { open: 60, close };
    let (words, word) = (free.text.split_inclusive(' ').collect::<Vec<_>>(), format!("w{close} "));
    let behind: String = words[at..].iter().filter(|w| **w != word).copied().collect();
    let split = |first, stop_strings| {
        let reasoning = Some(Reasoning { marks: marks.clone(), first });
        alone(with_text(Request { reasoning, stop_strings, ..greedy(prompt(5, 12), 12) }))
    };
    let found = split(Part::Reasoning, Vec::new());
    assert_eq!((&found.reasoning, &found.text), (&words[..at].concat(), &behind));
    let found = split(Part::Answer, Vec::new());
    assert_eq!(found.text, words[..at].concat() + &behind);
    // Stop strings concern the answer: one that the reasoning has does not end it.
    let found = split(Part::Reasoning, vec![words[0].to_owned()]);
    assert_eq!(found.reasoning, words[..at].concat());
    let found = split(Part::Answer, vec![words[0].to_owned()]);
    assert_eq!((found.reason, found.text.as_str()), (FinishReason::StopString { index: 0 }, ""));
}

#[test]
fn stop_tokens_and_stop_strings_end_the_text() {
    let with_text = |request: Request| Request { text: Some(Box::new(Words)), ..request };
    let free = alone(with_text(greedy(prompt(5, 12), 12)));
    assert_eq!((free.reason, free.tokens.len()), (FinishReason::Length, 12));
    let text = free.tokens.iter().fold(String::new(), |text, id| format!("{text}w{id} "));
    assert_eq!(free.text, text);

    // A token that has not come before its place.
    let at = (3..12).find(|&i| !free.tokens[..i].contains(&free.tokens[i])).unwrap();
    let stop = free.tokens[at];
    let stopped = alone(with_text(Request { stop_tokens: vec![60, stop], ..greedy(prompt(5, 12), 12) }));
    assert_eq!((stopped.reason, &stopped.tokens[..]), (FinishReason::Stop, &free.tokens[..=at]));
    assert_eq!(stopped.text, text[..text.find(&format!("w{stop} ")).unwrap()]);

    // A string from the middle of one word to the middle of the next.
    let border = text.match_indices(' ').nth(at - 1).unwrap().0;
    let string = text[border - 1..border + 3].to_owned();
    let strings = vec!["never".to_owned(), string.clone()];
    let stopped = alone(with_text(Request { stop_strings: strings, ..greedy(prompt(5, 12), 12) }));
    assert_eq!(stopped.reason, FinishReason::StopString { index: 1 });
    assert_eq!(stopped.text, text[..text.find(&string).unwrap()]);
}

#[test]
fn the_context_is_the_end() {
    let engine = engine(options(32));
    let answer = engine.submit(Request::new(prompt(1, 20))).wait().unwrap();
    // 12 tokens fill the context, and the last one needs no place in it.
    assert_eq!((answer.reason, answer.tokens.len()), (FinishReason::Context, 13));
    let full = engine.submit(Request::new(prompt(1, 32))).wait().unwrap();
    assert_eq!((full.reason, full.tokens.len()), (FinishReason::Context, 1));
    let error = engine.submit(Request::new(prompt(1, 33))).wait().unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { tokens: 33, context: 32 }), "{error}");
}

#[test]
fn requests_that_cannot_work_are_refused() {
    let engine = engine(options(32));
    let refused = |request: Request| engine.submit(request).wait().unwrap_err().to_string();
    assert!(refused(Request::new(Vec::new())).contains("no tokens"));
    assert!(
        refused(Request::new(vec![VOCABULARY as u32])).contains("token 67, but the model has tokens 0 to 66")
    );
    let hot = SamplingParams { temperature: -1.0, ..SamplingParams::default() };
    assert!(refused(Request { sampling: hot, ..Request::new(vec![1]) }).contains("temperature"));
    let all = (0..VOCABULARY as u32).map(|id| (id, f32::NEG_INFINITY)).collect();
    let none = SamplingParams { logit_bias: all, ..SamplingParams::default() };
    assert!(refused(Request { sampling: none, ..Request::new(vec![1]) }).contains("no token can be chosen"));
    let small = EngineOptions { pool_tokens: Some(31), ..options(32) };
    let error = Engine::start(Box::new(Tiny::new()), Runtime::reference(), small).unwrap_err();
    assert_eq!(error.to_string(), "pool_tokens is 31, expected at least 32");
}

#[test]
fn the_seed_fixes_a_sampled_text() {
    let sampling = SamplingParams {
        temperature: 1.5,
        top_k: 40,
        top_p: 0.95,
        repetition_penalty: 1.1,
        ..SamplingParams::default()
    };
    let request = |seed| Request { seed: Some(seed), sampling: sampling.clone(), ..greedy(prompt(1, 8), 24) };
    let engine = engine(options(128));
    let streams = [5, 6, 5].map(|seed| engine.submit(request(seed)));
    let [a, b, c] = streams.map(|stream| stream.wait().unwrap().tokens);
    assert_eq!(a, c);
    assert_ne!(a, b);
    assert_eq!(a, alone(request(5)).tokens);
}

#[test]
fn a_known_beginning_is_not_computed_again() {
    let engine = engine(options(512));
    let mut talk = prompt(1, 100);
    for turn in 0..3 {
        let answer = engine.submit(greedy(talk.clone(), 10)).wait().unwrap();
        assert_eq!(answer.tokens, alone(greedy(talk.clone(), 10)).tokens, "turn {turn}");
        // The last token of each answer was never fed.
        let known = if turn == 0 { 0 } else { talk.len() - 5 - 1 };
        assert_eq!(answer.stats.cached_tokens, known, "turn {turn}");
        talk.extend(answer.tokens);
        talk.extend(prompt(turn + 50, 5));
    }
    // Another text with the same 70 first tokens reads the first page, and the talk stays as it is.
    let mut other = talk[..70].to_vec();
    other.extend(prompt(99, 30));
    let answer = engine.submit(greedy(other.clone(), 10)).wait().unwrap();
    assert_eq!((answer.stats.cached_tokens, answer.tokens), (64, alone(greedy(other, 10)).tokens));
    let again = engine.submit(greedy(talk.clone(), 10)).wait().unwrap();
    assert_eq!(again.stats.cached_tokens, talk.len() - 5 - 1);
    assert_eq!(again.tokens, alone(greedy(talk, 10)).tokens);
}

#[test]
fn running_texts_share_their_beginning() {
    let engine = engine(options(512));
    let base = prompt(1, 130);
    let mut first = engine.submit(greedy(base.clone(), 200));
    assert!(matches!(first.nth(1), Some(Event::Token { .. })));
    let mut other = base[..129].to_vec();
    other.extend([1, 2, 3]);
    let answer = engine.submit(greedy(other.clone(), 10)).wait().unwrap();
    assert_eq!((answer.stats.cached_tokens, answer.tokens), (128, alone(greedy(other, 10)).tokens));
    assert!(engine.stats().unwrap().running == 1, "the first has ended too early to show anything");
    drop(first);
}

#[test]
fn a_small_pool_serves_many_one_after_another() {
    // Room for two sequences of 100 tokens; kept ones make room for new ones.
    let engine = engine(EngineOptions { pool_tokens: Some(256), ..options(128) });
    let streams: Vec<_> = (0..7).map(|seed| engine.submit(greedy(prompt(seed, 90), 10))).collect();
    for (seed, stream) in (0..7).zip(streams) {
        assert_eq!(stream.wait().unwrap().tokens, alone(greedy(prompt(seed, 90), 10)).tokens, "seed {seed}");
    }
    let stats = engine.stats().unwrap();
    assert_eq!((stats.pages, stats.running, stats.waiting, stats.promised_pages), (4, 0, 0, 0));
    assert_eq!((stats.kept, stats.free_pages), (2, 0));
}

#[test]
fn a_panic_and_a_failed_evaluation_cost_only_their_request() {
    let engine = engine(EngineOptions { prefill_chunk: 8, ..options(256) });
    let before = engine.submit(greedy(prompt(8, 90), 5)).wait().unwrap();
    for (token, words) in [(PANICS, "panicked"), (FAILS, "the forward pass failed: ")] {
        let mut broken = prompt(9, 200);
        *broken.last_mut().unwrap() = token;
        let broken = engine.submit(greedy(broken, 5));
        // This one's prompt has to wait for the other's, so it takes no part in the step that fails.
        let other = engine.submit(greedy(prompt(8, 90), 5));
        let error = broken.wait().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(other.wait().unwrap().tokens, before.tokens);
    }
    assert_eq!(engine.submit(greedy(prompt(8, 90), 5)).wait().unwrap().tokens, before.tokens);
}

#[test]
fn shutting_down_ends_all_streams() {
    let engine = engine(EngineOptions { max_sequences: 2, ..options(2048) });
    let mut streams: Vec<_> = (0..4).map(|seed| engine.submit(Request::new(prompt(seed, 10)))).collect();
    assert!(matches!(streams[0].nth(1), Some(Event::Token { .. })));
    drop(engine);
    for stream in streams {
        let last = stream.last();
        assert!(matches!(last, Some(Event::Finished { reason: FinishReason::Cancelled, .. })), "{last:?}");
    }
}

#[test]
fn nothing_comes_after_the_end() {
    let engine = engine(options(32));
    let mut stream = engine.submit(greedy(prompt(1, 4), 2));
    assert_eq!(stream.by_ref().count(), 4);
    assert!(stream.next().is_none());
    assert!(stream.next_within(Duration::from_secs(5)).is_none());
    assert!(stream.id() < engine.submit(greedy(prompt(1, 4), 2)).id());
}
