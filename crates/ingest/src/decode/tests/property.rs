use arrow::array::Array;
use bytes::Bytes;
use proptest::prelude::*;

use super::super::frame::{Csv, Frame, Framer};
use super::super::json::Parser;
use super::*;

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z\"\\\\\\[\\]{},é]{0,6}".prop_map(Value::from),
        Just(Value::from("2024-01-01T00:00:00Z")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn data_type() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Utf8),
        Just(DataType::Boolean),
        Just(DataType::Int32),
        Just(DataType::Int64),
        Just(DataType::Float64),
        Just(DataType::Decimal128(10, 3)),
        Just(micros()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(item, nullable)| list(item, nullable)),
            inner.clone().prop_map(map),
            (inner.clone(), inner, any::<bool>()).prop_map(|(a, b, nullable)| {
                DataType::Struct(
                    vec![Field::new("a", a, nullable), Field::new("b", b, true)].into(),
                )
            }),
        ]
    })
}

/// A line of a file: a record of a random shape, or nonsense.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (json_value(), json_value())
            .prop_map(|(a, b)| serde_json::json!({"a": a, "b": b}).to_string()),
        1 => json_value().prop_map(|value| value.to_string()),
        1 => "[ -~]{1,12}",
    ]
}

/// What an independent reading says about a value: does it fit?
fn fits(value: &serde_json::Value, data_type: &DataType, nullable: bool) -> bool {
    use serde_json::Value;
    match (value, data_type) {
        (Value::Null, _) => nullable,
        (Value::String(_) | Value::Number(_) | Value::Bool(_), DataType::Utf8) => true,
        (Value::Bool(_), DataType::Boolean) => true,
        (Value::Number(number), DataType::Int32 | DataType::Int64) => {
            let whole = number.as_i64().map(i128::from).or_else(|| {
                let float = number.as_f64()?;
                // Below 2^63 a whole float is the integer that its text says, or not far from it.
                (float.fract() == 0.0 && float.abs() < 1e18).then_some(float as i128)
            });
            let Some(whole) = whole else { return false };
            match data_type {
                DataType::Int32 => i32::try_from(whole).is_ok(),
                _ => i64::try_from(whole).is_ok(),
            }
        }
        (Value::Number(_), DataType::Float64) => true,
        (Value::Number(number), DataType::Decimal128(10, 3)) => {
            let text = number.to_string();
            match number::exact(&text, 3) {
                Ok(value) => value.unsigned_abs() < 10_u128.pow(10),
                Err(_) => false,
            }
        }
        (Value::String(text), DataType::Timestamp(..)) => text == "2024-01-01T00:00:00Z",
        (Value::Array(items), DataType::List(item)) => items
            .iter()
            .all(|value| fits(value, item.data_type(), item.is_nullable())),
        (Value::Object(fields), DataType::Struct(expected)) => expected.iter().all(|field| {
            let value = fields.get(field.name()).unwrap_or(&Value::Null);
            fits(value, field.data_type(), field.is_nullable())
        }),
        (Value::Object(fields), DataType::Map(entries, _)) => {
            let DataType::Struct(entry) = entries.data_type() else {
                return false;
            };
            fields
                .values()
                .all(|value| fits(value, entry[1].data_type(), true))
        }
        _ => false,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn frames(mut framer: Framer, bytes: &[u8], cuts: &[usize]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let to = (from + cut).min(bytes.len());
        framer.push(Bytes::copy_from_slice(&bytes[from..to]), &mut frames);
        from = to;
    }
    framer.push(Bytes::copy_from_slice(&bytes[from..]), &mut frames);
    framer.finish(&mut frames);
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_record_is_exactly_once_a_row_or_a_dead_letter_in_order(
        a in data_type(), b in data_type(), a_null in any::<bool>(), b_null in any::<bool>(),
        lines in prop::collection::vec(line(), 0..12),
        as_array in any::<bool>(),
    ) {
        let columns = schema(&[("a", a.clone(), a_null), ("b", b.clone(), b_null)]);
        let records: Vec<(String, Option<serde_json::Value>)> = lines
            .iter()
            .map(|line| (line.trim().to_owned(), serde_json::from_str(line).ok()))
            .filter(|(text, value)| !text.is_empty() && (!as_array || value.is_some()))
            .collect();
        let mut text = String::new();
        let mut offsets = Vec::new();
        for (at, (record, _)) in records.iter().enumerate() {
            text.push_str(match (as_array, at) {
                (true, 0) => "[ ",
                (true, _) => " ,\n",
                (false, _) => " ",
            });
            offsets.push(text.len() as u64);
            text.push_str(record);
            if !as_array {
                text.push_str("\r\n");
            }
        }
        if as_array {
            text.push_str(if records.is_empty() { "[]" } else { "]" });
        }
        let format = if as_array { Format::JsonArray } else { Format::NdJson };
        let outcome = run(read(text.as_bytes(), ReadOptions::new(format, columns)));

        let good: Vec<i64> = records
            .iter()
            .enumerate()
            .filter(|(_, (_, value))| match value {
                Some(serde_json::Value::Object(fields)) => {
                    let null = serde_json::Value::Null;
                    fits(fields.get("a").unwrap_or(&null), &a, a_null)
                        && fits(fields.get("b").unwrap_or(&null), &b, b_null)
                }
                _ => false,
            })
            .map(|(at, _)| at as i64)
            .collect();
        prop_assert_eq!(outcome.numbers(), good.clone(), "{}", text);
        let mut bad = Vec::new();
        for (at, (record, _)) in records.iter().enumerate() {
            if !good.contains(&(at as i64)) {
                bad.push((at as u64, record.clone(), Some(offsets[at])));
            }
        }
        let dead: Vec<_> = outcome
            .dead()
            .into_iter()
            .zip(outcome.offsets())
            .map(|((row, _, raw), offset)| (row, raw, offset))
            .collect();
        prop_assert_eq!(dead, bad);
    }

    #[test]
    fn json_is_accepted_where_an_independent_parser_accepts_it(text in "[\\[\\]{}:,\"\\\\a-c0-2.eE+\\-tnul ]{0,16}") {
        let mut parser = Parser::new(&text);
        parser.blanks();
        let accepted = parser.skip_value(0).and_then(|()| parser.end()).is_ok();
        let number_beyond_f64 = |error: &serde_json::Error| error.to_string().contains("out of range");
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(_) => prop_assert!(accepted, "{}", text),
            Err(error) if number_beyond_f64(&error) => {}
            Err(error) => prop_assert!(!accepted, "{}: {}", text, error),
        }
    }

    #[test]
    fn where_chunks_are_cut_makes_no_difference(
        text in prop::collection::vec(
            prop_oneof![
                Just("\u{feff}"), Just("[") , Just("]"), Just("{\"a\":1}"), Just(","), Just("\n"),
                Just("\r\n"), Just("\""), Just("\\"), Just("{"), Just("}"), Just(" "), Just("x,y"),
            ],
            0..20,
        ),
        cuts in prop::collection::vec(0_usize..6, 0..20),
    ) {
        let bytes = text.concat().into_bytes();
        let framers: [fn() -> Framer; 4] = [
            Framer::detect,
            || Framer::Lines(frame::Lines::default()),
            || Framer::Array(frame::Array::default()),
            || Framer::Csv(Csv::new(b',', b'"')),
        ];
        for framer in framers {
            let whole = frames(framer(), &bytes, &[]);
            prop_assert_eq!(&whole, &frames(framer(), &bytes, &cuts));
            for pair in whole.windows(2) {
                let end = pair[0].offset + pair[0].raw.len() as u64;
                prop_assert!(end <= pair[1].offset, "{:?}", pair);
            }
            for frame in &whole {
                let at = frame.offset as usize;
                prop_assert_eq!(&bytes[at..at + frame.raw.len()], &frame.raw[..]);
            }
        }
    }

    #[test]
    fn csv_that_was_written_is_read_back(
        rows in prop::collection::vec(
            (any::<i32>(), prop::option::of("[a-z,;\"\r\n é]{0,8}"), prop::option::of(any::<f64>())),
            0..8,
        ),
        crlf in any::<bool>(), last_end in any::<bool>(),
    ) {
        let columns = schema(&[
            ("i", DataType::Int32, false),
            ("s", DataType::Utf8, true),
            ("f", DataType::Float64, true),
        ]);
        let end = if crlf { "\r\n" } else { "\n" };
        let mut lines = vec!["s,i,f".to_owned()];
        for (i, s, f) in &rows {
            let s = s.as_ref().map(|s| format!("\"{}\"", s.replace('"', "\"\""))).unwrap_or_default();
            let f = f.map(|f| f.to_string()).unwrap_or_default();
            lines.push(format!("{s},{i},{f}"));
        }
        let mut text = lines.join(end);
        if last_end {
            text.push_str(end);
        }
        let outcome = run(read(text.as_bytes(), ReadOptions::new(Format::Csv, columns)));
        // Infinite numbers are no numbers of a CSV file.
        let infinite = |row: &&(i32, Option<String>, Option<f64>)| row.2.is_some_and(f64::is_infinite);
        prop_assert_eq!(outcome.letters.len(), rows.iter().filter(infinite).count());
        let mut found = Vec::new();
        for batch in &outcome.batches {
            let integers = batch["i"].as_primitive::<arrow::datatypes::Int32Type>();
            let texts = batch["s"].as_string::<i32>();
            let floats = batch["f"].as_primitive::<arrow::datatypes::Float64Type>();
            for row in 0..batch.num_rows() {
                let text = texts.is_valid(row).then(|| texts.value(row).to_owned());
                let float = floats.is_valid(row).then(|| floats.value(row).to_string());
                found.push((integers.value(row), text, float));
            }
        }
        let expected: Vec<_> = rows
            .iter()
            .filter(|row| !infinite(row))
            .map(|(i, s, f)| (*i, s.clone(), f.map(|f| f.to_string())))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
