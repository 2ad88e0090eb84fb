//! How things look: progress bars, remarks, tables, sizes, durations and colours. Knows nothing of models.
//!
//! Colours are written always and stripped by `anstream` where they are not wanted: when the stream is no terminal,
//! under `NO_COLOR`, or with `CLICOLOR=0`; `CLICOLOR_FORCE=1` keeps them.

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

/// Stderr, for people: progress and remarks.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    silent: bool,
    terminal: bool,
}

impl Ui {
    pub(super) fn new(silent: bool) -> Self {
        Ui { silent, terminal: std::io::stderr().is_terminal() }
    }

    /// A remark that is no error: said unless `--quiet` or `--json`.
    pub fn note(self, text: impl Display) {
        if !self.silent {
            anstream::eprintln!("{} {text}", "note:".dim());
        }
    }

    /// A piece of text beside the results, dimmed: said unless `--quiet` or `--json`, which it returns.
    pub fn aside(self, piece: &str) -> bool {
        if !self.silent {
            anstream::eprint!("{}", piece.dim());
        }
        !self.silent
    }

    /// A bar that counts bytes; hidden when stderr is no terminal and under `--quiet` or `--json`.
    pub fn bytes_bar(self, label: &str, total: u64) -> ProgressBar {
        let bar = self.bar(Some(total));
        let template =
            "{msg}  {wide_bar}  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";
        bar.set_style(style(template));
        bar.set_message(label.to_owned());
        bar
    }

    /// A bar that counts steps of a measurement; its message says which is under way.
    pub fn steps_bar(self, label: &str, total: u64) -> ProgressBar {
        let bar = self.bar(Some(total));
        bar.set_style(style("{msg}  {bar:28}  {pos}/{len}  {eta}"));
        bar.set_message(label.to_owned());
        bar
    }

    /// A moving dash for work whose length is not known.
    pub fn spinner(self, label: &str) -> ProgressBar {
        let bar = self.bar(None);
        bar.set_style(style("{spinner} {msg}"));
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Asks a question that is answered with yes or no; anything but yes is no. `None` if nobody is there to answer.
    pub fn confirm(self, question: &str) -> Option<bool> {
        if self.silent || !self.terminal || !std::io::stdin().is_terminal() {
            return None;
        }
        anstream::eprint!("{question} {} ", "[y/N]".dim());
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        Some(read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }

    fn bar(self, total: Option<u64>) -> ProgressBar {
        let hidden = self.silent || !self.terminal;
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(12) };
        ProgressBar::with_draw_target(total, target)
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

/// Colours by meaning, for anything that prints.
pub trait Paint: Display {
    /// For `error:`.
    fn error(&self) -> String {
        paint(self, AnsiColor::Red.on_default().bold())
    }
    /// For things to notice: names and headings.
    fn strong(&self) -> String {
        paint(self, Style::new().bold())
    }
    /// For things to overlook.
    fn dim(&self) -> String {
        paint(self, Style::new().dimmed())
    }
}

impl<T: Display + ?Sized> Paint for T {}

fn paint(text: &(impl Display + ?Sized), style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// A number of bytes for people, in powers of 1000 like disks and file managers: `98.4 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    // 999.95 would print as 1000.0, so it moves on to the next unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration for people: `640 µs`, `12.3 ms`, `4.56 s`, `2 min 05 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.000_999_5 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.999_95 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 59.995 {
        format!("{seconds:.2} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Rows of text in columns as wide as their widest cell; the last column is not padded.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; a heading that starts with `>` makes its column flush right.
    pub fn new(headings: &[&'static str]) -> Self {
        let right = headings.iter().map(|h| h.starts_with('>')).collect();
        let header = headings.iter().map(|h| h.trim_start_matches('>')).collect();
        Table { header, right, rows: Vec::new() }
    }

    /// Adds a row; cells beyond the headings are dropped, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// The table as lines, without a final line feed.
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.header[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                let cell = if self.right[column] { pad + cell } else { cell.clone() + &pad };
                line = line + if column > 0 { "  " } else { "" } + &cell;
            }
            line.trim_end().to_owned()
        };
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        let mut lines = vec![line(&header).strong()];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_a_file_manager() {
        let shown: Vec<_> =
            [0, 999, 1000, 999_949, 999_950, 98_400_000, u64::MAX].map(bytes).into_iter().collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "98.4 MB", "18446.7 PB"]);
    }

    #[test]
    fn table_aligns_columns() {
        let mut table = Table::new(&["name", ">size", "path"]);
        table.row(["a".into(), "98.4 MB".into(), "/x".into()]);
        table.row(["longer".into(), "1 B".into(), "/y/z".into()]);
        let plain = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(plain, "name       size  path\na       98.4 MB  /x\nlonger      1 B  /y/z");
    }
}
