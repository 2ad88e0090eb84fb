//! What a command is given: the global options, stdout, stderr and the Ctrl-C flag.

use super::bars::Bars;
use super::ui::Ui;
use super::{Failure, Global};
use lazuli::store::{FetchPolicy, ModelRef, Resolved, Store};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The surroundings of a running command.
#[derive(Debug)]
pub struct Context {
    global: Global,
    out: Out,
    ui: Ui,
    interrupt: Arc<OnceLock<Interrupt>>,
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        Context {
            global,
            out: Out::default(),
            ui: Ui::new(global.quiet || global.json),
            interrupt: Arc::default(),
        }
    }

    /// True under `--json`: one JSON value on stdout, nothing else.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// Stdout, for what was asked for.
    pub fn out(&self) -> &Out {
        &self.out
    }

    /// Stderr, for progress and remarks.
    pub fn ui(&self) -> Ui {
        self.ui
    }

    /// The Ctrl-C flag; the handler is installed by the first call. A command that never asks dies by the signal.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.get_or_init(Interrupt::install).clone()
    }

    /// The store that the environment describes, which shows what it fetches and stops at Ctrl-C.
    pub fn store(&self) -> Result<Store, Failure> {
        let interrupt = Arc::clone(&self.interrupt);
        let stopped = move || interrupt.get_or_init(Interrupt::install).is_set();
        Ok(Store::from_env()?.with_progress(Box::new(Bars::new(self.ui, stopped))))
    }

    /// The model that a command line names, or the default one, fetched if it is not here.
    pub fn model(&self, reference: Option<&str>) -> Result<Resolved, Failure> {
        let store = self.store()?;
        let model = match reference {
            Some(text) => ModelRef::parse(text)?,
            None => store.default_model()?,
        };
        Ok(store.resolve(&model, FetchPolicy::IfMissing)?)
    }

    /// Prints a value as one line of JSON.
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)?;
        Ok(self.out().line(&text)?)
    }
}

/// Stdout that strips colours where they are not wanted and remembers that its reader went away.
///
/// A write to a closed pipe fails like any other, so that `?` ends the command, which then counts as a success.
#[derive(Debug, Default)]
pub struct Out {
    closed: AtomicBool,
}

impl Out {
    /// Writes text and flushes it: for streamed answers.
    pub fn text(&self, text: &str) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        self.watch(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Writes text and a line feed.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        self.watch(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")))
    }

    /// True once a write found that nobody reads any more.
    pub fn pipe_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Flushes what is left; called at the end of every command.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        Ok(self.watch(io::stdout().flush())?)
    }

    fn watch(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.closed.store(true, Ordering::Relaxed);
            }
        }
        result
    }
}

/// A flag that Ctrl-C sets. Long work looks at it and stops; a second Ctrl-C before that ends the process with 130.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn install() -> Self {
        let interrupt = Interrupt::default();
        let flag = interrupt.clone();
        // Where no handler can be installed, Ctrl-C keeps its default meaning, which is an acceptable way to stop.
        let _ = ctrlc::set_handler(move || {
            if flag.0.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        interrupt
    }

    /// True after Ctrl-C.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Forgets the last Ctrl-C: `chat` calls it before each answer.
    pub fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// `Err(Failure::Interrupted)` after Ctrl-C, for `?` in loops.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_set() { Err(Failure::Interrupted) } else { Ok(()) }
    }
}
