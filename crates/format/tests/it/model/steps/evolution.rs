//! Changes of schemas, specs and sort orders. None of them changes a row.

use berglake_format::ErrorKind;
use berglake_format::commit::{Applied, Operation};
use berglake_format::evolve::{
    EvolvePartitions, EvolveSchema, PartitionEdit, PartitionSelector, Position, SchemaEdit,
    SetSortOrder, SortTerm, UpgradeFormat,
};
use iceberg::spec::{
    FormatVersion, Literal, NullOrder, PrimitiveType, SortDirection, Transform, Type,
};

use crate::model::lake::Lake;

/// Commits what may be refused where the table is in its way; whether it changed something.
pub async fn evolve(lake: &mut Lake, operation: impl Operation) -> bool {
    match lake.commit(operation).await {
        Ok(Applied::Committed { .. }) => true,
        Ok(Applied::Unchanged(_)) => false,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::AlreadyExists
            ) =>
        {
            lake.note(&error);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}

/// A column other than the key.
async fn column(lake: &mut Lake) -> Option<String> {
    let table = lake.table().await;
    let fields = table.schema().as_struct().fields().iter();
    let names: Vec<String> = fields
        .map(|field| field.name.clone())
        .filter(|name| name != "k")
        .collect();
    lake.dice.pick(&names).cloned()
}

/// The type of a new column or field, and a default that it could have.
pub fn new_type(lake: &mut Lake) -> (PrimitiveType, Literal) {
    let types = [
        (PrimitiveType::Int, Literal::int(7)),
        (PrimitiveType::Long, Literal::long(70_000_000_000_i64)),
        (PrimitiveType::Float, Literal::float(0.25)),
        (PrimitiveType::Double, Literal::double(2.5)),
        (PrimitiveType::String, Literal::string("as ever")),
    ];
    types[lake.dice.below(types.len())].clone()
}

pub async fn add_column(lake: &mut Lake) -> bool {
    let table = lake.table().await;
    if table.schema().as_struct().fields().len() > 8 {
        return false;
    }
    let (ty, default) = new_type(lake);
    let defaults = table.metadata().format_version() >= FormatVersion::V3 && lake.dice.one_in(2);
    // Names come back after their columns were dropped, and must not bring the old values.
    let name = match lake.dice.below(8) {
        0 => "n".to_string(),
        1 => "p".to_string(),
        number => format!("c{number}"),
    };
    let ty = match name.as_str() {
        "p" => PrimitiveType::String,
        _ => ty,
    };
    let default = match &ty {
        PrimitiveType::String => Literal::string("as ever"),
        _ => default,
    };
    let position = match lake.dice.below(3) {
        0 => Position::First,
        1 => Position::After("k".to_string()),
        _ => Position::Last,
    };
    let edit = SchemaEdit::Add {
        parent: None,
        name,
        ty: Type::Primitive(ty),
        required: defaults && lake.dice.one_in(2),
        doc: None,
        initial_default: defaults.then(|| default.clone()),
        write_default: defaults.then_some(default),
        position,
        if_not_exists: lake.dice.one_in(2),
    };
    evolve(lake, EvolveSchema::new(vec![edit])).await
}

pub async fn drop_column(lake: &mut Lake) -> bool {
    let Some(name) = column(lake).await else {
        return false;
    };
    let edit = SchemaEdit::Drop {
        path: vec![name],
        if_exists: false,
    };
    evolve(lake, EvolveSchema::new(vec![edit])).await
}

/// Renames a column, or swaps the names of two.
pub async fn rename_column(lake: &mut Lake) -> bool {
    let (Some(one), Some(other)) = (column(lake).await, column(lake).await) else {
        return false;
    };
    let rename = |from: &str, to: &str| SchemaEdit::Rename {
        path: vec![from.to_string()],
        to: to.to_string(),
    };
    let edits = if one == other {
        vec![rename(&one, &format!("r{}", lake.dice.below(9)))]
    } else {
        vec![
            rename(&one, "swapped"),
            rename(&other, &one),
            rename("swapped", &other),
        ]
    };
    // The name `p` means texts of three values here, so that it only goes to columns of texts.
    let texts = {
        let table = lake.table().await;
        let schema = table.schema().clone();
        [&one, &other].iter().all(|name| {
            let field = schema.field_by_name(name).unwrap();
            *field.field_type == Type::Primitive(PrimitiveType::String)
        })
    };
    if (one == "p" || other == "p") && one != other && !texts {
        return false;
    }
    evolve(lake, EvolveSchema::new(edits)).await
}

pub async fn move_column(lake: &mut Lake) -> bool {
    let (Some(one), Some(other)) = (column(lake).await, column(lake).await) else {
        return false;
    };
    let position = match lake.dice.below(3) {
        0 => Position::First,
        1 => Position::Before(other),
        _ => Position::After(other),
    };
    let edit = SchemaEdit::Move {
        path: vec![one],
        position,
    };
    evolve(lake, EvolveSchema::new(vec![edit])).await
}

pub async fn widen_column(lake: &mut Lake) -> bool {
    let Some(name) = column(lake).await else {
        return false;
    };
    let table = lake.table().await;
    let field = table.schema().field_by_name(&name).unwrap();
    let to = match field.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Int) => PrimitiveType::Long,
        Type::Primitive(PrimitiveType::Float) => PrimitiveType::Double,
        _ => return false,
    };
    let edit = SchemaEdit::Widen {
        path: vec![name],
        to: Type::Primitive(to),
    };
    evolve(lake, EvolveSchema::new(vec![edit])).await
}

pub async fn loosen_column(lake: &mut Lake) -> bool {
    let table = lake.table().await;
    let fields = table.schema().as_struct().fields().iter();
    let required = fields.filter(|field| field.required);
    let names: Vec<String> = required.map(|field| field.name.clone()).collect();
    let Some(name) = lake.dice.pick(&names).cloned() else {
        return false;
    };
    let edit = SchemaEdit::Optional { path: vec![name] };
    evolve(lake, EvolveSchema::new(vec![edit])).await
}

pub async fn add_partition_field(lake: &mut Lake) -> bool {
    let table = lake.table().await;
    if table.metadata().default_partition_spec().fields().len() > 1 {
        return false;
    }
    let Some(name) = column(lake).await else {
        return false;
    };
    let field = table.schema().field_by_name(&name).unwrap();
    let transform = match field.field_type.as_ref() {
        _ if lake.dice.one_in(3) => Transform::Bucket(2),
        Type::Primitive(PrimitiveType::String) if lake.dice.one_in(2) => Transform::Truncate(6),
        Type::Primitive(PrimitiveType::Int | PrimitiveType::Long) => Transform::Truncate(500),
        _ => Transform::Identity,
    };
    let edit = PartitionEdit::Add {
        source: vec![name],
        transform,
        name: None,
    };
    evolve(lake, EvolvePartitions { edits: vec![edit] }).await
}

pub async fn drop_partition_field(lake: &mut Lake) -> bool {
    let table = lake.table().await;
    let fields = table.metadata().default_partition_spec().fields().iter();
    let names: Vec<String> = fields.map(|field| field.name.clone()).collect();
    let Some(name) = lake.dice.pick(&names).cloned() else {
        return false;
    };
    let edit = PartitionEdit::Drop(PartitionSelector::Name(name));
    evolve(lake, EvolvePartitions { edits: vec![edit] }).await
}

pub async fn sort_order(lake: &mut Lake) -> bool {
    let Some(name) = column(lake).await else {
        return false;
    };
    let fields = match lake.dice.below(3) {
        0 => Vec::new(),
        _ => vec![SortTerm {
            source: vec![name],
            transform: Transform::Identity,
            direction: SortDirection::Descending,
            null_order: NullOrder::Last,
        }],
    };
    evolve(lake, SetSortOrder { fields }).await
}

pub async fn upgrade(lake: &mut Lake) -> bool {
    let upgrade = UpgradeFormat {
        to: FormatVersion::V3,
    };
    evolve(lake, upgrade).await
}
