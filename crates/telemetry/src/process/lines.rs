//! Log lines with the ids of the trace and span in which they were written.

use std::fmt;

use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// One readable line per event.
pub(super) struct Plain(format::Format);

impl Plain {
    pub(super) fn new(colour: bool) -> Self {
        Self(format::format().with_ansi(colour))
    }
}

/// One JSON object per event, its fields at the top.
pub(super) struct Json(format::Format<format::Json>);

impl Default for Json {
    fn default() -> Self {
        Self(format::format().json().flatten_event(true))
    }
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = Ids::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writeln!(
            writer,
            "{} trace_id={} span_id={}",
            line.trim_end_matches('\n'),
            ids.trace,
            ids.span
        )
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = Ids::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end_matches('\n').strip_suffix('}') {
            Some(open) => writeln!(
                writer,
                r#"{open},"trace_id":"{}","span_id":"{}"}}"#,
                ids.trace, ids.span
            ),
            None => writer.write_str(&line),
        }
    }
}

struct Ids {
    trace: opentelemetry::TraceId,
    span: opentelemetry::SpanId,
}

impl Ids {
    /// Those of the span that this thread is in. It is asked for here and not of the subscriber, which
    /// does not show this layer the spans that its filter leaves out.
    fn current() -> Option<Self> {
        let context = opentelemetry::Context::current();
        let span = context.span();
        let of = span.span_context();
        of.is_valid().then(|| Self {
            trace: of.trace_id(),
            span: of.span_id(),
        })
    }
}
