//! The Jinja environment that chat templates expect.

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python_json::{Layout, to_python_json};
use super::time::strftime;

/// The name of the one template in an environment.
pub(super) const NAME: &str = "chat";

/// Steps that a template may take, where 64 bytes of text count as one: a tenth of a second or two.
pub(super) const FUEL: u64 = 4_000_000;

/// Frames that macros and loops may nest.
const DEPTH: usize = 200;

/// Compiles `source` in a fresh environment.
pub(super) fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_recursion_limit(DEPTH);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(print_as_python);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_filter("tojson", to_json);
    // Templates ask `tools is iterable` to know whether there are any; for Python, `None` is not.
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", raise_exception);
    environment.add_template_owned(NAME, replace_generation_tags(source))?;
    Ok(environment)
}

/// Sets what `strftime_now` prints.
pub(super) fn set_time(environment: &mut Environment<'static>, now: SystemTime) {
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
}

/// The error in one line; what a template raised stands for itself.
pub(super) fn explain(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it does not come to an end".to_owned();
    }
    let place = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    match error.detail() {
        Some(detail) => format!("{detail}{place}"),
        None => format!("{}{place}", error.kind()),
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn print_as_python(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let word = match (value.is_none(), value.is_true(), value.kind()) {
        (true, ..) => "None",
        (_, true, minijinja::value::ValueKind::Bool) => "True",
        (_, false, minijinja::value::ValueKind::Bool) => "False",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(word).map_err(Error::from)
}

#[allow(clippy::needless_pass_by_value)] // The signature is what the engine calls.
/// `transformers`' `tojson`: Python's `json.dumps` without escapes for HTML.
fn to_json(value: &Value, Rest(args): Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    if !args.is_empty() {
        return Err(Error::new(ErrorKind::TooManyArguments, "tojson takes named arguments only"));
    }
    let indent: Option<usize> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let layout = Layout {
        indent: indent.map(|n| n.min(64)),
        separators: match separators.as_deref() {
            Some([item, key]) => Some((item.clone(), key.clone())),
            Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators must be two")),
            None => None,
        },
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from(to_python_json(&json, &layout)))
}

/// `{% generation %}` marks the assistant's words for training and has no other effect: it becomes a block
/// that always runs, with the same trimming of white space.
fn replace_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        rest = after;
        match tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+', ' ', '\n', '\t']) {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out
}
