//! Progress bars where there is a terminal, lines where there is none.

use std::{
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

/// Writes a line for people to standard output.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell if standard output is closed.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Progress of an import.
#[derive(Clone)]
pub(crate) struct Screen {
    files: ProgressBar,
    bytes: ProgressBar,
    jobs: ProgressBar,
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
            all.add(ProgressBar::new(length).with_style(style))
        };
        let screen = Self {
            files: bar(
                files,
                "storing     {bar:30} {pos}/{len} files, {per_sec}, {eta} left",
            ),
            bytes: bar(
                bytes,
                "            {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}",
            ),
            jobs: bar(
                0,
                "processing  {bar:30} {pos}/{len} jobs (decode, thumbnails, colours, embed, index), {eta} left",
            ),
            lines: (!terminal).then(|| {
                Arc::new(Lines {
                    files,
                    most_jobs: AtomicU64::new(0),
                    last: parking_lot::Mutex::new(tokio::time::Instant::now()),
                })
            }),
        };
        if terminal {
            [&screen.files, &screen.bytes, &screen.jobs]
                .iter()
                .for_each(|bar| bar.enable_steady_tick(Duration::from_millis(200)));
        }
        screen
    }

    /// Bytes went out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes.inc(bytes);
    }

    /// A file is stored, known or refused.
    pub(crate) fn file_done(&self) {
        self.files.inc(1);
        self.line(|lines| format!("storing: {}/{} files", self.files.position(), lines.files));
    }

    /// So many jobs are left.
    pub(crate) fn processing(&self, left: u64) {
        let most = self.jobs.length().unwrap_or(0).max(left);
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
