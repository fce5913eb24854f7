//! How flows are called for people.

use std::collections::HashSet;

/// Flows are called by their table, with their own name where several write it.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    shared: HashSet<String>,
}

impl Labels {
    /// The labels of flows into these tables, each table as often as it has flows.
    pub(crate) fn of(targets: impl IntoIterator<Item = String>) -> Self {
        let mut seen = HashSet::new();
        let mut shared = HashSet::new();
        for target in targets {
            if !seen.insert(target.clone()) {
                shared.insert(target);
            }
        }
        Self { shared }
    }

    /// What a flow into a table is called.
    pub(crate) fn label(&self, flow: &str, target: &str) -> String {
        if self.shared.contains(target) {
            format!("{target} ({flow})")
        } else {
            target.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_named_where_the_table_does_not_tell_it() {
        let targets = ["a.x", "a.y", "a.x"].map(str::to_string);
        let labels = Labels::of(targets);
        assert_eq!(labels.label("one", "a.x"), "a.x (one)");
        assert_eq!(labels.label("two", "a.y"), "a.y");
    }
}
