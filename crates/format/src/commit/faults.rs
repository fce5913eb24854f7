//! Faults on purpose: a committer that loses answers, applies late and invents conflicts, in the order
//! in which a test lists them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::TableIdent;

use super::{CommitOutcome, Committer, ConflictReason, TableChange};
use crate::{Error, ErrorKind, Result, Table};

/// What goes wrong with one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The commit is refused although nobody else committed.
    Conflict,
    /// The commit is made and the answer is lost.
    LostAnswer,
    /// Neither the commit is made nor an answer given.
    LostRequest,
    /// The answer is lost, and the commit is made when the next call arrives.
    Late,
}

/// Wraps a committer and makes a given sequence of faults, then none.
#[derive(Debug)]
pub struct FaultyCommitter {
    inner: Arc<dyn Committer>,
    faults: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<Vec<TableChange>>>,
}

impl FaultyCommitter {
    /// Makes these faults, one per commit.
    pub fn new(inner: Arc<dyn Committer>, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            inner,
            faults: Mutex::new(faults.into_iter().collect()),
            late: Mutex::new(Vec::new()),
        }
    }

    async fn deliver_late(&self) {
        let late: Vec<_> = self
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect();
        for changes in late {
            // Whether it still fits is for the committer to say, exactly as with a slow network.
            self.inner.commit(changes).await.ok();
        }
    }
}

fn lost() -> CommitOutcome {
    CommitOutcome::Unknown(Error::new(
        ErrorKind::UnknownOutcome,
        "the answer was lost (injected)",
    ))
}

#[async_trait]
impl Committer for FaultyCommitter {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let fault = self
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .unwrap_or(Fault::None);
        // A late commit arrives before this one, after this one was planned: the worst moment.
        self.deliver_late().await;
        match fault {
            Fault::None => self.inner.commit(changes).await,
            Fault::Conflict => Ok(CommitOutcome::Conflict {
                ident: match changes.first() {
                    Some(change) => change.ident.clone(),
                    None => return Err(Error::invalid("a commit without changes")),
                },
                reason: ConflictReason::PointerMoved,
            }),
            Fault::LostAnswer => {
                self.inner.commit(changes).await?;
                Ok(lost())
            }
            Fault::LostRequest => Ok(lost()),
            Fault::Late => {
                self.late
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(changes);
                Ok(lost())
            }
        }
    }
}
