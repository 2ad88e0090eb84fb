//! How a command fails: the error that leaves it, how it is told, and its exit code.

use super::Context;
use super::ui::Paint;
use lazuli::store::StoreError;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Why a command did not succeed. Any error converts into [`Failure::Error`] with `?`.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong (exit code 1). One lower-case sentence with the way out.
    Error(String),
    /// The arguments make no sense together (exit code 2).
    Usage(String),
    /// The command has told its result itself and the result is a failure (exit code 1, nothing printed).
    Told,
    /// The user pressed Ctrl-C (exit code 130, nothing printed).
    Interrupted,
}

impl Failure {
    /// A failure with a message: `Failure::error(format!("..."))`.
    pub fn error(message: impl Into<String>) -> Self {
        Failure::Error(message.into())
    }

    /// Wrong usage with a message.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::Usage(message.into())
    }

    /// Prints the failure to stderr (as `{"error": ...}` under `--json`) and gives the exit code.
    pub(super) fn report(self, cx: &Context) -> ExitCode {
        if cx.out().pipe_closed() {
            return ExitCode::SUCCESS;
        }
        let (message, code) = match self {
            Failure::Error(message) => (message, 1),
            Failure::Usage(message) => (message, 2),
            Failure::Told => return ExitCode::from(1),
            Failure::Interrupted => return ExitCode::from(130),
        };
        if cx.json() {
            anstream::eprintln!("{}", serde_json::json!({ "error": message }));
        } else {
            anstream::eprintln!("{} {message}", "error:".error());
        }
        ExitCode::from(code)
    }
}

/// The error and its causes as one sentence; a cause that the message already contains is not said twice.
impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let whole: &(dyn std::error::Error + 'static) = &error;
        if let Some(StoreError::Interrupted) = whole.downcast_ref() {
            return Failure::Interrupted;
        }
        let is_argument = whole.downcast_ref().is_some_and(lazuli::planner::Error::is_argument);
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            source = cause.source();
        }
        if is_argument { Failure::Usage(message) } else { Failure::Error(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the model")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_the_message_once() {
        let Failure::Error(text) = Failure::from(Outer(std::io::Error::other("disk on fire"))) else {
            panic!("an error becomes Failure::Error")
        };
        assert_eq!(text, "cannot read the model: disk on fire");
        let Failure::Error(text) = Failure::from(std::io::Error::other(std::io::Error::other("twice")))
        else {
            panic!("an error becomes Failure::Error")
        };
        assert_eq!(text, "twice");
        assert!(matches!(Failure::from(StoreError::Interrupted), Failure::Interrupted));
    }
}
