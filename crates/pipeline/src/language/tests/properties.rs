//! What holds for every text.

use proptest::prelude::*;

use super::movies::{MOVIES, variables};
use super::*;

/// Pieces that statements are made of, to get past the first word.
const PIECES: &[&str] = &[
    "CREATE",
    "OR REFRESH",
    "STREAMING TABLE",
    "MATERIALIZED VIEW",
    "TEMPORARY VIEW",
    "FLOW",
    "AS",
    "SELECT",
    "*",
    "FROM",
    "STREAM",
    "(",
    ")",
    ",",
    ";",
    "b.t",
    "v",
    "AUTO CDC INTO",
    "KEYS",
    "SEQUENCE BY",
    "read_files",
    "'x'",
    "=>",
    "format",
    "PARTITIONED BY",
    "bucket",
    "16",
    "-",
    "CONSTRAINT",
    "EXPECT",
    "ON VIOLATION",
    "TBLPROPERTIES",
    "=",
    "${data}",
    "${no}",
    "${",
    "`é`",
    "'",
    "`",
    "/*",
    "--",
    "\n",
    "\t",
    "ARRAY<",
    "STRUCT<",
    ">>",
    ">",
    ":",
    "INT",
    "JOIN",
    "WITH",
    "UNION ALL",
    "GROUP BY",
    "COLUMNS",
    "EXCEPT",
    "INSERT INTO",
    "BY NAME",
    "\r\n",
    "日本",
    "$$",
];

fn read(text: &str) -> Result<Pipeline, Diagnostics> {
    Pipeline::from_files(&[SourceFile::new("p.sql", text)], &variables())
}

/// Positions lie inside the text, between characters, and the message can be printed.
fn check_positions(text: &str) {
    let Err(diagnostics) = read(text) else { return };
    let lines = text.split('\n').count();
    for diagnostic in &diagnostics {
        let span = diagnostic.span();
        assert!(span.start <= span.end && span.end <= text.len());
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
        assert!((1..=lines).contains(&diagnostic.line()));
        let line = text.split('\n').nth(diagnostic.line() - 1).unwrap();
        assert!((1..=line.chars().count() + 1).contains(&diagnostic.column()));
        assert!(diagnostic.to_string().contains('^'));
    }
}

/// The movies pipeline with other layout and other case of unquoted words.
fn relaid(seed: &[u8]) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut variable = false;
    for (index, character) in MOVIES.chars().enumerate() {
        let choice = seed[index % seed.len()];
        match (character, quote) {
            ('\'' | '`', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            _ => {}
        }
        variable = (variable || character == '$') && character != '}';
        let code = quote.is_none() && !variable;
        match (character, choice % 6) {
            (' ' | '\n', 0) if code => out.push_str(" /* aside /* nested */ */\n"),
            (' ' | '\n', 1) if code => out.push_str("\t-- aside; 'quoted'\n"),
            (' ' | '\n', 2) if code => out.push_str("  \r\n"),
            (letter, 3) if code => out.extend(letter.to_lowercase()),
            (letter, 4) if code => out.extend(letter.to_uppercase()),
            _ => out.push(character),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
        check_positions(&text);
        let _ = parse_schema(&text);
    }

    #[test]
    fn any_sequence_of_pieces_is_read_without_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
    ) {
        check_positions(&pieces.join(" "));
        check_positions(&format!("CREATE STREAMING TABLE b.t {}", pieces.join(" ")));
        check_positions(&format!("CREATE MATERIALIZED VIEW b.t AS SELECT {}", pieces.join("")));
        let _ = parse_schema(&pieces.join(" "));
    }

    #[test]
    fn a_mutated_pipeline_is_read_without_panic(
        cut in any::<prop::sample::Index>(),
        length in 0_usize..30,
        insert in prop::sample::select(PIECES),
    ) {
        let boundaries: Vec<usize> = MOVIES.char_indices().map(|(at, _)| at).collect();
        let at = *cut.get(&boundaries);
        let end = boundaries.iter().copied().find(|end| *end >= at + length);
        let end = end.unwrap_or(MOVIES.len());
        check_positions(&format!("{}{insert}{}", &MOVIES[..at], &MOVIES[end..]));
    }

    #[test]
    fn fingerprints_do_not_depend_on_layout_and_case(
        seed in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let text = relaid(&seed);
        let prints = |pipeline: Pipeline| -> Vec<Fingerprint> {
            let tables = pipeline.tables().iter().map(|table| table.definition.fingerprint.clone());
            let flows = pipeline.flows().iter().map(|flow| flow.fingerprint.clone());
            tables.chain(flows).collect()
        };
        let changed = read(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(prints(changed), prints(read(MOVIES).unwrap()));
    }
}

#[test]
fn deep_and_long_texts_are_read_without_exhausting_the_stack() {
    let view = |expr: &str| format!("CREATE MATERIALIZED VIEW g.t AS SELECT {expr} FROM x.y");
    check_positions(&view(&"(".repeat(20_000)));
    check_positions(&view(&"NOT ".repeat(20_000)));
    check_positions(&view(&format!("1{}", " + 1".repeat(20_000))));
    check_positions(&view(&format!(
        "1 FROM x.y{}",
        " UNION ALL SELECT 1 FROM x.y".repeat(5_000)
    )));
    check_positions(&format!(
        "CREATE STREAMING TABLE b.t (a {}",
        "STRUCT<a: ".repeat(20_000)
    ));
}
