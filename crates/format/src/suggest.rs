//! "Did you mean …": the nearest of the words that would have been right.
//!
//! Nothing here knows of tables; it stands in this crate because every other one writes messages too.

/// The candidate that `word` most likely stands for, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong: enough for slips, too little to guess wildly. In a word of
    // one letter there is nothing to slip on.
    let limit = match word.chars().count() {
        0 | 1 => 0,
        letters => (letters / 3).max(1),
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A help text that names the nearest candidate.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean {found}?"))
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_edit_and_a_stranger_is_none() {
        assert_eq!(distance("partitoined", "partitioned"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            nearest("STREMING", ["STREAMING", "MATERIALIZED"]),
            Some("STREAMING")
        );
        assert_eq!(nearest("banana", ["format", "schema"]), None);
        assert_eq!(nearest("db", ["dbs", "other"]), Some("dbs"));
        assert_eq!(nearest("b", ["a", "c"]), None);
    }
}
