//! A run while it goes on: a spinner per flow on a terminal, plain lines otherwise, both on stderr.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berglake_pipeline::Observer;
use berglake_pipeline::language::Pipeline;
use berglake_pipeline::report::{FlowReport, FlowStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::labels::Labels;
use super::{count, duration};

/// What a flow did, in a few words.
pub(crate) fn summary(report: &FlowReport) -> String {
    let time = duration(report.elapsed_ms);
    match report.status {
        FlowStatus::UpToDate => "up to date".to_string(),
        FlowStatus::Failed => format!("failed after {time}"),
        FlowStatus::Skipped => "skipped".to_string(),
        FlowStatus::Updated => {
            let mut parts = vec![format!("{} read", count(report.rows_read))];
            for (number, what) in [
                (report.rows_inserted, "inserted"),
                (report.rows_updated, "updated"),
                (report.rows_deleted, "deleted"),
                (report.dead_letters, "dead letters"),
            ] {
                if number > 0 {
                    parts.push(format!("{} {what}", count(number)));
                }
            }
            format!("{} in {time}", parts.join(", "))
        }
    }
}

/// Shows a run on a terminal.
struct Bars {
    all: MultiProgress,
    flows: Mutex<HashMap<String, ProgressBar>>,
    labels: Labels,
}

impl Observer for Bars {
    fn flow_started(&self, flow: &str, target: &str) {
        let bar = self.all.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(self.labels.label(flow, target));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.flows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(flow.to_string(), bar);
    }

    fn rows_read(&self, flow: &str, rows: u64) {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = flows.get(flow) {
            bar.set_message(format!("{} rows read", count(rows)));
        }
    }

    fn flow_finished(&self, report: &FlowReport) {
        let bar = self
            .flows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&report.flow);
        // The report follows on stdout; what was shown meanwhile goes away.
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

/// Says what ends, one line each.
struct Lines(Labels);

impl Observer for Lines {
    fn flow_started(&self, flow: &str, target: &str) {
        let label = self.0.label(flow, target);
        let _ = writeln!(std::io::stderr(), "{label}: running");
    }

    fn flow_finished(&self, report: &FlowReport) {
        let label = self.0.label(&report.flow, &report.target);
        let _ = writeln!(std::io::stderr(), "{label}: {}", summary(report));
    }
}

/// What fits the terminal, or that there is none.
pub(crate) fn observer(pipeline: &Pipeline) -> Box<dyn Observer> {
    let labels = Labels::of(pipeline.flows().iter().map(|flow| flow.target.to_string()));
    if std::io::stderr().is_terminal() {
        Box::new(Bars {
            all: MultiProgress::new(),
            flows: Mutex::default(),
            labels,
        })
    } else {
        Box::new(Lines(labels))
    }
}
