//! The pipeline as a graph: tables, the flows that write them, and the order to run them in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ast::{
    ColumnSelection, Expectation, Query, ReadKind, SourceRef, TableDefinition, TableKind,
    TableName, ViewDefinition, WriteDefinition,
};
use super::diagnostics::{Diagnostic, Diagnostics, Problem, SourceFile, Span};
use super::fingerprint::Fingerprint;
use super::statements;
use super::validate::{Dataset, Project};
use super::variables::Variables;

/// A project that has been read and found sound.
#[derive(Debug, Clone)]
pub struct Pipeline {
    tables: Vec<Table>,
    flows: Vec<Flow>,
    files: Vec<SourceFile>,
}

/// A table of the pipeline.
#[derive(Debug, Clone)]
pub struct Table {
    /// What the statement says about it.
    pub definition: TableDefinition,
    /// The tables of the pipeline that its flows read, directly or through views.
    pub upstream: BTreeSet<TableName>,
    /// The tables outside the pipeline that its flows read.
    pub external: BTreeSet<TableName>,
}

impl Table {
    /// The name.
    pub fn name(&self) -> &TableName {
        &self.definition.name.node
    }

    /// The kind.
    pub fn kind(&self) -> TableKind {
        self.definition.kind
    }

    /// The layer: the namespace of the table.
    pub fn layer(&self) -> String {
        self.name().namespace().join(".")
    }
}

/// A temporary view, as a flow needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: TableName,
    /// Its query.
    pub query: Query,
}

/// How rows come into a table.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The name; that of the table if its query is the flow.
    pub name: String,
    /// The table that it writes.
    pub target: TableName,
    /// What it reads. Sources that name one of `views` stand for the view's query.
    pub query: Query,
    /// The temporary views that it needs, each after those that it reads itself.
    pub views: Vec<View>,
    /// The one stream that it processes; `None` when it recomputes the table.
    pub stream: Option<StreamInput>,
    /// What is done with the rows.
    pub write: Write,
    /// Changes whenever the flow, or a view that it needs, says something else.
    pub fingerprint: Fingerprint,
    /// Where it is defined.
    pub span: Span,
}

impl Flow {
    /// The view that a source of the flow or of one of its views stands for.
    pub fn view(&self, name: &TableName) -> Option<&View> {
        self.views.iter().find(|view| view.name == *name)
    }

    /// Every source of the flow and its views that is no view itself.
    pub fn inputs(&self) -> impl Iterator<Item = &super::ast::Source> {
        let queries = self
            .views
            .iter()
            .map(|view| &view.query)
            .chain([&self.query]);
        queries
            .flat_map(|query| &query.sources)
            .filter(|source| match &source.from {
                SourceRef::Table(name) => self.view(name).is_none(),
                SourceRef::Function(_) => true,
            })
    }
}

/// The stream of a flow, found behind the views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInput {
    /// The id of the source, in the query of the flow or of one of its views.
    pub id: String,
    /// The table or source function.
    pub from: SourceRef,
}

/// What is done with the rows of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// They are appended.
    Append,
    /// They replace what the table holds.
    Replace,
    /// They are applied by key: SCD type 1.
    Upsert {
        /// The columns that identify a row.
        keys: Vec<String>,
        /// The column that tells the newer of two changes.
        sequence_by: String,
        /// The columns that are written.
        columns: ColumnSelection,
    },
}

impl Pipeline {
    /// Reads the files of a project.
    ///
    /// # Errors
    /// With everything that is wrong in them: what each statement gets wrong, and, if each can be
    /// read, what they get wrong together.
    pub fn from_files(files: &[SourceFile], variables: &Variables) -> Result<Self, Diagnostics> {
        let mut problems = Vec::new();
        let statements = statements::parse(files, variables, &mut problems);
        // A statement that could not be read would look like a missing one from here on.
        let complete = problems.is_empty();
        let project = Project::collect(statements, files, &mut problems);
        project.check_statements(&mut problems);
        if complete {
            project.check_references(&mut problems);
        }
        let graph = Graph::of(&project);
        let order = graph.order(&mut problems);
        match Diagnostics::from_problems(problems, files) {
            Some(diagnostics) => Err(diagnostics),
            None => Ok(Self {
                files: files.to_vec(),
                ..build(&project, &graph.names, &order)
            }),
        }
    }

    /// The tables, each after those that it reads.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of this name, if the pipeline keeps it.
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name() == name)
    }

    /// The flows, in an order in which they can run.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The flows that write a table.
    pub fn flows_into(&self, name: &TableName) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(move |flow| flow.target == *name)
    }

    /// Whether flows of the pipeline keep their dead letters in the table of this name.
    pub fn keeps_dead_letters_in(&self, name: &TableName) -> bool {
        let mut tables = self.tables.iter();
        tables.any(|table| table.definition.dead_letters_are_in(name))
    }

    /// A message that points at a place in the files.
    pub fn diagnostic(&self, span: Span, message: &str, help: Option<&str>) -> Diagnostic {
        Problem::new(span, message)
            .maybe_help(help.map(str::to_owned))
            .into_diagnostic(&self.files)
    }

    /// The layers in the order in which their first tables run.
    pub fn layers(&self) -> Vec<String> {
        let mut layers = Vec::new();
        for table in &self.tables {
            let layer = table.layer();
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        layers
    }
}

impl fmt::Display for Pipeline {
    /// The graph as text: each table with its flows and what they read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{} ({})", table.name(), table.kind())?;
            for flow in self.flows_into(table.name()) {
                let how = match &flow.write {
                    Write::Append => "append".to_owned(),
                    Write::Replace => "replace".to_owned(),
                    Write::Upsert { keys, .. } => format!("upsert by {}", keys.join(", ")),
                };
                writeln!(f, "  flow {}: {how}", flow.name)?;
                for source in flow.inputs() {
                    let stream = if source.kind == ReadKind::Stream {
                        "stream "
                    } else {
                        ""
                    };
                    writeln!(f, "    from {stream}{}", source.from)?;
                }
                for view in &flow.views {
                    writeln!(f, "    through {}", view.name)?;
                }
            }
        }
        Ok(())
    }
}

/// Who reads whom, by index into `names`.
struct Graph {
    names: Vec<TableName>,
    /// For each name, what it reads and where it says so.
    reads: Vec<BTreeMap<usize, Span>>,
}

impl Graph {
    fn of(project: &Project) -> Self {
        let views = project
            .views
            .iter()
            .map(|view| (&view.name.node, &view.query));
        let tables = project
            .tables
            .iter()
            .filter_map(|table| Some((&table.name.node, table.query.as_ref()?)));
        let flows = project
            .flows
            .iter()
            .map(|flow| (&flow.target.node, &flow.query));
        let mut starts: Vec<(Span, &TableName)> = project
            .tables
            .iter()
            .map(|table| &table.name)
            .chain(project.views.iter().map(|view| &view.name))
            .map(|name| (name.span, &name.node))
            .collect();
        starts.sort();
        let names: Vec<TableName> = starts.into_iter().map(|(_, name)| name.clone()).collect();
        let index: BTreeMap<&TableName, usize> = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name, index))
            .collect();
        let mut reads = vec![BTreeMap::new(); names.len()];
        for (reader, query) in views.chain(tables).chain(flows) {
            for source in &query.sources {
                let SourceRef::Table(name) = &source.from else {
                    continue;
                };
                let Some(reader) = index.get(reader) else {
                    continue;
                };
                // Who reads dead letters reads after the flows that keep them.
                let keepers = project.with_dead_letters_in(name);
                let keepers = keepers.filter_map(|table| index.get(&table.name.node));
                for read in index.get(name).into_iter().chain(keepers) {
                    reads[*reader].entry(*read).or_insert(source.span);
                }
            }
        }
        drop(index);
        Self { names, reads }
    }

    /// The nodes, each after those that it reads, else in the order of their definition. Every
    /// cycle is reported with all its members.
    fn order(&self, problems: &mut Vec<Problem>) -> Vec<usize> {
        let mut order = Vec::new();
        let mut done = vec![false; self.names.len()];
        loop {
            let ready = (0..self.names.len())
                .find(|node| !done[*node] && self.reads[*node].keys().all(|read| done[*read]));
            if let Some(node) = ready {
                done[node] = true;
                order.push(node);
                continue;
            }
            let Some(start) = (0..self.names.len()).find(|node| !done[*node]) else {
                return order;
            };
            let cycle = self.cycle(start, &done);
            self.report(&cycle, problems);
            // Its members count as done, so that the next cycle can be found.
            for node in cycle {
                done[node] = true;
                order.push(node);
            }
        }
    }

    /// A cycle that is met when walking from `start` over nodes that are not done. Each of them
    /// reads another such node, so the walk must come back to where it was.
    fn cycle(&self, start: usize, done: &[bool]) -> Vec<usize> {
        let mut path = vec![start];
        loop {
            let last = path.last().copied().unwrap_or(start);
            let next = self.reads[last]
                .keys()
                .copied()
                .find(|read| !done[*read])
                .unwrap_or(start);
            if let Some(at) = path.iter().position(|node| *node == next) {
                let mut cycle = path.split_off(at);
                // It is told from its first member, so that the message does not depend on luck.
                let first = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
                cycle.rotate_left(first);
                return cycle;
            }
            path.push(next);
        }
    }

    fn report(&self, cycle: &[usize], problems: &mut Vec<Problem>) {
        let (Some(first), Some(second)) = (cycle.first(), cycle.iter().cycle().nth(1)) else {
            return;
        };
        let Some(place) = self.reads[*first].get(second) else {
            return;
        };
        let members: Vec<String> = cycle
            .iter()
            .chain([first])
            .map(|node| format!("`{}`", self.names[*node]))
            .collect();
        let message = format!("the pipeline is cyclic: {}", members.join(" reads "));
        let help = "read the other table through a table that does not depend on this one";
        problems.push(Problem::new(*place, message).help(help));
    }
}

/// Puts together what has been found sound.
fn build(project: &Project, names: &[TableName], order: &[usize]) -> Pipeline {
    let mut tables = Vec::new();
    let mut flows = Vec::new();
    for name in order.iter().filter_map(|node| names.get(*node)) {
        let Some(table) = project.table(name) else {
            continue;
        };
        let mut upstream = BTreeSet::new();
        let mut external = BTreeSet::new();
        let into = flows_of(project, table);
        for source in into.iter().flat_map(Flow::inputs) {
            if let SourceRef::Table(name) = &source.from {
                let mut keepers = project.with_dead_letters_in(name).peekable();
                if project.table(name).is_some() {
                    upstream.insert(name.clone());
                } else if keepers.peek().is_some() {
                    upstream.extend(keepers.map(|table| table.name.node.clone()));
                } else {
                    external.insert(name.clone());
                }
            }
        }
        flows.extend(into);
        tables.push(Table {
            definition: table.clone(),
            upstream,
            external,
        });
    }
    Pipeline {
        tables,
        flows,
        files: Vec::new(),
    }
}

fn flows_of(project: &Project, table: &TableDefinition) -> Vec<Flow> {
    let target = &table.name.node;
    let implicit = table.query.as_ref().map(|query| {
        let (write, own) = match table.kind {
            TableKind::StreamingTable => (Write::Append, query.fingerprint.clone()),
            TableKind::MaterializedView => (
                Write::Replace,
                with_expectations(&query.fingerprint, &table.expectations),
            ),
        };
        flow(
            project,
            target.to_string(),
            target,
            query,
            write,
            &own,
            table.name.span,
        )
    });
    let explicit = project
        .flows
        .iter()
        .filter(|flow| flow.target.node == *target);
    let explicit = explicit.map(|definition| {
        let write = match &definition.write {
            WriteDefinition::Append => Write::Append,
            WriteDefinition::AutoCdc(cdc) => Write::Upsert {
                keys: cdc.keys.iter().map(|key| key.node.clone()).collect(),
                sequence_by: cdc.sequence_by.column.clone().unwrap_or_default(),
                columns: cdc.columns.clone(),
            },
        };
        let name = definition.name.node.clone();
        let place = definition.name.span;
        flow(
            project,
            name,
            target,
            &definition.query,
            write,
            &definition.fingerprint,
            place,
        )
    });
    implicit.into_iter().chain(explicit).collect()
}

/// The fingerprint of a view: its expectations decide which rows it holds as its query does.
fn with_expectations(query: &Fingerprint, expectations: &[Expectation]) -> Fingerprint {
    if expectations.is_empty() {
        return query.clone();
    }
    let named = expectations.iter().map(|expectation| {
        let Expectation {
            name,
            condition,
            on_violation,
        } = expectation;
        let what = format!("expectation {} {}", on_violation.as_str(), name.node);
        (what, &condition.fingerprint)
    });
    let parts: Vec<(String, &Fingerprint)> = [("query".to_owned(), query)]
        .into_iter()
        .chain(named)
        .collect();
    Fingerprint::combine(parts.iter().map(|(name, print)| (name.as_str(), *print)))
}

fn flow(
    project: &Project,
    name: String,
    target: &TableName,
    query: &Query,
    write: Write,
    own: &Fingerprint,
    span: Span,
) -> Flow {
    let mut views = Vec::new();
    needed_views(project, query, &mut views);
    let parts = views
        .iter()
        .map(|view| (view.name.to_string(), &view.query.fingerprint));
    let parts: Vec<(String, &Fingerprint)> = [("flow".to_owned(), own)]
        .into_iter()
        .chain(parts)
        .collect();
    let fingerprint =
        Fingerprint::combine(parts.iter().map(|(name, print)| (name.as_str(), *print)));
    let stream = stream_input(project, query);
    let target = target.clone();
    Flow {
        name,
        target,
        query: query.clone(),
        views,
        stream,
        write,
        fingerprint,
        span,
    }
}

/// Adds the views that a query needs, each after those that it reads; there are no cycles here.
fn needed_views(project: &Project, query: &Query, views: &mut Vec<View>) {
    for source in &query.sources {
        let SourceRef::Table(name) = &source.from else {
            continue;
        };
        if let Some(Dataset::View(view)) = project.resolve(name) {
            let ViewDefinition { name, query } = view;
            if views.iter().all(|known| known.name != name.node) {
                needed_views(project, query, views);
                views.push(View {
                    name: name.node.clone(),
                    query: query.clone(),
                });
            }
        }
    }
}

/// The stream of a query, behind as many views as there are.
fn stream_input(project: &Project, query: &Query) -> Option<StreamInput> {
    let mut source = query.streams().next()?;
    while let SourceRef::Table(name) = &source.from {
        match project.view(name) {
            Some(view) => source = view.query.streams().next()?,
            None => break,
        }
    }
    Some(StreamInput {
        id: source.id.clone(),
        from: source.from.clone(),
    })
}
