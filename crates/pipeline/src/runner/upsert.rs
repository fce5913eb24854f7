use berglake_format::{Error, Result};
use crate::report::FlowReport;
use super::FlowRun;
use arrow::datatypes::SchemaRef;
use crate::language::Flow;
pub(super) async fn run(_run: &FlowRun<'_>, _report: &mut FlowReport) -> Result<()> { Err(Error::unsupported("upsert")) }
pub(super) fn columns(_flow: &Flow, c: SchemaRef) -> Result<SchemaRef> { Ok(c) }
