//! What statements mean together, and what this version cannot execute.

use std::collections::BTreeMap;

use super::ast::{
    AutoCdcDefinition, ColumnSelection, FlowDefinition, Query, ReadKind, ScdType, Source,
    SourceFunction, SourceRef, Statement, TableDefinition, TableKind, TableName, ViewDefinition,
    WriteDefinition,
};
use super::diagnostics::{Problem, SourceFile, Span, Spanned};
use super::suggest;

/// The statements of a project by kind, in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) tables: Vec<TableDefinition>,
    pub(super) views: Vec<ViewDefinition>,
    pub(super) flows: Vec<FlowDefinition>,
}

/// What a name in a query stands for.
pub(super) enum Dataset<'a> {
    Table(&'a TableDefinition),
    View(&'a ViewDefinition),
    /// A table that some other program keeps.
    External,
}

/// Who reads: that decides whether a stream may, must or must not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    View,
    MaterializedView,
    StreamingTable,
}

impl Project {
    /// Sorts the statements; names that are taken already are reported.
    pub(super) fn collect(
        statements: Vec<Statement>,
        files: &[SourceFile],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut project = Self::default();
        let mut datasets: BTreeMap<TableName, Span> = BTreeMap::new();
        let mut flows: BTreeMap<String, Span> = BTreeMap::new();
        for statement in statements {
            let taken = match &statement {
                Statement::Table(table) => take(&mut datasets, &table.name),
                Statement::View(view) => take(&mut datasets, &view.name),
                Statement::Flow(flow) => take(&mut flows, &flow.name),
            };
            if let Some((name, place, first)) = taken {
                let what = if matches!(statement, Statement::Flow(_)) {
                    "flow "
                } else {
                    ""
                };
                problems.push(
                    Problem::new(place, format!("{what}`{name}` is defined twice"))
                        .help(format!("it is first defined at {}", place_of(first, files))),
                );
                continue;
            }
            match statement {
                Statement::Table(table) => project.tables.push(table),
                Statement::View(view) => project.views.push(view),
                Statement::Flow(flow) => project.flows.push(flow),
            }
        }
        for table in &project.tables {
            let implicit = table.name.node.to_string();
            if let (Some(place), true) = (flows.get(&implicit), table.query.is_some()) {
                let message = format!("flow `{implicit}` is defined twice");
                problems.push(Problem::new(*place, message).help(
                    "the query of a table is a flow of the table's name: give this one another",
                ));
            }
        }
        project
    }

    pub(super) fn resolve(&self, name: &TableName) -> Option<Dataset<'_>> {
        if let Some(table) = self.table(name) {
            Some(Dataset::Table(table))
        } else if let Some(view) = self.view(name) {
            Some(Dataset::View(view))
        } else {
            name.is_qualified().then_some(Dataset::External)
        }
    }

    pub(super) fn table(&self, name: &TableName) -> Option<&TableDefinition> {
        self.tables.iter().find(|table| table.name.node == *name)
    }

    /// The tables whose flows keep their dead letters in the table of this name.
    pub(super) fn with_dead_letters_in(
        &self,
        name: &TableName,
    ) -> impl Iterator<Item = &TableDefinition> {
        self.tables
            .iter()
            .filter(move |table| table.dead_letters_are_in(name))
    }

    pub(super) fn view(&self, name: &TableName) -> Option<&ViewDefinition> {
        self.views.iter().find(|view| view.name.node == *name)
    }

    /// Checks each statement by itself.
    pub(super) fn check_statements(&self, problems: &mut Vec<Problem>) {
        for table in &self.tables {
            for field in &table.partitioning {
                self.check_declared(table, &field.node.column, field.span, problems);
            }
        }
        for flow in &self.flows {
            if let WriteDefinition::AutoCdc(cdc) = &flow.write {
                check_auto_cdc(cdc, problems);
            }
        }
    }

    /// Checks what statements say about each other.
    pub(super) fn check_references(&self, problems: &mut Vec<Problem>) {
        for (query, reader) in self.queries() {
            for source in &query.sources {
                match &source.from {
                    SourceRef::Table(name) => self.check_source(name, source, problems),
                    SourceRef::Function(function) => {
                        check_function(function, source, query, reader, problems);
                    }
                }
            }
            check_streams(query, reader, problems);
        }
        for flow in &self.flows {
            self.check_target(flow, problems);
            if matches!(flow.write, WriteDefinition::AutoCdc(_)) {
                self.check_changes(&flow.query, problems);
            }
        }
        for table in &self.tables {
            self.check_flows_into(table, problems);
        }
    }

    /// All queries and who reads by them.
    fn queries(&self) -> impl Iterator<Item = (&Query, Reader)> {
        let tables = self.tables.iter().filter_map(|table| {
            let reader = match table.kind {
                TableKind::StreamingTable => Reader::StreamingTable,
                TableKind::MaterializedView => Reader::MaterializedView,
            };
            Some((table.query.as_ref()?, reader))
        });
        let views = self.views.iter().map(|view| (&view.query, Reader::View));
        let flows = self
            .flows
            .iter()
            .map(|flow| (&flow.query, Reader::StreamingTable));
        tables.chain(views).chain(flows)
    }

    fn check_source(&self, name: &TableName, source: &Source, problems: &mut Vec<Problem>) {
        let stream = source.kind == ReadKind::Stream;
        match self.resolve(name) {
            None => {
                let known: Vec<String> = self.names().map(TableName::to_string).collect();
                let same_last = self.names().find(|known| known.name() == name.name());
                let help = match same_last {
                    Some(known) => format!("did you mean {known}?"),
                    None => {
                        let candidates = known.iter().map(String::as_str);
                        suggest::did_you_mean(&name.to_string(), candidates).unwrap_or_else(|| {
                            "tables outside the pipeline are named with their namespace".to_owned()
                        })
                    }
                };
                let message = format!("unknown table or view `{name}`");
                problems.push(Problem::new(source.span, message).help(help));
            }
            Some(Dataset::View(view)) => {
                // A view that reads no stream itself passes none on.
                let streams = view.query.streams().next().is_some();
                if stream && !streams {
                    problems.push(
                        Problem::new(source.span, format!("view `{name}` reads no stream"))
                            .help("write STREAM at a source inside the view, or leave it out here"),
                    );
                } else if !stream && streams {
                    problems.push(
                        Problem::new(source.span, format!("view `{name}` reads a stream"))
                            .help(format!("write STREAM({name})")),
                    );
                }
            }
            Some(Dataset::Table(table)) if stream => {
                let why = if table.kind == TableKind::MaterializedView {
                    "it is a materialized view, whose rows are replaced"
                } else if self.auto_cdc_into(name) {
                    "AUTO CDC replaces its rows"
                } else {
                    return;
                };
                let message = format!("`{name}` cannot be read as a stream: {why}");
                problems.push(
                    Problem::new(source.span, message)
                        .help("a stream needs an append-only table: read it without STREAM"),
                );
            }
            Some(Dataset::Table(_) | Dataset::External) => {}
        }
    }

    /// Refuses AUTO CDC from a source function, also behind views: its records that are no rows could
    /// not be kept.
    fn check_changes(&self, query: &Query, problems: &mut Vec<Problem>) {
        let Some(first) = query.streams().next() else {
            return;
        };
        let mut source = first;
        // One step more than there are views: a cycle of them is told elsewhere.
        for _ in 0..=self.views.len() {
            let view = match &source.from {
                SourceRef::Function(function) => {
                    let what = format!("AUTO CDC directly from {}", function.name);
                    let help =
                        "read the source into a streaming table, and that table with AUTO CDC";
                    problems.push(Problem::unsupported(first.span, &what).help(help));
                    return;
                }
                SourceRef::Table(name) => self.view(name),
            };
            match view.and_then(|view| view.query.streams().next()) {
                Some(next) => source = next,
                None => return,
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &TableName> {
        let tables = self.tables.iter().map(|table| &table.name.node);
        tables.chain(self.views.iter().map(|view| &view.name.node))
    }

    fn flows_into(&self, name: &TableName) -> impl Iterator<Item = &FlowDefinition> {
        self.flows
            .iter()
            .filter(move |flow| flow.target.node == *name)
    }

    fn auto_cdc_into(&self, name: &TableName) -> bool {
        self.flows_into(name)
            .any(|flow| matches!(flow.write, WriteDefinition::AutoCdc(_)))
    }

    fn check_target(&self, flow: &FlowDefinition, problems: &mut Vec<Problem>) {
        let target = &flow.target;
        let name = &target.node;
        let message = match (self.table(name), self.view(name)) {
            (Some(table), _) if table.kind == TableKind::StreamingTable => {
                if let WriteDefinition::AutoCdc(cdc) = &flow.write {
                    for key in &cdc.keys {
                        self.check_declared(table, &key.node, key.span, problems);
                    }
                }
                return;
            }
            (Some(_), _) => format!("a flow cannot write the materialized view `{name}`"),
            (None, Some(_)) => format!("a flow cannot write the temporary view `{name}`"),
            (None, None) => format!(
                "flow `{}` writes the undefined table `{name}`",
                flow.name.node
            ),
        };
        let tables = self.tables.iter();
        let names: Vec<String> = tables
            .filter(|table| table.kind == TableKind::StreamingTable)
            .map(|table| table.name.node.to_string())
            .collect();
        let defined = self.table(name).is_some() || self.view(name).is_some();
        let help = if defined {
            "flows write streaming tables".to_owned()
        } else {
            suggest::did_you_mean(&name.to_string(), names.iter().map(String::as_str))
                .unwrap_or_else(|| format!("define it: CREATE OR REFRESH STREAMING TABLE {name}"))
        };
        problems.push(Problem::new(target.span, message).help(help));
    }

    fn check_flows_into(&self, table: &TableDefinition, problems: &mut Vec<Problem>) {
        if table.kind == TableKind::MaterializedView {
            return;
        }
        let name = &table.name.node;
        let flows: Vec<&FlowDefinition> = self.flows_into(name).collect();
        if flows.is_empty() && table.query.is_none() {
            problems.push(
                Problem::new(
                    table.name.span,
                    format!("no flow writes the streaming table `{name}`"),
                )
                .help(format!(
                    "add AS SELECT …, or CREATE FLOW name AS … INTO {name}"
                )),
            );
        }
        let others = flows.len() + usize::from(table.query.is_some());
        let cdc = flows
            .iter()
            .find(|flow| matches!(flow.write, WriteDefinition::AutoCdc(_)));
        if let (Some(flow), true) = (cdc, others > 1) {
            let what = format!("another flow beside AUTO CDC into `{name}`");
            problems.push(Problem::unsupported(flow.target.span, &what));
        }
    }

    /// Reports a column that the table does not declare, if it declares any.
    fn check_declared(
        &self,
        table: &TableDefinition,
        column: &str,
        place: Span,
        problems: &mut Vec<Problem>,
    ) {
        let mut names = table.columns.iter().map(|column| column.node.name.as_str());
        if !table.columns.is_empty() && !names.clone().any(|name| name == column) {
            let help = suggest::did_you_mean(column, names.by_ref());
            let message = format!("`{}` declares no column `{column}`", table.name.node);
            problems.push(Problem::new(place, message).maybe_help(help));
        }
    }
}

/// Enters a name; the name, its place and the first place if it is taken.
fn take<N: Ord + Clone + ToString>(
    taken: &mut BTreeMap<N, Span>,
    name: &Spanned<N>,
) -> Option<(String, Span, Span)> {
    if let Some(first) = taken.get(&name.node) {
        return Some((name.node.to_string(), name.span, *first));
    }
    taken.insert(name.node.clone(), name.span);
    None
}

/// `file:line` of a place.
fn place_of(span: Span, files: &[SourceFile]) -> String {
    let Some(file) = files.get(span.file.0) else {
        return "an unknown place".to_owned();
    };
    let before = file.text.get(..span.start).unwrap_or_default();
    format!("{}:{}", file.name, before.matches('\n').count() + 1)
}

/// Refuses a source function that is not read as a stream.
fn check_function(
    function: &SourceFunction,
    source: &Source,
    query: &Query,
    reader: Reader,
    problems: &mut Vec<Problem>,
) {
    // A query that must have a stream and has none is told that.
    let told = reader == Reader::StreamingTable && query.streams().next().is_none();
    if source.kind == ReadKind::Stream || told {
        return;
    }
    let name = &function.name;
    problems.push(
        Problem::unsupported(source.span, &format!("{name} without STREAM")).help(format!(
            "read it into a streaming table, … AS SELECT * FROM STREAM {name}(…), and read that \
             table here"
        )),
    );
}

fn check_streams(query: &Query, reader: Reader, problems: &mut Vec<Problem>) {
    match (reader, query.streams().next()) {
        (Reader::MaterializedView, Some(stream)) => problems.push(
            Problem::new(
                stream.span,
                "a materialized view reads all rows, not a stream",
            )
            .help("leave STREAM out"),
        ),
        (Reader::StreamingTable, None) => {
            let (place, help) = match query.sources.first() {
                Some(source) => (
                    source.span,
                    format!("write STREAM({})", shown(&source.from)),
                ),
                None => (query.span, "read a table: … FROM STREAM(name)".to_owned()),
            };
            let message = "a streaming table needs a stream to read";
            let other = "use a materialized view for a query over all rows";
            problems.push(Problem::new(place, message).help(format!("{help}, or {other}")));
        }
        _ => {}
    }
}

fn shown(from: &SourceRef) -> String {
    match from {
        SourceRef::Table(name) => name.to_string(),
        SourceRef::Function(function) => format!("{}(…)", function.name),
    }
}

fn check_auto_cdc(cdc: &AutoCdcDefinition, problems: &mut Vec<Problem>) {
    if cdc.sequence_by.column.is_none() {
        problems.push(
            Problem::unsupported(cdc.sequence_by.span, "SEQUENCE BY an expression")
                .help("make it a column in a temporary view, and name the column here"),
        );
    }
    if let Some(condition) = &cdc.delete_when {
        problems.push(Problem::unsupported(condition.span, "APPLY AS DELETE WHEN"));
    }
    if let Some(place) = cdc.ignore_null_updates {
        problems.push(Problem::unsupported(place, "IGNORE NULL UPDATES"));
    }
    if let (ScdType::Type2, Some(place)) = (cdc.scd_type, cdc.scd_type_span) {
        problems.push(Problem::unsupported(place, "SCD TYPE 2").help("use SCD TYPE 1"));
    }
    if let Some(history) = &cdc.track_history {
        problems.push(Problem::unsupported(history.span, "TRACK HISTORY ON"));
    }
    for key in &cdc.keys {
        let missing = match &cdc.columns {
            ColumnSelection::All => false,
            ColumnSelection::Only(columns) => columns.iter().all(|c| c.node != key.node),
            ColumnSelection::AllExcept(columns) => columns.iter().any(|c| c.node == key.node),
        };
        if missing {
            let message = format!(
                "key `{}` is not among the COLUMNS that are written",
                key.node
            );
            problems.push(Problem::new(key.span, message));
        }
    }
}
