//! What is new for a streaming flow: files that it has not taken, or a range of snapshots. Each batch
//! is pinned before it is read; exactly what was pinned is recorded when it is committed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use berglake_format::plan::{ScanPlan, SnapshotSelector, appended_rows};
use berglake_format::read::{ReadOptions, read};
use berglake_format::{Error, ErrorKind, Result, Table, schema};
use berglake_ingest::dead_letter::DeadLetter;
use berglake_ingest::files::SourceFile;
use berglake_ingest::kafka::{KafkaTopic, Limits, Pinned, Reading};
use berglake_ingest::progress::{Delta, FlowId, Position, Progress, Step, pending};
use berglake_query::IcebergTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::OptionFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::{mpsc, oneshot};

use super::dataflow::{self, Providers};
use super::files::FileInput;
use super::kafka::{self, KAFKA, KafkaCall, TopicBatch};
use super::limits::{MAX_BYTES, MAX_FILES, MAX_ROWS};
use super::telemetry::{self, Newest};
use super::{FlowRun, Resume, RunOptions, Runner, owner, progress_key, start, tables};
use crate::language::{Flow, SourceRef, Write};
use crate::report::PlannedAction;

/// A pinned part of a flow's source.
pub(super) struct Batch {
    /// What its commit records.
    pub(super) taken: Taken,
    /// Its rows, in the order of the source.
    pub(super) rows: SendableRecordBatchStream,
    /// Records that were no rows, where the source can have some.
    pub(super) dead_letters: Option<mpsc::Receiver<Vec<DeadLetter>>>,
    /// The newest time in it: of a file, of a snapshot, of a message that has been read.
    pub(super) newest: Newest,
}

/// What a commit records of a batch.
pub(super) struct Taken {
    step: Step,
    /// Of a topic it is told after reading how far the batch came.
    topic: Option<TopicBatch>,
}

impl Taken {
    /// The step of the commit, after the rows were read; none where there is nothing to record: of the
    /// messages of a topic all were control records, or aborted.
    pub(super) fn step(self, has_records: bool) -> Result<Option<Step>> {
        let mut step = self.step;
        if let Some(topic) = self.topic {
            let delta = topic.delta()?;
            if !has_records && !topic.must_record() && !kafka::moves(&delta) {
                return Ok(None);
            }
            step.delta = Delta::Topic(delta);
        }
        Ok(Some(step))
    }
}

/// The source of a streaming flow during one run.
pub(super) struct Input<'a> {
    run: &'a FlowRun<'a>,
    id: &'a FlowId,
    /// The messages that this run takes: those that were there when it began.
    reading: Option<Arc<Reading>>,
}

impl<'a> Input<'a> {
    /// The source of the run's flow.
    pub(super) fn new(run: &'a FlowRun<'a>, id: &'a FlowId) -> Self {
        Self {
            run,
            id,
            reading: None,
        }
    }
}

/// What comes next for a flow.
pub(super) struct Next {
    /// Nothing where all was taken.
    pub(super) batch: Option<Batch>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Counts the rows of a stream while they pass, and takes back what was not read of it.
#[derive(Clone, Default)]
pub(super) struct Counter {
    rows: Arc<AtomicU64>,
    rest: Arc<Mutex<Option<oneshot::Receiver<SendableRecordBatchStream>>>>,
}

impl Counter {
    /// The same stream, counted.
    pub(super) fn count(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let (give_back, rest) = oneshot::channel();
        *self.rest() = Some(rest);
        Box::pin(Counted {
            schema: rows.schema(),
            rows: Some(rows),
            counter: self.rows.clone(),
            give_back: Some(give_back),
        })
    }

    /// Reads what a query left of the stream, which must be the query's no longer. A query may end
    /// early: a condition is never true, or a table that it joins is empty. Its result is complete
    /// then, but what it did not read may hold records that are no rows.
    ///
    /// # Errors
    /// Those of reading the source.
    pub(super) async fn drain(&self) -> Result<()> {
        let rest = self.rest().take();
        // Nothing comes back of a stream that was read to its end.
        let Some(Ok(mut rows)) = OptionFuture::from(rest).await else {
            return Ok(());
        };
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(super::engine_error)?;
            self.rows
                .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets go of what was not read, and with it of the sender of dead letters.
    pub(super) fn abandon(&self) {
        self.rest().take();
    }

    fn rest(&self) -> MutexGuard<'_, Option<oneshot::Receiver<SendableRecordBatchStream>>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that have passed.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

/// A stream that is counted, and given back when it is dropped before its end.
struct Counted {
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    counter: Arc<AtomicU64>,
    give_back: Option<oneshot::Sender<SendableRecordBatchStream>>,
}

impl Stream for Counted {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else {
            return Poll::Ready(None);
        };
        let next = ready!(rows.as_mut().poll_next(context));
        match &next {
            Some(Ok(batch)) => {
                self.counter
                    .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            }
            // After an error there is nothing left to read either.
            Some(Err(_)) | None => self.rows = None,
        }
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let (Some(rows), Some(give_back)) = (self.rows.take(), self.give_back.take()) {
            // Nobody asks for it when the batch has failed.
            let _ = give_back.send(rows);
        }
    }
}

/// What is left to take, before it is cut into batches.
enum Pending {
    Files {
        input: FileInput,
        files: Vec<SourceFile>,
        warnings: Vec<String>,
    },
    Rows {
        table: Table,
        from: Option<i64>,
        to: i64,
    },
    Messages {
        call: KafkaCall,
        topic: Arc<KafkaTopic>,
        pinned: Pinned,
    },
    Nothing {
        warnings: Vec<String>,
    },
}

/// The progress of a flow into its target.
pub(super) fn position(
    flow: &FlowId,
    target: &Table,
    resume: Option<Resume>,
) -> Result<Option<Position>> {
    Progress::of(target.metadata(), flow)?.resume(flow, resume.map(Into::into))
}

impl From<Resume> for berglake_ingest::progress::Resume {
    fn from(resume: Resume) -> Self {
        match resume {
            Resume::Replay => Self::Replay,
            Resume::Skip => Self::Skip,
        }
    }
}

async fn pending_of(
    runner: &Runner,
    flow: &Flow,
    position: Option<&Position>,
    resume: Option<Resume>,
) -> Result<Pending> {
    let stream = stream_of(flow)?;
    let key = progress_key(&runner.project, flow);
    match &stream.from {
        SourceRef::Function(function) if function.name == KAFKA => {
            let call = KafkaCall::bind(function, &runner.project)?;
            let topic = runner.topics.of(&key, &call)?;
            let recorded = kafka::position(flow, position)?;
            let options = call.pin(resume.map(Into::into));
            let pinned = topic.pin(recorded, &options).await;
            let pinned = pinned.map_err(|error| Error::from(error).with("flow", &flow.name))?;
            telemetry::topic_lag(&key, topic.topic(), pinned.lag());
            if pinned.is_empty() {
                return Ok(Pending::Nothing {
                    warnings: pinned.warnings().to_vec(),
                });
            }
            Ok(Pending::Messages {
                call,
                topic,
                pinned,
            })
        }
        SourceRef::Function(function) => {
            let input = FileInput::bind(function, &runner.project, &runner.storage)?;
            let listing = input.list().await?;
            let left = pending(&listing.files, position);
            telemetry::file_lag(&key, left.new.len());
            let mut warnings: Vec<String> = listing.warning.into_iter().collect();
            warnings.extend(left.changed.iter().map(|file| {
                format!(
                    "{} has changed since it was read; its new content is not read, because some of \
                     its rows would be there twice: give new records a new file, or run with \
                     --full-refresh {}",
                    file.location, flow.target
                )
            }));
            if left.new.is_empty() {
                return Ok(Pending::Nothing { warnings });
            }
            Ok(Pending::Files {
                input,
                files: left.new,
                warnings,
            })
        }
        SourceRef::Table(name) => {
            let table = runner.catalog.load(&tables::ident(name)?).await?;
            let from = match position {
                None => None,
                Some(Position::Table { source, at }) if *source == table.metadata().uuid() => {
                    Some(*at)
                }
                Some(_) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "the source is another table than the one that the flow has read so far",
                    )
                    .with("source", name)
                    .help(format!(
                        "it was dropped and made anew: run with --full-refresh {}",
                        flow.target
                    )));
                }
            };
            telemetry::table_lag(&key, &table, from);
            match table.metadata().current_snapshot_id() {
                Some(to) if Some(to) != from => Ok(Pending::Rows { table, from, to }),
                _ => Ok(Pending::Nothing {
                    warnings: Vec::new(),
                }),
            }
        }
    }
}

fn stream_of(flow: &Flow) -> Result<&crate::language::StreamInput> {
    flow.stream
        .as_ref()
        .ok_or_else(|| Error::internal("a streaming flow has no stream").with("flow", &flow.name))
}

/// What a streaming flow would do.
pub(super) async fn describe(
    runner: &Runner,
    flow: &Flow,
    target: Option<&Table>,
    options: &RunOptions,
) -> Result<PlannedAction> {
    if flow.write == Write::Replace {
        return super::refresh::describe(runner, flow, target, options).await;
    }
    let refresh = options.full_refresh.contains(&flow.target.to_string());
    let id = FlowId::new(progress_key(&runner.project, flow))?;
    let position = match target {
        Some(target) if refresh => {
            owner::may_empty(target, &runner.project.config.name, &flow.name)?;
            None
        }
        Some(target) => {
            start::may_begin(runner, flow, &id, target, options.resume)?;
            position(&id, target, options.resume)?
        }
        None => None,
    };
    let reads = match pending_of(runner, flow, position.as_ref(), options.resume).await {
        Ok(Pending::Nothing { .. }) => None,
        Ok(Pending::Files { files, .. }) => {
            let bytes: u64 = files.iter().map(|file| file.size).sum();
            Some(format!("{} files, {bytes} bytes", files.len()))
        }
        Ok(Pending::Rows { table, from, to }) => {
            // A range that cannot be read blocks the flow, and a plan should not say otherwise.
            rows_after(flow, &table, from, to).await?;
            Some(match from {
                Some(from) => format!("{} after snapshot {from} up to {to}", table.ident()),
                None => format!("{} from its start up to snapshot {to}", table.ident()),
            })
        }
        Ok(Pending::Messages { pinned, .. }) => Some(pinned.to_string()),
        // The source is a table of this pipeline that an earlier flow will create.
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && target.is_none()
                && matches!(stream_of(flow)?.from, SourceRef::Table(_)) =>
        {
            Some(stream_of(flow)?.from.to_string())
        }
        Err(error) => return Err(error),
    };
    Ok(match (target, reads) {
        (None, reads) => PlannedAction::Create {
            reads: reads.unwrap_or_else(|| "nothing yet".into()),
        },
        (Some(_), Some(reads)) => PlannedAction::Update { reads },
        (Some(_), None) => PlannedAction::UpToDate,
    })
}

impl Input<'_> {
    /// The next batch behind this position.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the source's history does not lead from the position to its
    /// head by appends alone; those of reading the source.
    pub(super) async fn next(&mut self, target: &Table, from: Option<Position>) -> Result<Next> {
        let (run, flow) = (self.run, self.run.flow);
        let step = Step {
            flow: self.id.clone(),
            from,
            delta: Delta::Start,
            resume: run.options.resume.map(Into::into),
        };
        if let Some(reading) = self.reading.clone() {
            if reading.is_done() {
                // What came after it was pinned is told by the next look.
                let none = reading.pinned().lag().map(|(partition, _)| (partition, 0));
                telemetry::topic_lag(&run.progress_key(), reading.pinned().topic(), none);
                return Ok(Next {
                    batch: None,
                    warnings: Vec::new(),
                });
            }
            return messages(run, target, step, reading, Vec::new());
        }
        let pending = pending_of(run.runner, flow, step.from.as_ref(), run.options.resume);
        match pending.await? {
            Pending::Messages {
                call,
                topic,
                pinned,
            } => {
                let warnings = pinned.warnings().to_vec();
                let reading = Arc::new(topic.read(pinned, call.options()).await?);
                self.reading = Some(reading.clone());
                messages(run, target, step, reading, warnings)
            }
            pending => tables_and_files(run, target, step, pending).await,
        }
    }
}

/// The next batch of a topic.
fn messages(
    run: &FlowRun<'_>,
    target: &Table,
    step: Step,
    reading: Arc<Reading>,
    warnings: Vec<String>,
) -> Result<Next> {
    let limits = Limits {
        messages: MAX_ROWS.of(target)?,
        bytes: MAX_BYTES.of(target)?,
    };
    let columns = reading.columns()?;
    let recorded = kafka::position(run.flow, step.from.as_ref())?.cloned();
    let (sender, receiver) = mpsc::channel(4);
    let newest = Newest::default();
    let (topic, rows) =
        TopicBatch::next(reading, recorded, limits, columns, sender, newest.clone())?;
    Ok(Next {
        batch: Some(Batch {
            taken: Taken {
                step,
                topic: Some(topic),
            },
            rows,
            dead_letters: Some(receiver),
            newest,
        }),
        warnings,
    })
}

/// The next batch of files or of a table.
async fn tables_and_files(
    run: &FlowRun<'_>,
    target: &Table,
    step: Step,
    pending: Pending,
) -> Result<Next> {
    let flow = run.flow;
    let step = |delta: Delta| Taken {
        step: Step { delta, ..step },
        topic: None,
    };
    match pending {
        Pending::Messages { .. } => {
            Err(Error::internal("messages are read by their topic").with("flow", &flow.name))
        }
        Pending::Nothing { warnings } => Ok(Next {
            batch: None,
            warnings,
        }),
        Pending::Files {
            input,
            files,
            warnings,
        } => {
            let max_files = MAX_FILES.of(target)?;
            let max_bytes = MAX_BYTES.of(target)?;
            let mut taken = Vec::new();
            let mut bytes = 0;
            for file in files {
                let full = taken.len() as u64 >= max_files || bytes + file.size > max_bytes;
                if full && !taken.is_empty() {
                    break;
                }
                bytes += file.size;
                taken.push(file);
            }
            let delta = Delta::files(&taken);
            let times = taken
                .iter()
                .map(|file| file.last_modified.timestamp_millis());
            let newest = Newest::of(times.max());
            let columns = run.schemas.files(&stream_of(flow)?.id)?;
            let (sender, receiver) = mpsc::channel(4);
            let rows = input.read(taken, &input.options(columns), sender)?;
            let batch = Batch {
                taken: step(delta),
                rows,
                dead_letters: Some(receiver),
                newest,
            };
            Ok(Next {
                batch: Some(batch),
                warnings,
            })
        }
        Pending::Rows {
            table,
            from: after,
            to,
        } => {
            let max_rows = MAX_ROWS.of(target)?;
            let to = cut(&table, after, to, max_rows)?;
            let plan = rows_after(flow, &table, after, to).await?;
            let columns: SchemaRef = schema::to_arrow(&plan.schema)?;
            let rows = read(&plan, ReadOptions::default())
                .map_err(|error| DataFusionError::External(Box::new(error)));
            let delta = Delta::Table {
                source: table.metadata().uuid(),
                from: after,
                to,
            };
            let rows = Box::pin(RecordBatchStreamAdapter::new(columns, rows));
            let batch = Batch {
                taken: step(delta),
                rows,
                dead_letters: None,
                newest: Newest::of(table.snapshot(to).ok().map(|taken| taken.timestamp_ms())),
            };
            Ok(Next {
                batch: Some(batch),
                warnings: Vec::new(),
            })
        }
    }
}

/// The rows of a flow's source after a snapshot, or from its start, up to a snapshot.
///
/// The start of a table's rows is what it holds at its [`first_state`], then all that was appended.
async fn rows_after(flow: &Flow, table: &Table, after: Option<i64>, to: i64) -> Result<ScanPlan> {
    let state = match after {
        Some(_) => None,
        None => first_state(table, to),
    };
    let appended = appended_rows(table, after.or(state), to, None).await;
    let mut plan = appended.map_err(|error| {
        error.with("flow", &flow.name).help(format!(
            "run with --full-refresh {} to read the source from its start",
            flow.target
        ))
    })?;
    if let Some(state) = state {
        let at = SnapshotSelector::Id(state);
        let mut tasks = table.scan().snapshot(at).plan().await?.tasks;
        tasks.append(&mut plan.tasks);
        plan.tasks = tasks;
    }
    Ok(plan)
}

/// The newest snapshot up to `to` behind which rows were only appended; none where they were from
/// the first snapshot on. What was appended before it was changed since, or is not known any more.
fn first_state(table: &Table, to: i64) -> Option<i64> {
    let mut oldest = None;
    for snapshot in table.ancestors(Some(to)) {
        let changes = matches!(
            snapshot.summary().operation,
            iceberg::spec::Operation::Overwrite | iceberg::spec::Operation::Delete
        );
        if changes {
            return Some(snapshot.snapshot_id());
        }
        oldest = Some(snapshot);
    }
    // A parent that is no ancestor here has expired.
    oldest
        .filter(|snapshot| snapshot.parent_snapshot_id().is_some())
        .map(|snapshot| snapshot.snapshot_id())
}

/// The newest snapshot up to which no more than `max_rows` rows were added, at least one snapshot.
/// At the start of a table no snapshot before its [`first_state`] is one to stop at.
fn cut(table: &Table, after: Option<i64>, to: i64, max_rows: u64) -> Result<i64> {
    let state = match after {
        Some(_) => None,
        None => first_state(table, to),
    };
    let mut range: Vec<(i64, u64)> = Vec::new();
    for snapshot in table.ancestors(Some(to)) {
        let id = snapshot.snapshot_id();
        if Some(id) == after {
            break;
        }
        let key = match state == Some(id) {
            true => "total-records",
            false => "added-records",
        };
        let added = snapshot.summary().additional_properties.get(key);
        range.push((id, added.and_then(|text| text.parse().ok()).unwrap_or(0)));
        if state == Some(id) {
            break;
        }
    }
    let mut rows: u64 = 0;
    let mut last = None;
    for (id, added) in range.into_iter().rev() {
        rows = rows.saturating_add(added);
        if last.is_some() && rows > max_rows {
            break;
        }
        last = Some(id);
    }
    Ok(last.unwrap_or(to))
}

/// The providers of a flow whose stream is this batch. What it reads beside is read as it stands now.
pub(super) async fn providers(
    run: &FlowRun<'_>,
    rows: SendableRecordBatchStream,
) -> Result<Providers> {
    let stream = stream_of(run.flow)?;
    let mut providers = Providers::new();
    providers.insert(stream.id.clone(), dataflow::once(rows)?);
    for source in run.flow.inputs() {
        if source.id == stream.id {
            continue;
        }
        let SourceRef::Table(name) = &source.from else {
            return Err(Error::unsupported("a source that is not read as a stream")
                .with("flow", &run.flow.name)
                .help("write STREAM before it, or read it into a table first"));
        };
        let table = run.runner.catalog.load(&tables::ident(name)?).await?;
        let table = IcebergTable::new(table, SnapshotSelector::Head)?;
        providers.insert(source.id.clone(), Arc::new(table));
    }
    Ok(providers)
}
