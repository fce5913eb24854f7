//! Names: which ones can be created, and which one was probably meant.

use berglake_format::{Error, NamespaceIdent, Result};

/// Checks one level of a name that is to be created.
///
/// The store joins levels by dots, and default locations are made of names, so that neither dots in
/// levels nor anything that would leave the folder is possible.
pub(crate) fn check_level(what: &'static str, name: &str, dots: bool) -> Result<()> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name == "." || name == ".." {
        "is . or .."
    } else if name.contains(['/', '\\']) {
        "contains a slash"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else if name.trim() != name {
        "starts or ends with a space"
    } else if !dots && name.contains('.') {
        "contains a dot"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("the name of the {what} {wrong}")).with("name", format!("{name:?}")))
}

/// Checks a namespace that is to be created.
pub(crate) fn check_namespace(namespace: &NamespaceIdent) -> Result<()> {
    for level in namespace.iter() {
        check_level("namespace", level, false)?;
    }
    Ok(())
}

/// The longest name to which others are compared. No name in the store is longer, and the work grows
/// with the length.
const LONGEST: usize = 255;

/// The names nearest to a wrong one, best first, at most three.
pub(crate) fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if wrong.chars().nth(LONGEST).is_some() {
        return Vec::new();
    }
    let wrong = wrong.to_lowercase();
    let length = wrong.chars().count();
    let allowed = (length / 3).max(1);
    // Each edit changes the length by one at most.
    let comparable = |name: &&str| name.chars().count().abs_diff(length) <= allowed;
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter(comparable)
        .map(|name| (distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The number of single-character edits between two texts, a swap of neighbours being one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitute = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = substitute.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("moveis", "movies", 1),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_name_comes_first_and_far_ones_are_left_out() {
        let names = ["movies_clean", "movies_raw", "genres"];
        assert_eq!(near("movie_raw", names), ["movies_raw"]);
        assert_eq!(near("MOVIES_RAW", names), ["movies_raw"]);
        assert!(near("sales", names).is_empty());
    }

    #[test]
    fn a_name_that_is_longer_than_any_is_not_compared() {
        let (fits, long) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 1));
        let there = "x".repeat(LONGEST - 1);
        assert_eq!(near(&fits, [there.as_str()]), [there.as_str()]);
        assert!(near(&long, [there.as_str(), long.as_str()]).is_empty());
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for wrong in ["", ".", "..", "a/b", "a\\b", "a\nb", " a", "a "] {
            assert!(check_level("table", wrong, true).is_err(), "{wrong:?}");
        }
        assert!(check_level("table", "a.b", true).is_ok());
        assert!(check_level("namespace", "a.b", false).is_err());
        assert!(check_level("table", "Ümläut name%20", true).is_ok());
    }
}
