//! Shows what the store fetches: a bar for a file, a counter where the length is not known.

use super::ui::{Ui, bytes};
use indicatif::ProgressBar;
use lazuli::store::Progress;
use std::cell::RefCell;

/// Draws on stderr; stops the fetch when `stopped` says so.
pub(super) struct Bars<F> {
    ui: Ui,
    stopped: F,
    current: RefCell<Option<Current>>,
}

struct Current {
    bar: ProgressBar,
    label: String,
    has_total: bool,
}

impl<F: Fn() -> bool> Bars<F> {
    pub fn new(ui: Ui, stopped: F) -> Self {
        Bars { ui, stopped, current: RefCell::new(None) }
    }
}

impl<F: Fn() -> bool> Progress for Bars<F> {
    fn begin(&self, file: &str, total: Option<u64>, already: u64) {
        let label = file.rsplit('/').next().unwrap_or(file).to_owned();
        let bar = match total {
            Some(total) => self.ui.bytes_bar(&label, total),
            None => self.ui.spinner(&label),
        };
        bar.set_position(already);
        // What was here before does not count for the speed.
        bar.reset_eta();
        *self.current.borrow_mut() = Some(Current { bar, label, has_total: total.is_some() });
    }

    fn at(&self, count: u64) {
        if let Some(current) = &*self.current.borrow() {
            current.bar.set_position(count);
            if !current.has_total {
                current.bar.set_message(format!("{}  {}", current.label, bytes(count)));
            }
        }
    }

    fn end(&self) {
        if let Some(current) = self.current.take() {
            current.bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        match &*self.current.borrow() {
            Some(current) => current.bar.suspend(|| self.ui.note(text)),
            None => self.ui.note(text),
        }
    }

    fn stopped(&self) -> bool {
        (self.stopped)()
    }
}
