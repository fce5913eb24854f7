//! `read_files(connection => 'name', …)`: the path is one below the folder of a connection.

use std::collections::BTreeMap;

use super::ast::{Literal, Query, SourceFunction, SourceRef};
use super::diagnostics::{Diagnostics, Problem, SourceFile};
use super::graph::Pipeline;
use super::suggest;

const ARGUMENT: &str = "connection";

impl Pipeline {
    /// Makes the paths of sources that name a connection absolute: `folders` has the absolute folder
    /// or location of each.
    ///
    /// # Errors
    /// With each source that names a connection which does not exist, or a path that is not below it.
    pub fn connect(
        mut self,
        folders: &BTreeMap<String, String>,
        files: &[SourceFile],
    ) -> Result<Self, Diagnostics> {
        let mut problems = Vec::new();
        for flow in self.flows_mut() {
            let views = flow.views.iter_mut().map(|view| &mut view.query);
            for query in views.chain([&mut flow.query]) {
                connect_query(query, folders, &mut problems);
            }
            if let Some(stream) = &mut flow.stream {
                // It repeats a source of one of the queries, whose problems are told already.
                connect(&mut stream.from, folders, &mut Vec::new());
            }
        }
        match Diagnostics::from_problems(problems, files) {
            Some(diagnostics) => Err(diagnostics),
            None => Ok(self),
        }
    }
}

fn connect_query(
    query: &mut Query,
    folders: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    for source in &mut query.sources {
        connect(&mut source.from, folders, problems);
    }
}

fn connect(from: &mut SourceRef, folders: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    let SourceRef::Function(function) = from else {
        return;
    };
    if let Err(problem) = connect_function(function, folders) {
        problems.push(problem);
    }
}

fn connect_function(
    function: &mut SourceFunction,
    folders: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    let Some(connection) = function.arguments.get(ARGUMENT).cloned() else {
        return Ok(());
    };
    let Literal::String(name) = connection.node else {
        return Ok(());
    };
    let Some(folder) = folders.get(&name) else {
        let names = folders.keys().map(String::as_str);
        let help = suggest::did_you_mean(&name, names).unwrap_or_else(|| {
            format!(
                "define it in berglake.toml: [connections.{name}] with kind = \"files\" and a path"
            )
        });
        let message = format!("there is no connection `{name}`");
        return Err(Problem::new(connection.span, message).help(help));
    };
    let Some(path) = function.arguments.get_mut("path") else {
        return Ok(());
    };
    let Literal::String(text) = &mut path.node else {
        return Ok(());
    };
    let leaves = text.split('/').any(|segment| segment == "..");
    if text.starts_with('/') || text.contains("://") || leaves {
        let message = format!("the path is not below the connection `{name}`");
        return Err(Problem::new(path.span, message)
            .help(format!("write it relative to {folder}, without `..`")));
    }
    *text = format!("{}/{text}", escaped(folder.trim_end_matches('/')));
    Ok(())
}

/// A folder as a pattern that matches it alone.
fn escaped(folder: &str) -> String {
    let mut escaped = String::with_capacity(folder.len());
    for c in folder.chars() {
        if "*?[]{}\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
