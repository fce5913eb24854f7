//! The message of a conflict: what our server says and our client understands again.

use berglake_format::TableIdent;
use berglake_format::commit::ConflictReason;

/// The words before a requirement that failed, as clients of other projects look for them.
const FAILED: &str = "Requirement failed: ";

/// The message for a table whose change lost.
pub(crate) fn message(ident: &TableIdent, reason: &ConflictReason) -> String {
    match reason {
        ConflictReason::Requirement(why) => format!("{FAILED}{why} (table: {ident})"),
        other => format!("{other} (table: {ident})"),
    }
}

/// A message without the table that it names at its end, and the table.
pub(crate) fn table_in(message: &str) -> Option<(&str, &str)> {
    message.strip_suffix(')')?.rsplit_once(" (table: ")
}

/// The reason that a message gives. Messages of other servers are requirements as they stand.
pub(crate) fn reason(message: &str) -> ConflictReason {
    let bare = table_in(message).map_or(message, |(bare, _)| bare);
    if bare == ConflictReason::PointerMoved.to_string() {
        return ConflictReason::PointerMoved;
    }
    ConflictReason::Requirement(bare.strip_prefix(FAILED).unwrap_or(bare).to_string())
}

#[cfg(test)]
mod tests {
    use berglake_format::NamespaceIdent;

    use super::*;

    #[test]
    fn a_reason_is_understood_as_it_was_meant() {
        let ident = TableIdent::new(NamespaceIdent::new("n".to_string()), "a (b)".to_string());
        for meant in [
            ConflictReason::PointerMoved,
            ConflictReason::Requirement("table already exists (now)".to_string()),
        ] {
            let said = message(&ident, &meant);
            assert_eq!(reason(&said), meant);
            assert_eq!(table_in(&said).unwrap().1, "n.a (b)");
        }
        let foreign = "Cannot commit: stale (attempt 2)";
        let kept = ConflictReason::Requirement(foreign.to_string());
        assert_eq!(reason(foreign), kept);
    }
}
