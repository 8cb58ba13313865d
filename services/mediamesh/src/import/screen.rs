//! Progress bars where there is a terminal, lines where there is none.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines of progress without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two drawings of the bars.
const TICK: Duration = Duration::from_millis(200);

/// Writes a line for people to standard output.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell if standard output is closed.
    let _ = writeln!(std::io::stdout(), "{}", plain(line));
}

/// Writes signs that steer a terminal, or turn the order of what follows them, the way JSON does.
///
/// Names, captions and labels come from other people: printed raw, they could move the cursor, set
/// the title, or show `gpj.exe` as `exe.jpg` (Unicode technical report 36, 2.5).
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Progress of an import.
#[derive(Clone)]
pub(crate) struct Screen {
    files: ProgressBar,
    bytes: ProgressBar,
    jobs: ProgressBar,
    /// Where the jobs are shown, once it is known how many there are.
    all: MultiProgress,
    lines: Option<Arc<Lines>>,
}

struct Lines {
    files: u64,
    most_jobs: AtomicU64,
    last: parking_lot::Mutex<tokio::time::Instant>,
}

impl Screen {
    pub(crate) fn new(files: u64, bytes: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let bar = |length, template: &str| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
                .with_style(style)
        };
        let screen = Self {
            files: bar(
                files,
                "storing     {bar:30} {pos}/{len} files, {per_sec:1}, {eta} left",
            ),
            bytes: bar(
                bytes,
                "            {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}",
            ),
            jobs: bar(
                0,
                "processing  {bar:30} {pos}/{len} jobs (decode, thumbnails, colours, embed, index), {eta} left",
            ),
            all,
            lines: (!terminal).then(|| {
                Arc::new(Lines {
                    files,
                    most_jobs: AtomicU64::new(0),
                    last: parking_lot::Mutex::new(tokio::time::Instant::now()),
                })
            }),
        };
        screen.show(&screen.files);
        screen.show(&screen.bytes);
        screen
    }

    fn show(&self, bar: &ProgressBar) {
        // On a clone: a bar that joins the others keeps its state.
        self.all.add(bar.clone());
        if self.lines.is_none() {
            bar.enable_steady_tick(TICK);
        }
    }

    /// Bytes went out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes.inc(bytes);
    }

    /// Bytes that went out did not arrive and will go out again.
    pub(crate) fn lost(&self, bytes: u64) {
        self.bytes.dec(bytes);
    }

    /// A file is stored, known or refused.
    pub(crate) fn file_done(&self) {
        self.files.inc(1);
        self.line(|lines| format!("storing: {}/{} files", self.files.position(), lines.files));
    }

    /// So many jobs are left.
    pub(crate) fn processing(&self, left: u64) {
        let before = self.jobs.length().unwrap_or(0);
        if before == 0 && left > 0 {
            self.show(&self.jobs);
        }
        let most = before.max(left);
        self.jobs.set_length(most);
        self.jobs.set_position(most - left);
        self.line(|lines| {
            let most = lines.most_jobs.fetch_max(most, Ordering::Relaxed).max(most);
            format!("processing: {}/{most} jobs", most - left)
        });
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        [&self.files, &self.bytes, &self.jobs]
            .iter()
            .for_each(|bar| bar.finish_and_clear());
    }

    fn line(&self, text: impl FnOnce(&Lines) -> String) {
        let Some(lines) = &self.lines else { return };
        let mut last = lines.last.lock();
        if last.elapsed() >= LINE_EVERY {
            *last = tokio::time::Instant::now();
            say(&text(lines));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_that_steer_a_terminal_are_written_out() {
        for (text, shown) in [
            (
                "caf\u{e9} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f415}",
                "café שלום 🐕",
            ),
            ("a\u{1b}[2Jb", "a\\u001b[2Jb"),
            ("a\rb\u{7f}\u{9b}c\0", "a\\u000db\\u007f\\u009bc\\u0000"),
            ("\u{202e}gpj.exe\u{2069}", "\\u202egpj.exe\\u2069"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn json_that_is_printed_stays_the_same_json() {
        let value = serde_json::json!({"name": "\u{202e}gpj.exe\u{7f}\u{1b}"});
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        let read: Option<serde_json::Value> = serde_json::from_str(&plain(&text)).ok();
        assert_eq!(read, Some(value));
    }
}
