use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Settings whose lines look the same whatever the terminal of whoever runs the tests.
fn settings(format: Format) -> Settings {
    Settings {
        colour: false,
        ..Settings::new(format)
    }
}

fn logged(settings: &Settings) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = settings.subscriber(move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(target: "berglake_format::commit", table = "a.b", "commit lost");
        tracing::info!(target: "berglake_format::commit", "planned again");
        tracing::info!(target: "other", "noise");
    });
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn warnings_alone_are_logged_where_nothing_is_said() {
    let text = logged(&settings(Format::Plain));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("commit lost"), "{text}");
    assert!(text.contains("table=\"a.b\""), "{text}");
}

#[test]
fn a_filter_names_targets_by_prefix() {
    let settings = settings(Format::Plain).filter("off,berglake=info").unwrap();
    let text = logged(&settings);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("noise"), "{text}");
}

#[test]
fn json_is_one_object_a_line_with_its_fields() {
    let text = logged(&settings(Format::Json));
    let line = text.strip_suffix('\n').unwrap();
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    assert!(line.contains(r#""level":"WARN""#), "{line}");
    assert!(line.contains(r#""message":"commit lost""#), "{line}");
    assert!(line.contains(r#""table":"a.b""#), "{line}");
}

#[test]
fn a_wrong_filter_is_named() {
    let error = Settings::new(Format::Plain)
        .filter("berglake=lots")
        .unwrap_err();
    assert!(error.to_string().contains("berglake=lots"), "{error}");
}

/// Lines of a warning inside of a span of ours and of one outside, and the ids of the span.
fn traced(settings: &Settings) -> (Vec<String>, String, String) {
    use opentelemetry::trace::TraceContextExt;

    let traces = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOff)
        .build();
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = settings
        .subscriber_with(move || writer.clone(), Some(traces.tracer("test")))
        .unwrap();
    let ids = tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(target: "berglake_format::commit", "commit");
        let ids = span.in_scope(|| {
            tracing::warn!(target: "berglake_format::commit", "inside");
            let context = opentelemetry::Context::current();
            context.span().span_context().clone()
        });
        tracing::warn!(target: "berglake_format::commit", "outside");
        ids
    });
    let bytes = buffer.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().map(str::to_string).collect();
    (lines, ids.trace_id().to_string(), ids.span_id().to_string())
}

#[test]
fn json_lines_carry_the_ids_of_their_span_though_the_filter_leaves_the_span_out() {
    let (lines, trace, span) = traced(&settings(Format::Json));
    let lines: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [inside, outside] = &lines[..] else {
        panic!("two lines, not {lines:?}");
    };
    assert_eq!(inside["message"], "inside");
    assert_eq!(inside["trace_id"], *trace);
    assert_eq!(inside["span_id"], *span);
    assert_eq!(outside["message"], "outside");
    assert!(outside.get("trace_id").is_none(), "{outside}");
}

#[test]
fn plain_lines_end_with_the_ids_of_their_span() {
    let (lines, trace, span) = traced(&settings(Format::Plain));
    assert!(
        lines[0].ends_with(&format!("inside trace_id={trace} span_id={span}")),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("outside"), "{lines:?}");
}
