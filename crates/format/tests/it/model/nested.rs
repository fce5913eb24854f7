//! Structs, lists and maps: types of them, and their values on the way to Arrow arrays and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};

use super::Dice;
use super::rows::{Value, batch, leaf_array, leaf_value, make, rows_of, seen};

/// The key of maps.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// What a column can be that is not primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Struct,
    List,
    Map,
}

/// A type of this kind. The ids in it are unlike each other, and assigned anew by whoever takes it.
pub fn new_type(kind: Kind, dice: &mut Dice) -> Type {
    Shapes {
        dice,
        // Above those of the columns beside it.
        last_id: 100,
    }
    .of(kind)
}

/// Columns that a table has from its beginning, from this id on.
pub fn first_columns(first_id: i32, dice: &mut Dice) -> Vec<NestedFieldRef> {
    let kinds = [(Kind::Struct, "s0"), (Kind::List, "l0"), (Kind::Map, "m0")];
    let mut last_id = 100;
    let mut columns = Vec::new();
    for (kind, name) in kinds {
        if dice.one_in(2) {
            continue;
        }
        let required = dice.one_in(2);
        let mut shapes = Shapes { dice, last_id };
        let ty = shapes.of(kind);
        last_id = shapes.last_id;
        let id = first_id + columns.len() as i32;
        columns.push(NestedField::new(id, name, ty, required).into());
    }
    columns
}

struct Shapes<'a> {
    dice: &'a mut Dice,
    last_id: i32,
}

impl Shapes<'_> {
    fn of(&mut self, kind: Kind) -> Type {
        match kind {
            Kind::Struct => {
                let inner = self.dice.one_in(4);
                Type::Struct(self.fields(inner))
            }
            Kind::List => {
                let element = self.inside();
                let (id, required) = (self.id(), self.dice.one_in(2));
                let element = NestedField::list_element(id, element, required);
                Type::List(ListType::new(element.into()))
            }
            Kind::Map => {
                let value = self.inside();
                let (key, id, required) = (self.id(), self.id(), self.dice.one_in(2));
                let text = Type::Primitive(PrimitiveType::String);
                Type::Map(MapType::new(
                    NestedField::map_key_element(key, text).into(),
                    NestedField::map_value_element(id, value, required).into(),
                ))
            }
        }
    }

    fn id(&mut self) -> i32 {
        self.last_id += 1;
        self.last_id
    }

    /// What is in a list or a map: a struct most often, since only structs can be changed inside.
    fn inside(&mut self) -> Type {
        match self.dice.below(4) {
            0 => Type::Primitive(PrimitiveType::Int),
            _ => Type::Struct(self.fields(false)),
        }
    }

    /// A struct of some leaves, with one of its own if asked for.
    fn fields(&mut self, inner: bool) -> StructType {
        let leaves = [
            ("a", PrimitiveType::Int),
            ("b", PrimitiveType::Float),
            ("c", PrimitiveType::String),
        ];
        let mut fields: Vec<NestedFieldRef> = Vec::new();
        for (name, ty) in leaves {
            let (id, required) = (self.id(), self.dice.one_in(3));
            fields.push(NestedField::new(id, name, Type::Primitive(ty), required).into());
        }
        if inner {
            let inner = Type::Struct(self.fields(false));
            let (id, required) = (self.id(), self.dice.one_in(3));
            fields.push(NestedField::new(id, "d", inner, required).into());
        }
        StructType::new(fields)
    }
}

/// A value of this type, with NULLs inside of it where they may be.
pub fn any(ty: &Type, dice: &mut Dice) -> Value {
    let inside = |field: &NestedField, dice: &mut Dice| match !field.required && dice.one_in(5) {
        true => Value::Null,
        false => any(&field.field_type, dice),
    };
    match ty {
        Type::Primitive(PrimitiveType::Int | PrimitiveType::Long) => {
            Value::Whole(dice.below(1_000) as i64)
        }
        Type::Primitive(PrimitiveType::Float | PrimitiveType::Double) => {
            // A quarter is exact in both widths.
            Value::Real((dice.below(400) as f64 / 4.0).to_bits())
        }
        Type::Primitive(PrimitiveType::String) => Value::Text(format!("text {}", dice.below(50))),
        Type::Struct(fields) => {
            let fields = fields.fields().iter();
            Value::Fields(
                fields
                    .map(|field| (field.id, inside(field, dice)))
                    .collect(),
            )
        }
        Type::List(list) => {
            let items = 0..dice.below(4);
            Value::Items(items.map(|_| inside(&list.element_field, dice)).collect())
        }
        Type::Map(map) => {
            let mut entries = BTreeMap::new();
            for key in KEYS {
                if dice.one_in(3) {
                    entries.insert(key.to_string(), inside(&map.value_field, dice));
                }
            }
            Value::Entries(entries)
        }
        Type::Primitive(other) => panic!("no type of the model: {other}"),
    }
}

/// Values as an array of this type.
///
/// Below a NULL stands what another row has there, as Arrow allows it: it must be seen by nobody.
pub fn array(ty: &Type, arrow: &DataType, values: &[&Value]) -> ArrayRef {
    let hidden = values.iter().copied().find(|value| **value != Value::Null);
    let nulls = || {
        let shown = values.iter().map(|value| **value != Value::Null);
        Some(NullBuffer::from_iter(shown))
    };
    let stored = values.iter().map(|value| match value {
        Value::Null => hidden,
        value => Some(*value),
    });
    match (ty, arrow) {
        (Type::Struct(fields), DataType::Struct(arrow)) => {
            let columns = fields.fields().iter().zip(arrow).map(|(field, arrow)| {
                let inside = stored.clone().map(|value| match value {
                    Some(Value::Fields(row)) => &row[&field.id],
                    _ => &Value::Null,
                });
                let inside: Vec<&Value> = inside.collect();
                array(&field.field_type, arrow.data_type(), &inside)
            });
            Arc::new(StructArray::new(arrow.clone(), columns.collect(), nulls()))
        }
        (Type::List(list), DataType::List(arrow)) => {
            let items = stored.map(|value| match value {
                Some(Value::Items(items)) => items.as_slice(),
                _ => &[],
            });
            let offsets = OffsetBuffer::from_lengths(items.clone().map(<[Value]>::len));
            let items: Vec<&Value> = items.flatten().collect();
            let element = &list.element_field.field_type;
            let items = array(element, arrow.data_type(), &items);
            Arc::new(ListArray::new(arrow.clone(), offsets, items, nulls()))
        }
        (Type::Map(map), DataType::Map(entries, _)) => {
            let DataType::Struct(pair) = entries.data_type() else {
                panic!("a map without pairs");
            };
            let none = BTreeMap::new();
            let maps: Vec<&BTreeMap<String, Value>> = stored
                .map(|value| match value {
                    Some(Value::Entries(entries)) => entries,
                    _ => &none,
                })
                .collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|map| map.len()));
            let keys: Vec<&String> = maps.iter().flat_map(|map| map.keys()).collect();
            let keys: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
            let inside: Vec<&Value> = maps.iter().flat_map(|map| map.values()).collect();
            let value = &map.value_field.field_type;
            let inside = array(value, pair[1].data_type(), &inside);
            let pairs = StructArray::new(pair.clone(), vec![keys, inside], None);
            let entries = entries.clone();
            Arc::new(MapArray::new(entries, offsets, pairs, nulls(), false))
        }
        (Type::Primitive(_), arrow) => leaf_array(arrow, values.iter().copied()),
        (ty, arrow) => panic!("{ty} is not {arrow}"),
    }
}

/// The values of an array of this type.
pub fn values(array: &ArrayRef, ty: &Type) -> Vec<Value> {
    let rows = 0..array.len();
    let shown = |row: usize, value: Value| match array.is_null(row) {
        true => Value::Null,
        false => value,
    };
    match ty {
        Type::Struct(fields) => {
            let columns = fields.fields().iter().zip(array.as_struct().columns());
            let mut columns: Vec<_> = columns
                .map(|(field, column)| (field.id, values(column, &field.field_type).into_iter()))
                .collect();
            let mut next = || {
                let fields = columns.iter_mut().map(|(id, of)| (*id, of.next().unwrap()));
                Value::Fields(fields.collect())
            };
            rows.map(|row| shown(row, next())).collect()
        }
        Type::List(list) => {
            let array = array.as_list::<i32>();
            let items = values(array.values(), &list.element_field.field_type);
            rows.map(|row| {
                let items = &items[between(array.value_offsets(), row)];
                shown(row, Value::Items(items.to_vec()))
            })
            .collect()
        }
        Type::Map(map) => {
            let array = array.as_map();
            let keys = array.keys().as_string::<i32>();
            let inside = values(array.values(), &map.value_field.field_type);
            rows.map(|row| {
                let entries = between(array.value_offsets(), row);
                let count = entries.len();
                let entries: BTreeMap<String, Value> = entries
                    .map(|at| (keys.value(at).to_string(), inside[at].clone()))
                    .collect();
                assert_eq!(entries.len(), count, "a key is there twice");
                shown(row, Value::Entries(entries))
            })
            .collect()
        }
        Type::Primitive(_) => rows.map(|row| leaf_value(array, row)).collect(),
    }
}

/// Where the items of a row are.
fn between(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |row: usize| usize::try_from(offsets[row]).unwrap();
    at(row)..at(row + 1)
}

/// The way through Arrow is the model's own, and must not be what a sequence finds fault with.
#[test]
fn rows_with_nulls_at_each_level_survive_the_way_through_arrow() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let kinds = [Kind::Struct, Kind::List, Kind::Map];
        let fields = kinds.iter().zip(1..).map(|(kind, id)| {
            let shapes = &mut Shapes {
                dice: &mut dice,
                last_id: id * 100,
            };
            NestedField::optional(id, format!("c{id}"), shapes.of(*kind)).into()
        });
        let fields: Vec<NestedFieldRef> = fields.collect();
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let rows: Vec<_> = (0..40).map(|key| make(key, &schema, &mut dice)).collect();
        let expected: Vec<_> = rows.iter().map(|row| seen(row, &schema)).collect();
        let batch = batch(&rows, &schema);
        assert_eq!(rows_of(&batch, &schema), expected, "seed {seed}");
        let part = batch.slice(7, 20);
        assert_eq!(rows_of(&part, &schema), expected[7..27], "seed {seed}");
    }
}
