//! Whether rows are in the partitions that they belong to.

use std::collections::BTreeMap;

use berglake_format::plan::{ScanPlan, ScanTask};
use iceberg::spec::{Schema, Transform, Type};

use super::lake::Placed;
use super::rows::{Seen, Value, value_of};

/// A row in a file whose partition is another one, if there is any. A scan without a filter finds all
/// rows, wherever they are, and one with a filter would lose this one.
pub fn misplaced(plan: &ScanPlan, placed: &[Placed]) -> Option<String> {
    let tasks = plan.tasks.iter();
    let tasks: BTreeMap<&str, &ScanTask> =
        tasks.map(|task| (task.file.file_path(), task)).collect();
    let metadata = plan.table.metadata();
    for row in placed {
        let task = tasks[row.file.as_str()];
        let spec = metadata.partition_spec_by_id(task.spec_id).unwrap();
        for (field, stated) in spec.fields().iter().zip(task.file.partition().iter()) {
            let Some(source) = source(&row.seen, &plan.schema, field.source_id) else {
                // Dropped since.
                continue;
            };
            let stated = stated.map_or(Value::Null, value_of);
            let expected = match (field.transform, source) {
                (Transform::Void, _) | (_, Value::Null) => Value::Null,
                (Transform::Identity, value) => value,
                (Transform::Truncate(width), Value::Whole(v)) => {
                    Value::Whole(v - v.rem_euclid(i64::from(width)))
                }
                (Transform::Truncate(width), Value::Text(text)) => {
                    Value::Text(text.chars().take(width as usize).collect())
                }
                // Its hash is not made a second time; that it is none is what NULL alone has.
                (_, _) if stated != Value::Null => continue,
                (_, value) => value,
            };
            if stated != expected {
                return Some(format!(
                    "{:?} of {:?} is in the partition {stated:?} of {}",
                    row.seen, row.file, field.name
                ));
            }
        }
    }
    None
}

/// The value of a field that may be in structs. In a NULL everything is NULL.
fn source(seen: &Seen, schema: &Schema, id: i32) -> Option<Value> {
    let fields = schema.as_struct().fields().iter();
    fields.zip(seen).find_map(|(field, value)| {
        if field.id == id {
            return Some(value.clone());
        }
        inside(value, &field.field_type, id)
    })
}

fn inside(value: &Value, ty: &Type, id: i32) -> Option<Value> {
    let Type::Struct(fields) = ty else {
        return None;
    };
    fields.fields().iter().find_map(|field| {
        let value = match value {
            Value::Fields(row) => &row[&field.id],
            _ => &Value::Null,
        };
        if field.id == id {
            return Some(value.clone());
        }
        inside(value, &field.field_type, id)
    })
}
