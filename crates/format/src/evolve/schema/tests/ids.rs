//! Whatever is edited, a column keeps its id, and no other gets it.

use std::collections::{BTreeSet, HashMap};

use iceberg::spec::{FormatVersion, PrimitiveType};
use proptest::prelude::*;

use super::*;

/// An edit that may or may not fit the schema, made of numbers.
fn some_edit(schema: &Schema, numbers: (u8, u8, u8)) -> SchemaEdit {
    let (kind, which, other) = numbers;
    let mut names: Vec<&str> = schema
        .field_id_to_name_map()
        .values()
        .map(|n| &**n)
        .collect();
    names.sort_unstable();
    let pick = |at: u8| path(names[usize::from(at) % names.len()]);
    let name = |at: u8| ["a", "b", "c", "d", "e"][usize::from(at) % 5].to_string();
    let types = [
        INT,
        STRING,
        group(vec![optional("a", INT), optional("b", list(3, INT))]),
        list(5, group(vec![optional("a", INT)])),
        map(7, group(vec![optional("c", INT)])),
    ];
    let ty = types[usize::from(other) % types.len()].clone();
    match kind % 8 {
        0 | 1 => SchemaEdit::Add {
            parent: (which % 3 > 0).then(|| pick(which)),
            name: name(other),
            ty,
            required: false,
            doc: None,
            initial_default: None,
            write_default: None,
            position: match other % 3 {
                0 => Position::First,
                1 => Position::After(name(which)),
                _ => Position::Last,
            },
            if_not_exists: other % 2 == 0,
        },
        2 | 3 => SchemaEdit::Drop {
            path: pick(which),
            if_exists: false,
        },
        4 => SchemaEdit::Rename {
            path: pick(which),
            to: name(other),
        },
        5 => SchemaEdit::Move {
            path: pick(which),
            position: Position::Before(name(other)),
        },
        6 => SchemaEdit::Widen {
            path: pick(which),
            to: LONG,
        },
        _ => SchemaEdit::Optional { path: pick(which) },
    }
}

/// Each id with the kind of its type, which never changes.
fn kinds(schema: &Schema) -> HashMap<i32, u8> {
    let fields = schema.field_id_to_fields().iter();
    fields
        .map(|(id, field)| {
            let kind = match field.field_type.as_ref() {
                Type::Primitive(PrimitiveType::Int | PrimitiveType::Long) => 0,
                Type::Primitive(_) => 1,
                Type::Struct(_) => 2,
                Type::List(_) => 3,
                Type::Map(_) => 4,
            };
            (*id, kind)
        })
        .collect()
}

proptest! {
    #[test]
    fn whatever_is_edited_ids_are_unique_and_never_given_twice(
        numbers in prop::collection::vec(prop::collection::vec(any::<(u8, u8, u8)>(), 1..4), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut fixture = fixture(FormatVersion::V2);
        let mut ever = kinds(fixture.metadata.current_schema());
        for numbers in numbers {
            let before = fixture.metadata.current_schema().clone();
            let edits = numbers.into_iter().map(|numbers| some_edit(&before, numbers));
            let operation = EvolveSchema::new(edits.collect());
            if !runtime.block_on(apply(&mut fixture, &operation)).unwrap_or(false) {
                continue;
            }
            // A schema with an id twice cannot be built; what is new is newer than all there ever was.
            let after = fixture.metadata.current_schema();
            let last = *ever.keys().max().unwrap();
            for (id, kind) in kinds(after) {
                match before.field_by_id(id) {
                    Some(_) => prop_assert_eq!(ever[&id], kind),
                    None => prop_assert!(id > last, "{} was given again", id),
                }
                ever.insert(id, kind);
            }
            prop_assert!(fixture.metadata.last_column_id() >= *ever.keys().max().unwrap());
            let names: BTreeSet<&String> = after.field_id_to_name_map().values().collect();
            prop_assert_eq!(names.len(), after.field_id_to_fields().len());
        }
    }
}
