//! Metrics reports and audit records: rows that are written beside the work and never hold it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berglake_format::{Environment, Result, TableIdent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{SqlCatalog, joined};

/// Entries that may wait to be written. What comes when as many wait is dropped, and so is a report
/// that comes when reports of so many bytes wait.
const CAPACITY: usize = 4096;
const CAPACITY_BYTES: usize = 16 << 20;
/// The most characters of what an audit record is about.
const MOST_OF_AN_OBJECT: usize = 4000;
/// Entries that are written in one transaction.
const BATCH: usize = 256;
/// How long entries are gathered, so that a busy server writes few transactions.
const GATHER: Duration = Duration::from_millis(200);
/// How often old entries are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(6 * 3600);

const INSERT_REPORT: &str = "INSERT INTO berglake_metrics_reports
    (id, catalog_name, table_namespace, table_name, reported_at_ms, principal, report_type, report)
    VALUES ($1, $2, $3, $4, CAST($5 AS BIGINT), $6, $7, $8)";

const INSERT_AUDIT: &str = "INSERT INTO berglake_audit
    (id, catalog_name, at_ms, request_id, principal, action, object, status, error_type)
    VALUES ($1, $2, CAST($3 AS BIGINT), $4, $5, $6, $7, $8, NULLIF($9, ''))";

/// What an engine reported of a scan or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsReport {
    /// The table.
    pub table: TableIdent,
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    pub reported_at_ms: i64,
    /// Who sent it.
    pub principal: String,
    /// `scan-report` or `commit-report`.
    pub report_type: String,
    /// The report as JSON.
    pub report: String,
}

/// Who asked for which change, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was answered, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// The request's id, as it stands in the logs.
    pub request_id: String,
    /// Who asked.
    pub principal: String,
    /// The endpoint, as the specification spells it.
    pub action: String,
    /// What was to be changed.
    pub object: String,
    /// The HTTP status code of the answer.
    pub status: u16,
    /// The type of the error, where it was one.
    pub error_type: Option<String>,
}

enum Entry {
    Report(MetricsReport),
    Audit(AuditRecord),
    Flush(oneshot::Sender<()>),
}

/// Takes metrics reports and audit records, and writes them in the background.
///
/// They are records beside the work: when the database does not keep up, entries are dropped and the
/// loss is logged. Dropping the journal ends its task; [`flush`](Self::flush) comes before.
#[derive(Debug)]
pub struct Journal {
    sender: mpsc::Sender<Entry>,
    /// The bytes of the reports that wait.
    waiting: Arc<AtomicUsize>,
    catalog: SqlCatalog,
    task: JoinHandle<()>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Journal {
    /// Makes the journal's tables where they are missing and starts writing. Entries older than
    /// `keep` are deleted from time to time.
    ///
    /// # Errors
    /// As [`SqlCatalog::open`].
    pub async fn open(catalog: &SqlCatalog, keep: Duration) -> Result<Self> {
        catalog.0.database.migrate().await?;
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            catalog: catalog.clone(),
            keep,
            waiting: waiting.clone(),
        };
        Ok(Self {
            sender,
            waiting,
            catalog: catalog.clone(),
            task: tokio::spawn(writer.run(receiver)),
        })
    }

    /// Takes a report.
    pub fn report(&self, report: MetricsReport) {
        let bytes = report.report.len();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > CAPACITY_BYTES {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            tracing::warn!("the journal does not keep up: a report is dropped");
            return;
        }
        if !self.put(Entry::Report(report)) {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Takes a record.
    pub fn audit(&self, mut record: AuditRecord) {
        // What cannot be written need not wait.
        record.object = cut(&record.object, MOST_OF_AN_OBJECT);
        self.put(Entry::Audit(record));
    }

    fn put(&self, entry: Entry) -> bool {
        let taken = self.sender.try_send(entry).is_ok();
        if !taken {
            tracing::warn!("the journal does not keep up: an entry is dropped");
        }
        taken
    }

    /// Waits until all that was taken before is written or given up.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.send(Entry::Flush(done)).await.is_ok() {
            // The task ends only with the process; then there is nothing to wait for.
            let _ = wait.await;
        }
    }

    /// The reports of a table, the newest first, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reports(&self, table: &TableIdent, limit: usize) -> Result<Vec<MetricsReport>> {
        let inner = &self.catalog.0;
        let rows = inner
            .database
            .fetch(
                "SELECT CAST(reported_at_ms AS TEXT), principal, report_type, report
                 FROM berglake_metrics_reports
                 WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
                 ORDER BY reported_at_ms DESC, id LIMIT CAST($4 AS BIGINT)",
                &[
                    &inner.name,
                    &joined(table.namespace()),
                    table.name(),
                    &limit.to_string(),
                ],
            )
            .await?;
        let report = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter().flatten();
            Some(MetricsReport {
                table: table.clone(),
                reported_at_ms: columns.next()?.parse().ok()?,
                principal: columns.next()?,
                report_type: columns.next()?,
                report: columns.next()?,
            })
        };
        Ok(rows.into_iter().filter_map(report).collect())
    }

    /// The newest audit records, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn records(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        let inner = &self.catalog.0;
        let rows = inner
            .database
            .fetch(
                "SELECT CAST(at_ms AS TEXT), request_id, principal, action, object, status, error_type
                 FROM berglake_audit WHERE catalog_name = $1
                 ORDER BY at_ms DESC, id LIMIT CAST($2 AS BIGINT)",
                &[&inner.name, &limit.to_string()],
            )
            .await?;
        let record = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter();
            Some(AuditRecord {
                at_ms: columns.next()??.parse().ok()?,
                request_id: columns.next()??,
                principal: columns.next()??,
                action: columns.next()??,
                object: columns.next()??,
                status: columns.next()??.parse().ok()?,
                error_type: columns.next()?,
            })
        };
        Ok(rows.into_iter().filter_map(record).collect())
    }
}

struct Writer {
    catalog: SqlCatalog,
    keep: Duration,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    async fn run(self, mut receiver: mpsc::Receiver<Entry>) {
        let mut clean = tokio::time::interval(CLEAN_EVERY);
        clean.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut entries = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = clean.tick() => self.clean().await,
                received = receiver.recv_many(&mut entries, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    let asked = |entry: &Entry| matches!(entry, Entry::Flush(_));
                    if entries.len() < BATCH && !entries.iter().any(asked) {
                        // A flush cuts the gathering short.
                        let more = async {
                            while entries.len() < BATCH {
                                let Some(entry) = receiver.recv().await else { return };
                                let last = asked(&entry);
                                entries.push(entry);
                                if last {
                                    return;
                                }
                            }
                        };
                        let _ = tokio::time::timeout(GATHER, more).await;
                    }
                    self.write(std::mem::take(&mut entries)).await;
                }
            }
        }
    }

    async fn write(&self, entries: Vec<Entry>) {
        let rows = entries.len();
        if let Err(error) = self.insert(&entries).await {
            tracing::warn!(%error, rows, "journal entries could not be written and are dropped");
        }
        for entry in entries {
            match entry {
                Entry::Report(report) => {
                    let bytes = report.report.len();
                    self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                }
                Entry::Audit(_) => {}
                Entry::Flush(done) => {
                    // Who does not wait any more needs no answer.
                    let _ = done.send(());
                }
            }
        }
    }

    async fn insert(&self, entries: &[Entry]) -> Result<()> {
        if entries.iter().all(|entry| matches!(entry, Entry::Flush(_))) {
            return Ok(());
        }
        let inner = &self.catalog.0;
        let environment: &Environment = &inner.environment;
        let mut write = inner.database.begin().await?;
        for entry in entries {
            let id = environment.ids().uuid().to_string();
            match entry {
                Entry::Report(report) => {
                    let values = [
                        id.as_str(),
                        &inner.name,
                        &joined(report.table.namespace()),
                        report.table.name(),
                        &report.reported_at_ms.to_string(),
                        &cut(&report.principal, 255),
                        &cut(&report.report_type, 64),
                        &report.report,
                    ];
                    write.execute(INSERT_REPORT, &values).await?;
                }
                Entry::Audit(record) => {
                    let values = [
                        id.as_str(),
                        &inner.name,
                        &record.at_ms.to_string(),
                        &cut(&record.request_id, 255),
                        &cut(&record.principal, 255),
                        &cut(&record.action, 255),
                        &record.object,
                        &record.status.to_string(),
                        record.error_type.as_deref().unwrap_or_default(),
                    ];
                    write.execute(INSERT_AUDIT, &values).await?;
                }
                Entry::Flush(_) => {}
            }
        }
        Ok(write.commit().await?)
    }

    async fn clean(&self) {
        let inner = &self.catalog.0;
        let keep_ms = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let now = inner.environment.clock().now_millis();
        let before = now.saturating_sub(keep_ms).to_string();
        let statements = [
            "DELETE FROM berglake_metrics_reports
             WHERE catalog_name = $1 AND reported_at_ms < CAST($2 AS BIGINT)",
            "DELETE FROM berglake_audit WHERE catalog_name = $1 AND at_ms < CAST($2 AS BIGINT)",
        ];
        let result: Result<()> = async {
            let mut write = inner.database.begin().await?;
            for sql in statements {
                write.execute(sql, &[&inner.name, &before]).await?;
            }
            Ok(write.commit().await?)
        }
        .await;
        if let Err(error) = result {
            tracing::warn!(%error, "old journal entries could not be deleted; the next round tries again");
        }
    }
}

/// What fits a column, in characters. PostgreSQL refuses the character NUL.
fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
}
