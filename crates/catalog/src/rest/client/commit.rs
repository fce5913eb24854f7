//! Commits over HTTP, and what their answers prove.

use std::collections::HashSet;
use std::sync::Arc;

use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange};
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent};
use futures::future::join_all;
use http::{Method, StatusCode};
use iceberg::TableRequirement;
use serde_json::Value;

use super::transport::{Failure, Reply, Request};
use super::{Inner, Sent, refusal};
use crate::rest::protocol::{
    CommitTableRequest, CommitTableResponse, CommitTransactionRequest, conflict, endpoints,
    error_type,
};

/// What an answer says of a commit.
enum Verdict {
    /// It is durable.
    Done(Reply),
    /// It is certain that nothing was changed: another writer was faster, or the table is gone.
    Lost(Error, StatusCode),
    /// It is certain that nothing was changed, and another plan would not help.
    Refused(Error),
    /// It may have been made.
    Unknown(Error),
}

impl Inner {
    pub(super) async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let mut seen = HashSet::new();
        if let Some(twice) = changes.iter().find(|change| !seen.insert(&change.ident)) {
            return Err(Error::invalid("a commit names a table twice").with("table", &twice.ident));
        }
        for change in &changes {
            self.check_address(&change.ident)?;
        }
        match &changes[..] {
            [] => Ok(CommitOutcome::Committed(Vec::new())),
            [change] => self.commit_one(change).await,
            [first, ..] => self.commit_several(first, &changes).await,
        }
    }

    async fn commit_one(&self, change: &TableChange) -> Result<CommitOutcome> {
        self.need(endpoints::UPDATE_TABLE, "commit to tables")?;
        let request = self
            .mutation(Method::POST, self.paths.table(&change.ident))
            .json(&CommitTableRequest::from(change.clone()))?;
        let ident = change.ident.clone();
        let sent = self.send(&request).await;
        match self.verdict(&request, sent, std::slice::from_ref(change)) {
            Verdict::Done(reply) => match self.committed_table(&ident, &request, &reply).await {
                Ok(table) => Ok(CommitOutcome::Committed(vec![table])),
                Err(error) => Ok(CommitOutcome::Unknown(not_shown(error))),
            },
            Verdict::Lost(error, status) => Ok(CommitOutcome::Conflict {
                ident,
                reason: reason(&error, status),
            }),
            Verdict::Refused(error) => Err(error.with("table", ident)),
            Verdict::Unknown(error) => Ok(CommitOutcome::Unknown(error.with("table", ident))),
        }
    }

    async fn commit_several(
        &self,
        first: &TableChange,
        changes: &[TableChange],
    ) -> Result<CommitOutcome> {
        self.need(
            endpoints::COMMIT_TRANSACTION,
            "commit several tables together",
        )
        .map_err(|error| {
            let tables: Vec<String> = changes
                .iter()
                .map(|change| change.ident.to_string())
                .collect();
            error
                .with("tables", tables.join(", "))
                .help("use a catalog with multi-table commits, or commit the tables one by one")
        })?;
        let request = self
            .mutation(Method::POST, self.paths.commit_transaction())
            .json(&CommitTransactionRequest {
                table_changes: changes.iter().cloned().map(Into::into).collect(),
            })?;
        let sent = self.send(&request).await;
        match self.verdict(&request, sent, changes) {
            // The answer has no body: the tables as they stand now are those to go on with.
            Verdict::Done(_) => {
                let loads = changes.iter().map(|change| self.load(&change.ident));
                let tables: Result<Vec<Table>> = join_all(loads).await.into_iter().collect();
                Ok(match tables {
                    Ok(tables) => CommitOutcome::Committed(tables),
                    Err(error) => CommitOutcome::Unknown(not_shown(error)),
                })
            }
            Verdict::Lost(error, status) => {
                if let Some(named) = named(changes, &error) {
                    let ident = named.ident.clone();
                    let reason = reason(&error, status);
                    return Ok(CommitOutcome::Conflict { ident, reason });
                }
                let loser = self.loser(changes).await;
                let (ident, reason) =
                    loser.unwrap_or_else(|| (first.ident.clone(), reason(&error, status)));
                Ok(CommitOutcome::Conflict { ident, reason })
            }
            Verdict::Refused(error) => Err(error),
            Verdict::Unknown(error) => Ok(CommitOutcome::Unknown(error)),
        }
    }

    /// What is certain after the last answer.
    fn verdict(&self, request: &Request, sent: Sent, changes: &[TableChange]) -> Verdict {
        let Sent { result, doubt } = sent;
        let verdict = match result {
            Ok(reply) if reply.status.is_success() => return Verdict::Done(reply),
            Ok(reply) => {
                let error = self.refused(request, &reply);
                // An address that is wrong is no table that is gone, and nor is the namespace in
                // which a table was to be made.
                let is_gone = reply.status == StatusCode::NOT_FOUND
                    && match refusal::type_of(&reply).as_deref() {
                        Some(error_type::NO_SUCH_TABLE) => true,
                        Some(error_type::NO_SUCH_NAMESPACE) => !changes.iter().any(is_creation),
                        _ => false,
                    };
                if refusal::is_doubtful(&reply) || error.kind() == ErrorKind::UnknownOutcome {
                    Verdict::Unknown(error)
                } else if is_gone || reply.status == StatusCode::CONFLICT {
                    Verdict::Lost(error, reply.status)
                } else {
                    Verdict::Refused(error)
                }
            }
            Err(Failure::NotSent(error)) => Verdict::Refused(error),
            Err(Failure::Lost(error)) => Verdict::Unknown(error),
        };
        // After a try that may have been carried out, what this one met may be our own commit.
        match (doubt, verdict) {
            (None, Verdict::Unknown(error)) => Verdict::Unknown(unanswered(error)),
            (None, verdict) => verdict,
            (Some(doubt), _) => Verdict::Unknown(unanswered(doubt)),
        }
    }

    /// The table in the answer to a commit. Such an answer has no settings for its files: they are
    /// those of the table as it was loaded.
    async fn committed_table(
        &self,
        ident: &TableIdent,
        request: &Request,
        reply: &Reply,
    ) -> Result<Table> {
        let now = self.environment.clock().now_millis();
        let Some(known) = self.loaded.get(ident, now) else {
            return self.load(ident).await;
        };
        let response: CommitTableResponse<Value> = self.read(request, reply)?;
        let metadata = self.metadata(ident, response.metadata)?;
        let table = Table::new(
            ident.clone(),
            Arc::new(metadata),
            response.metadata_location,
            known.table.storage().clone(),
            self.environment.clone(),
        );
        self.keep(reply, &table, known.expires_ms);
        Ok(table)
    }

    /// Which of several tables lost, where the answer to a transaction does not say it: what each
    /// change requires is checked against its table as it stands now.
    async fn loser(&self, changes: &[TableChange]) -> Option<(TableIdent, ConflictReason)> {
        for change in changes {
            let table = match self.load(&change.ident).await {
                Ok(table) => table,
                Err(error) if error.kind() == ErrorKind::NotFound && is_creation(change) => {
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Some((change.ident.clone(), ConflictReason::TableGone));
                }
                // It is certain that the commit was lost; which table it was is a courtesy.
                Err(_) => continue,
            };
            let probe = TableChange {
                updates: Vec::new(),
                ..change.clone()
            };
            if let Ok(Err(reason)) = probe.apply(table.metadata(), table.metadata_location()) {
                return Some((change.ident.clone(), reason));
            }
        }
        None
    }
}

/// Whether the change makes its table.
fn is_creation(change: &TableChange) -> bool {
    change.requirements.contains(&TableRequirement::NotExist)
}

/// The change whose table a conflict names, as our own server does.
fn named<'a>(changes: &'a [TableChange], error: &Error) -> Option<&'a TableChange> {
    let (_, table) = conflict::table_in(error.message())?;
    changes
        .iter()
        .find(|change| change.ident.to_string() == table)
}

fn reason(error: &Error, status: StatusCode) -> ConflictReason {
    if status == StatusCode::NOT_FOUND {
        return ConflictReason::TableGone;
    }
    conflict::reason(error.message())
}

fn unanswered(cause: Error) -> Error {
    Error::new(
        ErrorKind::UnknownOutcome,
        "the answer of the catalog to a commit was lost",
    )
    .help("load the table again and look whether the change is there")
    .source_error(cause)
}

fn not_shown(cause: Error) -> Error {
    Error::new(
        ErrorKind::UnknownOutcome,
        "the commit was made, but the table that came of it cannot be read",
    )
    .help("load the table again")
    .source_error(cause)
}
