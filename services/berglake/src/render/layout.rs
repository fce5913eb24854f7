//! Text in aligned columns.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

/// A column's heading and side.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Numbers stand at the right.
    pub(crate) right: bool,
}

impl Column {
    pub(crate) fn left(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            right: false,
        }
    }

    pub(crate) fn right(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            right: true,
        }
    }
}

/// Column widths that are decided by the first rows; later cells that are wider push the line out.
pub(crate) struct Layout {
    columns: Vec<Column>,
    widths: Vec<usize>,
}

impl Layout {
    /// A layout that fits these rows.
    pub(crate) fn fitting(columns: Vec<Column>, rows: &[Vec<String>]) -> Self {
        let columns: Vec<Column> = columns
            .into_iter()
            .map(|column| Column {
                name: printable(&column.name),
                ..column
            })
            .collect();
        let widths = columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                rows.iter()
                    .filter_map(|row| row.get(i))
                    .flat_map(|cell| cell.lines())
                    .map(UnicodeWidthStr::width)
                    .chain([column.name.width()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        Self { columns, widths }
    }

    /// The heading and the line below it.
    pub(crate) fn heading(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| c.name.clone()).collect();
        let rule: Vec<String> = self.widths.iter().map(|width| "─".repeat(*width)).collect();
        format!("{}{}", self.row(&names), self.line(&rule))
    }

    /// One row, with its line end. A cell of several lines makes the row as high as it needs.
    pub(crate) fn row(&self, cells: &[String]) -> String {
        if !cells.iter().any(|cell| cell.contains('\n')) {
            return self.line(cells);
        }
        let lines: Vec<Vec<&str>> = cells.iter().map(|cell| cell.lines().collect()).collect();
        let height = lines.iter().map(Vec::len).max().unwrap_or(1);
        (0..height)
            .map(|line| {
                let parts: Vec<String> = lines
                    .iter()
                    .map(|lines| lines.get(line).copied().unwrap_or_default().to_string())
                    .collect();
                self.line(&parts)
            })
            .collect()
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (i, ((cell, column), width)) in cells
            .iter()
            .zip(&self.columns)
            .zip(&self.widths)
            .enumerate()
        {
            if i > 0 {
                line.push_str("  ");
            }
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            let _ = match column.right {
                true => write!(line, "{pad}{cell}"),
                false => write!(line, "{cell}{pad}"),
            };
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// All rows at once.
pub(crate) fn table(columns: Vec<Column>, rows: &[Vec<String>]) -> String {
    let layout = Layout::fitting(columns, rows);
    let mut text = layout.heading();
    for row in rows {
        text.push_str(&layout.row(row));
    }
    text
}

/// Text on one line, with control characters escaped: data must not move the cursor.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, char::is_control)
}

/// Text on as many lines as it has, with other control characters escaped.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |c| c.is_control() && c != '\n')
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> String {
    if !text.chars().any(&is_bad) {
        return text.to_string();
    }
    text.chars()
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if is_bad(c) {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = vec![
            vec!["Amélie".to_string(), "7".to_string()],
            vec!["千と千尋".to_string(), "12".to_string()],
        ];
        let text = table(vec![Column::left("title"), Column::right("n")], &rows);
        assert_eq!(
            text,
            "title      n\n────────  ──\nAmélie     7\n千と千尋  12\n"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(printable_lines("a\nb\t"), "a\nb\\t");
    }

    #[test]
    fn a_cell_of_several_lines_makes_its_row_higher() {
        let rows = vec![vec!["plan".to_string(), "Sort\n  Scan".to_string()]];
        let text = table(vec![Column::left("a"), Column::left("b")], &rows);
        assert_eq!(text, "a     b\n────  ──────\nplan  Sort\n        Scan\n");
    }
}
