//! `integrity`: what rows name against what is stored.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mediamesh_media::integrity::{Depth, Event, Finding, Part, Scan, Summary};
use serde_json::{Value, json};

use crate::{
    cli::Integrity, config::Config, data_dir::DataDir, exit::Findings, import::screen::say,
    stores::Stores,
};

pub(super) async fn run(args: Integrity, config: &Config) -> Result<()> {
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    if config.database.url.is_none() && !dir.database().try_exists().unwrap_or(true) {
        anyhow::bail!("there is no database yet; `mediamesh up` makes it at its first start");
    }
    let stores = Stores::open(&config.database, &dir, None).await?;
    let blobs = config.storage.beside_others(&dir)?;
    let mut options = config.media.clone();
    if let Some(concurrency) = args.concurrency {
        options.integrity.concurrency = usize::from(concurrency);
    }
    let depth = Depth {
        checksums: args.checksums,
        repair: args.repair,
    };
    let scan = Scan::new(
        Arc::new(options),
        depth,
        stores.integrity,
        stores.media,
        stores.jobs,
        blobs,
    );
    let mut screen = Screen::new(args.json);
    let summary = scan.run(&mut |event| screen.tell(event)).await;
    screen.end(summary.as_ref().ok());
    let summary = summary?;
    let left = summary.findings() - summary.mended;
    match left {
        0 => Ok(()),
        left => Err(Findings(format!("{left} findings are not mended")).into()),
    }
}

/// Findings go out as they come: there may be more than fit into memory.
struct Screen {
    bar: ProgressBar,
    json: bool,
    findings: u64,
}

impl Screen {
    fn new(json: bool) -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template(
            "{prefix:9} {bar:30} {pos}/{len} items, {eta} left, {msg}",
        );
        let bar = ProgressBar::with_draw_target(Some(0), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix("comparing")
            .with_message("nothing found");
        Self {
            bar,
            json,
            findings: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Items(count) => self.bar.set_length(count),
            Event::Item { .. } => self.bar.inc(1),
            Event::Listed(_) => self.bar.set_prefix("listing"),
            Event::Found(finding) => {
                self.bar.suspend(|| match self.json {
                    true => {
                        let before = if self.findings == 0 { OPEN } else { ",\n" };
                        out(&format!("{before}    {}", as_json(&finding)));
                    }
                    false => say(&line(&finding)),
                });
                self.findings += 1;
                self.bar.set_message(format!("{} found", self.findings));
            }
        }
    }

    /// `None` ends a scan that failed; what it found is there all the same.
    fn end(&self, summary: Option<&Summary>) {
        self.bar.finish_and_clear();
        if self.json {
            let open = if self.findings == 0 { OPEN } else { "" };
            let summary = summary.map_or(Value::Null, totals);
            out(&format!("{open}\n  ],\n  \"summary\": {summary}\n}}\n"));
        } else if let Some(summary) = summary {
            say(&sentence(summary));
        }
    }
}

const OPEN: &str = "{\n  \"findings\": [\n";

fn out(text: &str) {
    // Nobody is left to tell if standard output is closed.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn line(finding: &Finding) -> String {
    let what = match (&finding.part, finding.item) {
        (Part::Original, Some((_, item))) => format!("original of {item}"),
        (Part::Rendition(name), Some((_, item))) => format!("{name} of {item}"),
        _ => "object".to_owned(),
    };
    let mut line = format!("{:10} {what}: {}", finding.problem.name(), finding.key);
    if !finding.detail.is_empty() {
        line.push_str(&format!(": {}", finding.detail));
    }
    if !finding.repair.name().is_empty() {
        line.push_str(&format!(" [{}]", finding.repair.name()));
    }
    line
}

fn as_json(finding: &Finding) -> Value {
    let (part, rendition) = match &finding.part {
        Part::Original => ("original", None),
        Part::Rendition(name) => ("rendition", Some(name)),
        Part::Unknown => ("unknown", None),
    };
    json!({
        "problem": finding.problem.name(),
        "part": part,
        "rendition": rendition,
        "tenant": finding.item.map(|(tenant, _)| tenant.to_string()),
        "item": finding.item.map(|(_, item)| item.to_string()),
        "key": finding.key,
        "detail": finding.detail,
        "repair": finding.repair.name(),
    })
}

fn totals(summary: &Summary) -> Value {
    json!({
        "items": summary.items,
        "named": summary.named,
        "bytes": summary.bytes,
        "stored": summary.listed,
        "missing": summary.missing,
        "untracked": summary.untracked,
        "mismatch": summary.mismatch,
        "unreadable": summary.unreadable,
        "busy": summary.busy,
        "young": summary.young,
        "mended": summary.mended,
        "restored": summary.restored,
    })
}

fn sentence(summary: &Summary) -> String {
    let mut text = format!(
        "{} objects of {} items and {} stored objects: {} missing, {} untracked, {} of other bytes, \
         {} unreadable",
        summary.named,
        summary.items,
        summary.listed,
        summary.missing,
        summary.untracked,
        summary.mismatch,
        summary.unreadable
    );
    for (count, what) in [
        (summary.mended, "mended or queued"),
        (summary.restored, "whole again and queued"),
        (summary.busy, "items being processed"),
        (summary.young, "too new to tell"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}
