//! Changes of what is inside of columns. None of them changes a row.

use berglake_format::evolve::{
    EvolvePartitions, EvolveSchema, PartitionEdit, Position, SchemaEdit, SetSortOrder, SortTerm,
};
use iceberg::spec::{
    FormatVersion, ListType, NestedField, NestedFieldRef, NullOrder, PrimitiveType, Schema,
    SortDirection, StructType, Transform, Type,
};

use super::evolution::{evolve, new_type};
use crate::model::Dice;
use crate::model::lake::Lake;
use crate::model::nested::{self, Kind};

/// Names of fields. `value` is that of what is in a map, too.
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "value"];
/// Structs, lists and maps that a table has, at most.
const COLUMNS: usize = 4;
/// Fields that a struct has, at most.
const FIELDS: usize = 5;
/// Parts that the path of a struct or list has, at most.
const DEPTH: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    AddStruct,
    AddList,
    AddMap,
    AddInStruct,
    AddInList,
    AddInMap,
    AddWithDefault,
    Drop,
    Rename,
    Swap,
    Move,
    Widen,
    Loosen,
    Partition,
    Sort,
}

use Nested as N;

pub const ALL: [Nested; 15] = [
    N::AddStruct,
    N::AddList,
    N::AddMap,
    N::AddInStruct,
    N::AddInList,
    N::AddInMap,
    N::AddWithDefault,
    N::Drop,
    N::Rename,
    N::Swap,
    N::Move,
    N::Widen,
    N::Loosen,
    N::Partition,
    N::Sort,
];

impl Nested {
    pub fn name(self) -> &'static str {
        match self {
            N::AddStruct => "struct added",
            N::AddList => "list added",
            N::AddMap => "map added",
            N::AddInStruct => "field of a struct added",
            N::AddInList => "field in a list added",
            N::AddInMap => "field in a map added",
            N::AddWithDefault => "nested field with a default added",
            N::Drop => "nested field dropped",
            N::Rename => "nested field renamed",
            N::Swap => "nested fields swapped",
            N::Move => "nested field moved",
            N::Widen => "nested field widened",
            N::Loosen => "nested field made optional",
            N::Partition => "partition field of a nested field",
            N::Sort => "sort order of a nested field",
        }
    }
}

/// Makes a step; whether it changed something.
pub async fn make(lake: &mut Lake, step: Nested) -> bool {
    let table = lake.table().await;
    let metadata = table.metadata();
    let schema = table.schema();
    let all = places(schema);
    let edits = match step {
        N::AddStruct => add_column(lake, schema, Kind::Struct),
        N::AddList => add_column(lake, schema, Kind::List),
        N::AddMap => add_column(lake, schema, Kind::Map),
        N::AddInStruct => add_field(lake, all, |of| !of.is_inside(), false),
        N::AddInList => add_field(lake, all, |of| of.is_inside_of("element"), false),
        N::AddInMap => add_field(lake, all, |of| of.is_inside_of("value"), false),
        N::AddWithDefault if metadata.format_version() < FormatVersion::V3 => None,
        N::AddWithDefault => add_field(lake, all, |_| true, true),
        N::Drop => drop_field(lake, all),
        N::Rename => rename_field(lake, all),
        N::Swap => swap_fields(lake, all),
        N::Move => move_field(lake, all),
        N::Widen => widen_field(lake, all),
        N::Loosen => loosen_field(lake, all),
        N::Partition if metadata.default_partition_spec().fields().len() > 1 => None,
        N::Partition => return partition(lake, all).await,
        N::Sort => return sort(lake, all).await,
    };
    let Some(edits) = edits else {
        return false;
    };
    lake.tell(&format!("{edits:?}"));
    evolve(lake, EvolveSchema::new(edits)).await
}

/// A column or what is inside of one, but for the keys of maps.
#[derive(Debug, Clone)]
struct Place {
    path: Vec<Part>,
    field: NestedFieldRef,
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Field(String),
    /// `element` of a list or `value` of a map.
    Inside(&'static str),
}

impl Place {
    /// A field of a struct that is in a column, and so has a name that can be changed.
    fn is_nested_field(&self) -> bool {
        self.path.len() > 1 && !self.is_inside()
    }

    fn is_inside(&self) -> bool {
        matches!(self.path.last(), Some(Part::Inside(_)))
    }

    fn is_inside_of(&self, part: &str) -> bool {
        matches!(self.path.last(), Some(Part::Inside(name)) if *name == part)
    }

    /// Whether it has one value per row: nothing above it is a list or a map.
    fn is_of_row(&self) -> bool {
        self.path.iter().all(|part| matches!(part, Part::Field(_)))
    }

    fn is_sibling_of(&self, other: &Self) -> bool {
        let parent = |of: &Self| of.path[..of.path.len() - 1].to_vec();
        self.path != other.path && !self.is_inside() && parent(self) == parent(other)
    }

    /// The path in one of its spellings: `element` and `value` can be left out before a field's name.
    fn spelled(&self, dice: &mut Dice) -> Vec<String> {
        let mut parts = Vec::new();
        for (at, part) in self.path.iter().enumerate() {
            match (part, self.path.get(at + 1)) {
                // A field of this name would be taken for what is in the map.
                (Part::Inside(name), Some(Part::Field(next))) if next == "value" => {
                    parts.push(name.to_string());
                }
                (Part::Inside(_), Some(Part::Field(_))) if dice.one_in(2) => {}
                (Part::Inside(name), _) => parts.push(name.to_string()),
                (Part::Field(name), _) => parts.push(name.clone()),
            }
        }
        parts
    }
}

/// All columns and what is inside of them.
fn places(schema: &Schema) -> Vec<Place> {
    let mut all = Vec::new();
    for field in schema.as_struct().fields() {
        let path = vec![Part::Field(field.name.clone())];
        collect(path, field, &mut all);
    }
    all
}

fn collect(path: Vec<Part>, field: &NestedFieldRef, all: &mut Vec<Place>) {
    let below = |part: Part| path.iter().cloned().chain([part]).collect();
    match field.field_type.as_ref() {
        Type::Primitive(_) => {}
        Type::Struct(fields) => {
            for field in fields.fields() {
                collect(below(Part::Field(field.name.clone())), field, all);
            }
        }
        Type::List(list) => collect(below(Part::Inside("element")), &list.element_field, all),
        Type::Map(map) => collect(below(Part::Inside("value")), &map.value_field, all),
    }
    let field = field.clone();
    all.push(Place { path, field });
}

/// One of the places that are like this.
fn pick(lake: &mut Lake, all: &[Place], like: impl Fn(&Place) -> bool) -> Option<Place> {
    let like: Vec<&Place> = all.iter().filter(|place| like(place)).collect();
    lake.dice.pick(&like).copied().cloned()
}

fn add_column(lake: &mut Lake, schema: &Schema, kind: Kind) -> Option<Vec<SchemaEdit>> {
    let fields = schema.as_struct().fields().iter();
    let nested = fields.filter(|field| !field.field_type.is_primitive());
    if nested.count() >= COLUMNS {
        return None;
    }
    // Names come back after their columns were dropped, and must not bring the old values.
    let prefix = match kind {
        Kind::Struct => "s",
        Kind::List => "l",
        Kind::Map => "m",
    };
    let name = format!("{prefix}{}", lake.dice.below(3));
    let position = match lake.dice.below(3) {
        0 => Position::First,
        1 => Position::After("k".to_string()),
        _ => Position::Last,
    };
    Some(vec![SchemaEdit::Add {
        parent: None,
        name,
        ty: nested::new_type(kind, &mut lake.dice),
        required: false,
        doc: None,
        initial_default: None,
        write_default: None,
        position,
        if_not_exists: lake.dice.one_in(2),
    }])
}

/// Adds a field to a struct at one of these places.
fn add_field(
    lake: &mut Lake,
    all: Vec<Place>,
    within: impl Fn(&Place) -> bool,
    with_default: bool,
) -> Option<Vec<SchemaEdit>> {
    let has_room = |place: &Place| match place.field.field_type.as_ref() {
        Type::Struct(fields) => fields.fields().len() < FIELDS,
        _ => false,
    };
    let parent = pick(lake, &all, |place| within(place) && has_room(place))?;
    let (leaf, default) = new_type(lake);
    let leaf = Type::Primitive(leaf);
    let ty = match lake.dice.below(6) {
        _ if with_default || parent.path.len() >= DEPTH => leaf,
        0 => {
            let field = NestedField::optional(1, "a", leaf);
            Type::Struct(StructType::new(vec![field.into()]))
        }
        1 => {
            let element = NestedField::list_element(1, leaf, false);
            Type::List(ListType::new(element.into()))
        }
        _ => leaf,
    };
    let default = with_default.then_some(default);
    let mut path = parent.spelled(&mut lake.dice);
    // The struct is found through the list or map that holds it.
    if parent.is_inside() && lake.dice.one_in(2) {
        path.pop();
    }
    let is_child = |other: &Place| {
        other.is_nested_field() && other.path[..other.path.len() - 1] == parent.path
    };
    let is_taken = |name: &str| {
        let mut children = all.iter().filter(|place| is_child(place));
        children.any(|child| child.field.name == name)
    };
    let mut names = NAMES.to_vec();
    if !lake.dice.one_in(8) {
        names.retain(|name| !is_taken(name));
    }
    let name = *lake.dice.pick(&names)?;
    let beside = pick(lake, &all, is_child);
    let position = match beside {
        Some(_) if lake.dice.one_in(3) => Position::First,
        Some(beside) if lake.dice.one_in(2) => Position::Before(beside.field.name.clone()),
        _ => Position::Last,
    };
    Some(vec![SchemaEdit::Add {
        parent: Some(path),
        name: name.to_string(),
        ty,
        required: with_default && lake.dice.one_in(2),
        doc: None,
        initial_default: default.clone(),
        write_default: default,
        position,
        if_not_exists: lake.dice.one_in(2),
    }])
}

fn drop_field(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let place = pick(lake, &all, Place::is_nested_field)?;
    Some(vec![SchemaEdit::Drop {
        path: place.spelled(&mut lake.dice),
        if_exists: false,
    }])
}

fn rename_field(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let place = pick(lake, &all, Place::is_nested_field)?;
    Some(vec![SchemaEdit::Rename {
        path: place.spelled(&mut lake.dice),
        to: NAMES[lake.dice.below(NAMES.len())].to_string(),
    }])
}

/// Swaps the names of two fields of a struct.
fn swap_fields(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let one = pick(lake, &all, Place::is_nested_field)?;
    let other = pick(lake, &all, |other| other.is_sibling_of(&one))?;
    let mut between = one.clone();
    between.path.pop();
    between.path.push(Part::Field("swapped".to_string()));
    let mut rename = |from: &Place, to: &str| SchemaEdit::Rename {
        path: from.spelled(&mut lake.dice),
        to: to.to_string(),
    };
    Some(vec![
        rename(&one, "swapped"),
        rename(&other, &one.field.name),
        rename(&between, &other.field.name),
    ])
}

fn move_field(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let place = pick(lake, &all, Place::is_nested_field)?;
    let other = pick(lake, &all, |other| other.is_sibling_of(&place))?;
    let name = other.field.name.clone();
    let position = match lake.dice.below(4) {
        0 => Position::First,
        1 => Position::Before(name),
        2 => Position::After(name),
        _ => Position::Last,
    };
    Some(vec![SchemaEdit::Move {
        path: place.spelled(&mut lake.dice),
        position,
    }])
}

/// Widens a field, the elements of a list or the values of a map.
fn widen_field(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let wider = |place: &Place| match place.field.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Int) => Some(PrimitiveType::Long),
        Type::Primitive(PrimitiveType::Float) => Some(PrimitiveType::Double),
        _ => None,
    };
    let place = pick(lake, &all, |place| {
        place.path.len() > 1 && wider(place).is_some()
    })?;
    Some(vec![SchemaEdit::Widen {
        path: place.spelled(&mut lake.dice),
        to: Type::Primitive(wider(&place)?),
    }])
}

/// Makes a field, the elements of a list or the values of a map optional.
fn loosen_field(lake: &mut Lake, all: Vec<Place>) -> Option<Vec<SchemaEdit>> {
    let place = pick(lake, &all, |place| {
        place.path.len() > 1 && place.field.required
    })?;
    Some(vec![SchemaEdit::Optional {
        path: place.spelled(&mut lake.dice),
    }])
}

/// A primitive field of a struct that is in no list and no map.
fn leaf(lake: &mut Lake, all: &[Place]) -> Option<Place> {
    pick(lake, all, |place| {
        place.path.len() > 1 && place.is_of_row() && place.field.field_type.is_primitive()
    })
}

async fn partition(lake: &mut Lake, all: Vec<Place>) -> bool {
    let Some(place) = leaf(lake, &all) else {
        return false;
    };
    let transform = match place.field.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Float | PrimitiveType::Double) => Transform::Identity,
        _ if lake.dice.one_in(3) => Transform::Bucket(2),
        Type::Primitive(PrimitiveType::String) if lake.dice.one_in(2) => Transform::Truncate(6),
        Type::Primitive(PrimitiveType::String) => Transform::Identity,
        _ => Transform::Truncate(500),
    };
    let edit = PartitionEdit::Add {
        source: place.spelled(&mut lake.dice),
        transform,
        name: None,
    };
    lake.tell(&format!("{edit:?}"));
    evolve(lake, EvolvePartitions { edits: vec![edit] }).await
}

async fn sort(lake: &mut Lake, all: Vec<Place>) -> bool {
    let Some(place) = leaf(lake, &all) else {
        return false;
    };
    let term = SortTerm {
        source: place.spelled(&mut lake.dice),
        transform: Transform::Identity,
        direction: SortDirection::Ascending,
        null_order: NullOrder::First,
    };
    lake.tell(&format!("{term:?}"));
    evolve(lake, SetSortOrder { fields: vec![term] }).await
}
