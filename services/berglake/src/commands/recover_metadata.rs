//! `berglake recover-metadata`

use std::fmt::Write as _;

use berglake_format::recover::{Candidate, Evidence, LostSnapshot, Recovery};
use berglake_format::{Error, TableIdent};
use berglake_host::Lake;
use serde::Serialize;

use crate::cli::{Global, Output, RecoverMetadata};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::render::layout::{Column, table as aligned};
use crate::render::{count, time};

/// What the command says. Field names are part of the interface.
#[derive(Debug, Serialize)]
struct Report {
    table: String,
    dry_run: bool,
    table_uuid: String,
    known_from: &'static str,
    damaged: Damaged,
    chosen: String,
    candidates: Vec<CandidateReport>,
    newer_candidates: Vec<String>,
    lost_snapshots: Vec<LostReport>,
    unreadable_snapshots: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    location: String,
    problem: String,
}

#[derive(Debug, Serialize)]
struct CandidateReport {
    location: String,
    usable: bool,
    problem: Option<String>,
    was_current: bool,
    table_uuid: Option<String>,
    sequence_number: Option<i64>,
    last_updated: Option<String>,
    snapshot_id: Option<i64>,
    snapshots: Option<usize>,
}

#[derive(Debug, Serialize)]
struct LostReport {
    snapshot_id: i64,
    parent_snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    committed_at: Option<String>,
    operation: Option<String>,
    added_records: Option<u64>,
    manifest_list: String,
    certain: bool,
}

pub(crate) async fn run(global: &Global, what: &RecoverMetadata) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    check_store(&lake)?;
    let ident = super::table_ident(&what.table)?;
    if lake.is_fresh() {
        return Err(lake.nothing_yet().into());
    }
    let catalog = lake.sql_catalog().await.map_err(Failure::opening)?;
    let plan = catalog.plan_recovery(&ident, what.to.as_deref()).await?;
    let report = report(&ident, &plan, what.dry_run)?;
    if !what.dry_run {
        catalog.recover(&ident, &plan).await?;
    }
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&report)?,
        _ => out.text(&for_people(&report, &plan)?)?,
    }
    out.flush()
}

/// Only the store itself has the pointer that has to move: over REST a table that cannot be loaded cannot
/// be changed either.
fn check_store(lake: &Lake) -> Outcome {
    if !lake.project.config.is_rest_catalog() {
        return Ok(());
    }
    Err(
        Error::invalid("metadata is recovered in the catalog's own store, not over REST")
            .with("catalog", lake.project.config.catalog_name.clone())
            .help(
                "run it in the project that serves the catalog, whose catalog.uri is sqlite: or postgres:; \
                 for another catalog, register the table anew by an older metadata file",
            )
            .into(),
    )
}

fn report(ident: &TableIdent, plan: &Recovery, dry_run: bool) -> Outcome<Report> {
    Ok(Report {
        table: ident.to_string(),
        dry_run,
        table_uuid: plan.table_uuid.to_string(),
        known_from: plan.evidence.as_str(),
        damaged: Damaged {
            location: plan.pointers.current.clone(),
            problem: plan.problem.to_string(),
        },
        chosen: plan.chosen()?.location.clone(),
        candidates: plan.candidates.iter().map(candidate).collect(),
        newer_candidates: plan.newer().map(|one| one.location.clone()).collect(),
        lost_snapshots: plan.lost.iter().map(lost).collect(),
        unreadable_snapshots: plan.unreadable.clone(),
    })
}

fn candidate(candidate: &Candidate) -> CandidateReport {
    let contents = candidate.contents.as_ref();
    CandidateReport {
        location: candidate.location.clone(),
        usable: candidate.refusal.is_none(),
        problem: candidate.refusal.as_ref().map(ToString::to_string),
        was_current: candidate.was_current,
        table_uuid: contents.map(|contents| contents.table_uuid.to_string()),
        sequence_number: contents.map(|contents| contents.last_sequence_number),
        last_updated: contents.map(|contents| time(contents.last_updated_ms)),
        snapshot_id: contents.and_then(|contents| contents.current_snapshot_id),
        snapshots: contents.map(|contents| contents.snapshots),
    }
}

fn lost(lost: &LostSnapshot) -> LostReport {
    LostReport {
        snapshot_id: lost.snapshot_id,
        parent_snapshot_id: lost.parent_snapshot_id,
        sequence_number: lost.sequence_number,
        committed_at: lost.timestamp_ms.map(time),
        operation: lost.operation.clone(),
        added_records: lost.added_records,
        manifest_list: lost.manifest_list.clone(),
        certain: lost.certain,
    }
}

fn for_people(report: &Report, plan: &Recovery) -> Outcome<String> {
    let chosen = plan.chosen()?;
    let updated = chosen
        .contents
        .as_ref()
        .map(|contents| time(contents.last_updated_ms));
    let why = match (plan.evidence, chosen.was_current) {
        (Evidence::Named, _) => "named; nothing else says which table it is of",
        (_, true) => "it was the table's current file",
        (_, false) => "the newest of the table; nothing says that it ever was its current file",
    };
    let mut text = format!(
        "table     {}\ndamaged   {}\n          {}\nback to   {}\n          of {}; {why}\n",
        report.table,
        report.damaged.location,
        plan.problem.message(),
        report.chosen,
        updated.unwrap_or_else(|| "an unknown time".to_string()),
    );
    let newer = &report.newer_candidates;
    if !newer.is_empty() {
        text += "\nnewer files that the catalog is not known to have named (--to takes one):\n";
        for location in newer {
            let _ = writeln!(text, "  {location}");
        }
    }
    text += &lost_for_people(&report.lost_snapshots);
    if !report.unreadable_snapshots.is_empty() {
        text += "\nsnapshots that are listed again, and whose files a lost expiry has removed:\n";
        for id in &report.unreadable_snapshots {
            let _ = writeln!(text, "  {id}");
        }
    }
    text += match report.dry_run {
        true => "\nnothing was changed\n",
        false => "\nthe table has gone back; flows that read or filled it may stop and ask\n",
    };
    Ok(text)
}

fn lost_for_people(lost: &[LostReport]) -> String {
    if lost.is_empty() {
        return "\nno lost snapshot has left a trace\n".to_string();
    }
    let columns = vec![
        Column::right("lost snapshot"),
        Column::right("sequence number"),
        Column::left("committed at"),
        Column::left("operation"),
        Column::right("rows added"),
        Column::left("known from"),
    ];
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".to_string());
    let rows: Vec<Vec<String>> = lost
        .iter()
        .map(|one| {
            vec![
                one.snapshot_id.to_string(),
                or_unknown(one.sequence_number.map(|number| number.to_string())),
                or_unknown(one.committed_at.clone()),
                or_unknown(one.operation.clone()),
                or_unknown(one.added_records.map(count)),
                match one.certain {
                    true => "the damaged file".to_string(),
                    false => "its manifest list; it may never have been committed".to_string(),
                },
            ]
        })
        .collect();
    format!("\n{}", aligned(columns, &rows))
}
