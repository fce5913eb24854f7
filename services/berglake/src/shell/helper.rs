//! What the line editor knows: where input ends, and how words may go on.

use std::collections::BTreeSet;

use berglake_catalog::Catalog;
use berglake_format::Result;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::statements;

const KEYWORDS: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BRANCH",
    "BY",
    "CALL",
    "CASE",
    "CAST",
    "COLUMN",
    "COUNT",
    "CREATE",
    "CROSS",
    "DATE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NAMESPACE",
    "NOT",
    "NULL",
    "NULLS",
    "OF",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "OVERWRITE",
    "PARTITION",
    "PARTITIONED",
    "RENAME",
    "RIGHT",
    "SELECT",
    "SET",
    "SHOW",
    "TABLE",
    "TABLES",
    "TAG",
    "TBLPROPERTIES",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "USE",
    "USING",
    "VALUES",
    "VERSION",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Commands of the shell itself.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("\\?", "this list"),
    ("\\d", "the tables; \\d TABLE: its columns"),
    ("\\timing", "how long statements take: on or off"),
    ("\\q", "quit"),
];

/// Names that can be completed.
#[derive(Debug, Default, Clone)]
pub(super) struct Names {
    /// Tables with their namespaces.
    pub(super) tables: BTreeSet<String>,
    pub(super) columns: BTreeSet<String>,
}

impl Names {
    /// The tables of the catalog and their columns.
    pub(super) async fn of(catalog: &dyn Catalog) -> Result<Self> {
        let mut names = Self::default();
        for ident in crate::commands::all_tables(catalog).await? {
            names.tables.insert(ident.to_string());
            // A table that cannot be loaded is named all the same; a query says what is wrong.
            if let Ok(table) = catalog.load(&ident).await {
                let fields = table.schema().as_struct().fields();
                names
                    .columns
                    .extend(fields.iter().map(|field| field.name.clone()));
            }
        }
        Ok(names)
    }
}

#[derive(Default)]
pub(super) struct SqlHelper {
    pub(super) names: Names,
}

impl SqlHelper {
    /// The words that may stand where this one begins.
    fn candidates(&self, word: &str) -> Vec<String> {
        if word.starts_with('\\') {
            let names = COMMANDS.iter().map(|(name, _)| *name);
            return names
                .filter(|name| name.starts_with(word))
                .map(str::to_string)
                .collect();
        }
        let begins = |name: &str| {
            name.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        let names = self.names.tables.iter().chain(&self.names.columns);
        let mut found: Vec<String> = names.filter(|name| begins(name)).cloned().collect();
        if !word.is_empty() {
            let lower = word.chars().any(char::is_lowercase);
            found.extend(
                KEYWORDS
                    .iter()
                    .filter(|keyword| begins(keyword))
                    .map(|keyword| {
                        if lower {
                            keyword.to_lowercase()
                        } else {
                            (*keyword).to_string()
                        }
                    }),
            );
        }
        found
    }
}

impl Completer for SqlHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '\\' | '?'))
            .last()
            .map_or(pos, |(start, _)| start);
        Ok((start, self.candidates(&before[start..])))
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let is_command = input.trim_start().starts_with('\\') || super::is_farewell(input);
        Ok(if is_command || statements::is_complete(input) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Highlighter for SqlHelper {}

impl Helper for SqlHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper() -> SqlHelper {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        SqlHelper {
            names: Names {
                tables: set(&["gold.top_movies", "silver.movies"]),
                columns: set(&["title", "release_date"]),
            },
        }
    }

    #[test]
    fn words_go_on_as_keywords_tables_and_columns() {
        let helper = helper();
        assert_eq!(helper.candidates("sel"), ["select"]);
        assert_eq!(helper.candidates("SEL"), ["SELECT"]);
        assert_eq!(helper.candidates("gold.t"), ["gold.top_movies"]);
        assert_eq!(helper.candidates("TIT"), ["title"]);
        assert_eq!(helper.candidates("\\t"), ["\\timing"]);
        assert!(helper.candidates("nothing").is_empty());
    }

    #[test]
    fn the_word_before_the_cursor_is_completed() {
        let history = rustyline::history::DefaultHistory::new();
        let context = Context::new(&history);
        let line = "SELECT é, tit FROM x";
        let pos = "SELECT é, tit".len();
        let (start, found) = helper().complete(line, pos, &context).unwrap();
        assert_eq!(
            (&line[start..pos], found),
            ("tit", vec!["title".to_string()])
        );
    }
}
