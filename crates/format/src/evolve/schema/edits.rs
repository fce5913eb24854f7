//! The edits, each on the schema as the one before it leaves it.

use std::collections::HashSet;

use iceberg::metadata_columns::is_metadata_column_name;
use iceberg::spec::{FormatVersion, PrimitiveType, Schema, TableMetadata, Transform, Type};

use super::defaults::{check as check_default, check_widening, widened};
use super::tree::{Column, Columns, ELEMENT, KEY, Shape, Step, VALUE, next_id};
use super::{Position, SchemaEdit, dotted, invalid};
use crate::schema::to_arrow_type;
use crate::suggest::did_you_mean;
use crate::{Error, Result};

/// A schema between the current one and the next.
pub(super) struct Draft<'a> {
    metadata: &'a TableMetadata,
    allow_incompatible: bool,
    columns: Columns,
    /// Identifier fields, which edits keep.
    key: HashSet<i32>,
    last_id: i32,
}

impl<'a> Draft<'a> {
    pub(super) fn new(metadata: &'a TableMetadata, allow_incompatible: bool) -> Self {
        let schema = metadata.current_schema();
        Self {
            metadata,
            allow_incompatible,
            columns: Columns::read(schema.as_struct()),
            key: schema.identifier_field_ids().collect(),
            // A writer that has not kept the number must not make us give an id twice.
            last_id: metadata
                .schemas_iter()
                .map(|schema| schema.highest_field_id())
                .fold(metadata.last_column_id(), i32::max),
        }
    }

    fn version(&self) -> FormatVersion {
        self.metadata.format_version()
    }

    pub(super) fn edit(&mut self, edit: &SchemaEdit) -> Result<()> {
        match edit {
            SchemaEdit::Add { .. } => self.add(edit),
            SchemaEdit::Drop { path, if_exists } => self.drop(path, *if_exists),
            SchemaEdit::Rename { path, to } => self.rename(path, to),
            SchemaEdit::Move { path, position } => self.move_to(path, position),
            SchemaEdit::Widen { path, to } => self.widen(path, to),
            SchemaEdit::Optional { path } => self.optional(path),
            SchemaEdit::Require { path } => self.require(path),
            SchemaEdit::Doc { path, doc } => {
                let column = self.named(path, "a doc")?;
                column.doc.clone_from(doc);
                Ok(())
            }
            SchemaEdit::WriteDefault { path, value } => {
                let version = self.version();
                let column = self.named(path, "a default value")?;
                let ty = column.shape.write();
                check_default(value.as_ref(), &ty, version, &dotted(path))?;
                column.write_default.clone_from(value);
                Ok(())
            }
        }
    }

    fn add(&mut self, edit: &SchemaEdit) -> Result<()> {
        let SchemaEdit::Add {
            parent,
            name,
            ty,
            required,
            doc,
            initial_default,
            write_default,
            position,
            if_not_exists,
        } = edit
        else {
            return Err(Error::internal("an edit is not what it was"));
        };
        let parent_path = parent.as_deref().unwrap_or_default();
        let parent = match parent_path {
            [] => Vec::new(),
            path => self.struct_at(path)?,
        };
        let mut path = parent_path.to_vec();
        path.push(name.clone());
        let is_top = parent.is_empty();
        if self
            .columns
            .fields(&parent)?
            .iter()
            .any(|c| c.name == *name)
        {
            return match if_not_exists {
                true => Ok(()),
                false => Err(invalid("the column exists", &path)),
            };
        }
        check_name(name, is_top, &path)?;
        let version = self.version();
        let full = dotted(&path);
        // A required column is written with what older rows are read with, unless another value is given.
        let write_default = match required {
            true => write_default.as_ref().or(initial_default.as_ref()),
            false => write_default.as_ref(),
        };
        check_default(initial_default.as_ref(), ty, version, &full)?;
        check_default(write_default, ty, version, &full)?;
        if *required && initial_default.is_none() && !self.allow_incompatible {
            let error = invalid(
                "a required column needs a value for the rows that are there",
                &path,
            );
            return Err(match version >= FormatVersion::V3 {
                true => error.help("give it a default, or make it optional"),
                false => {
                    error.help("make it optional; from format version 3 on it can have a default")
                }
            });
        }
        let mut shape = Shape::read(ty);
        check_type(&mut shape, version, &path)?;
        to_arrow_type(&shape.write(), &full)?;
        let mut column = Column {
            id: next_id(&mut self.last_id)?,
            name: name.clone(),
            required: *required,
            doc: doc.clone(),
            initial_default: initial_default.clone(),
            write_default: write_default.cloned(),
            shape,
        };
        column.renumber(&mut self.last_id)?;
        let siblings = self.columns.fields(&parent)?;
        let at = place(siblings, position, &path)?;
        siblings.insert(at, column);
        Ok(())
    }

    /// The struct that a path leads to, also through the list or map that holds it.
    fn struct_at(&self, path: &[String]) -> Result<Vec<Step>> {
        let mut steps = self.columns.locate(path)?;
        match self.columns.get(&steps).map(|column| &column.shape) {
            Some(Shape::List(_)) => steps.push(Step::Element),
            Some(Shape::Map(..)) => steps.push(Step::Value),
            _ => {}
        }
        match self.columns.get(&steps).map(|column| &column.shape) {
            Some(Shape::Struct(_)) => Ok(steps),
            _ => Err(invalid("only structs have fields, and this is none", path)),
        }
    }

    fn drop(&mut self, path: &[String], if_exists: bool) -> Result<()> {
        if if_exists && self.columns.find(path).is_none() {
            // What is inside of a key is found by nobody, and must not pass for dropped.
            let names_key = path.iter().skip(1).any(|part| part == KEY);
            if !names_key {
                return Ok(());
            }
        }
        let (parent, at) = self.sibling(path, "be dropped")?;
        let column = self.column(path)?;
        let ids = column.ids();
        let own = column.id;
        if let Some(id) = ids.iter().find(|id| self.key.contains(id)) {
            return Err(match *id == own {
                true => invalid("an identifier field cannot be dropped", path),
                false => invalid("the column holds an identifier field", path)
                    .with("identifier field", self.full_name(*id)),
            }
            .help("take it out of the identifier fields first"));
        }
        for field in self.metadata.default_partition_spec().fields() {
            if ids.contains(&field.source_id) {
                let error = invalid("the table is partitioned by this column", path)
                    .with("partition field", &field.name)
                    .with("transform", field.transform);
                return Err(match (self.version(), field.transform) {
                    (FormatVersion::V1, _) | (_, Transform::Void) => error.help(
                        "partition fields leave the spec from format version 2 on: upgrade the \
                         table, drop the partition field, then the column",
                    ),
                    _ => error.help("drop the partition field first, then the column"),
                });
            }
        }
        for field in &self.metadata.default_sort_order().fields {
            if ids.contains(&field.source_id) {
                return Err(invalid("the table is sorted by this column", path)
                    .with("sort order", self.metadata.default_sort_order_id())
                    .with("transform", field.transform)
                    .help("set another sort order first, then drop the column"));
            }
        }
        self.columns.fields(&parent)?.remove(at);
        Ok(())
    }

    fn rename(&mut self, path: &[String], to: &str) -> Result<()> {
        let (parent, at) = self.sibling(path, "be renamed")?;
        let mut renamed = path.to_vec();
        renamed.pop();
        renamed.push(to.to_string());
        let is_top = parent.is_empty();
        let siblings = self.columns.fields(&parent)?;
        if siblings.get(at).is_some_and(|column| column.name == to) {
            return Ok(());
        }
        check_name(to, is_top, &renamed)?;
        if siblings.iter().any(|other| other.name == to) {
            return Err(invalid("the column exists", &renamed)
                .with("renamed from", dotted(path))
                .help("rename the other one first; two names are swapped by way of a third"));
        }
        if let Some(column) = siblings.get_mut(at) {
            column.name = to.to_string();
        }
        Ok(())
    }

    fn move_to(&mut self, path: &[String], position: &Position) -> Result<()> {
        let (parent, at) = self.sibling(path, "be moved")?;
        let siblings = self.columns.fields(&parent)?;
        if let Position::Before(name) | Position::After(name) = position
            && siblings.get(at).is_some_and(|column| column.name == *name)
        {
            return Err(invalid("a column cannot be moved to itself", path));
        }
        // Found while the column is still there, so that an unknown place changes nothing.
        place(siblings, position, path)?;
        let column = siblings.remove(at);
        let to = place(siblings, position, path)?;
        siblings.insert(to, column);
        Ok(())
    }

    fn widen(&mut self, path: &[String], to: &Type) -> Result<()> {
        let column = self.any(path)?;
        let (Shape::Primitive(from), Type::Primitive(to)) = (&column.shape, to) else {
            return match column.shape == Shape::read(to) {
                true => Ok(()),
                false => Err(
                    invalid("only columns of primitive types become wider", path)
                        .help("change the fields inside of it, or add a column of the new type"),
                ),
            };
        };
        if from == to {
            return Ok(());
        }
        check_widening(from, to, &dotted(path))?;
        column.initial_default = column.initial_default.take().map(|v| widened(v, to));
        column.write_default = column.write_default.take().map(|v| widened(v, to));
        column.shape = Shape::Primitive(to.clone());
        Ok(())
    }

    fn optional(&mut self, path: &[String]) -> Result<()> {
        let column = self.column(path)?;
        if let Some(id) = column.ids().iter().find(|id| self.key.contains(id)) {
            return Err(
                invalid("identifier fields and what they are in stay required", path)
                    .with("identifier field", self.full_name(*id))
                    .help("take it out of the identifier fields first"),
            );
        }
        self.any(path)?.required = false;
        Ok(())
    }

    fn require(&mut self, path: &[String]) -> Result<()> {
        let (allowed, before) = (self.allow_incompatible, self.metadata.last_column_id());
        let column = self.any(path)?;
        let has_values = column.id > before && column.initial_default.is_some();
        if !column.required && !allowed && !has_values {
            return Err(
                invalid("an optional column cannot become required", path).help(
                    "rows that are there may have NULLs; allow incompatible changes if none has",
                ),
            );
        }
        column.required = true;
        Ok(())
    }

    fn column(&self, path: &[String]) -> Result<&Column> {
        let steps = self.columns.locate(path)?;
        self.columns
            .get(&steps)
            .ok_or_else(|| Error::internal("a column that was found is not there"))
    }

    fn any(&mut self, path: &[String]) -> Result<&mut Column> {
        let steps = self.columns.locate(path)?;
        self.columns.at(&steps)
    }

    /// A column that is a field of a struct or of the table. Metadata has no place for more than the
    /// type of what is in a list or a map, and would lose it without a word.
    fn named(&mut self, path: &[String], what: &str) -> Result<&mut Column> {
        let steps = self.columns.locate(path)?;
        match steps.last() {
            Some(Step::Field(_)) => self.columns.at(&steps),
            _ => Err(invalid(
                &format!("elements of lists and values of maps cannot have {what}"),
                path,
            )),
        }
    }

    /// The parent of a field of a struct or of the table, and the field's place.
    fn sibling(&self, path: &[String], what: &str) -> Result<(Vec<Step>, usize)> {
        let mut steps = self.columns.locate(path)?;
        match steps.pop() {
            Some(Step::Field(at)) => Ok((steps, at)),
            _ => Err(invalid(
                &format!("the element of a list and the value of a map cannot {what}"),
                path,
            )),
        }
    }

    fn full_name(&self, id: i32) -> String {
        let schema = self.metadata.current_schema();
        let name = schema.name_by_field_id(id);
        name.map_or_else(|| format!("field {id}"), str::to_string)
    }

    /// The schema that the edits have made.
    pub(super) fn finish(&self, schema_id: i32) -> Result<Schema> {
        if self.columns.0.is_empty() {
            return Err(Error::invalid("a table needs at least one column"));
        }
        for column in &self.columns.0 {
            check_not_empty(column, std::slice::from_ref(&column.name))?;
        }
        let schema = Schema::builder()
            .with_schema_id(schema_id)
            .with_identifier_field_ids(self.key.iter().copied())
            .with_fields(self.columns.write())
            .build()
            .map_err(|error| Error::invalid("the columns make no schema").source_error(error))?;
        self.check_partition_names(&schema)?;
        Ok(schema)
    }

    /// No column may have the name of a partition field, unless the field is the column itself: the
    /// partition values would hide the column from readers of metadata tables.
    fn check_partition_names(&self, schema: &Schema) -> Result<()> {
        let current = self.metadata.default_partition_spec();
        for field in current.fields() {
            let Some(column) = schema.field_by_name(&field.name) else {
                continue;
            };
            if column.id != field.source_id || field.transform != Transform::Identity {
                return Err(Error::invalid(
                    "a partition field of the table has the name of the column",
                )
                .with("column", &field.name)
                .with(
                    "partition field",
                    format!("{} of {}", field.name, field.transform),
                )
                .help("rename the partition field first, or take another name"));
            }
        }
        let known = |name: &str| {
            let mut schemas = self.metadata.schemas_iter();
            schemas.any(|schema| schema.field_by_name(name).is_some())
        };
        let older = self.metadata.partition_specs_iter();
        let taken = older
            .flat_map(|spec| spec.fields())
            .find(|field| schema.field_by_name(&field.name).is_some() && !known(&field.name));
        match taken {
            Some(field) => Err(Error::invalid(
                "a partition field that files of the table still have has the name of the column",
            )
            .with("column", &field.name)
            .help("take another name")),
            None => Ok(()),
        }
    }
}

/// The index at which a column comes to stand among these.
fn place(siblings: &[Column], position: &Position, path: &[String]) -> Result<usize> {
    let of = |name: &str| {
        let known = || siblings.iter().map(|column| column.name.as_str());
        let at = known().position(|sibling| sibling == name);
        at.ok_or_else(|| {
            let error =
                invalid("there is no such column to stand beside", path).with("beside", name);
            match did_you_mean(name, known()) {
                Some(help) => error.help(help),
                None => error.help("columns stand beside columns of the same struct"),
            }
        })
    };
    match position {
        Position::First => Ok(0),
        Position::Last => Ok(siblings.len()),
        Position::Before(name) => of(name),
        Position::After(name) => Ok(of(name)? + 1),
    }
}

/// Whether a column can have this name.
fn check_name(name: &str, is_top: bool, path: &[String]) -> Result<()> {
    if name.is_empty() {
        return Err(invalid("the name of a column is empty", path));
    }
    // `file_path` and `pos` are such columns of delete files alone.
    if is_top && name.starts_with('_') && is_metadata_column_name(name) {
        return Err(invalid("the name is that of a metadata column", path)
            .help("take another name; those of metadata columns are reserved"));
    }
    Ok(())
}

/// Checks what is inside of a new type, and names it as the specification does.
fn check_type(shape: &mut Shape, version: FormatVersion, path: &[String]) -> Result<()> {
    let below = |name: &str| {
        let mut path = path.to_vec();
        path.push(name.to_string());
        path
    };
    match shape {
        Shape::Primitive(PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)
            if version < FormatVersion::V3 =>
        {
            Err(
                invalid("columns have nanoseconds from format version 3 on", path)
                    .with("format-version", version)
                    .help("upgrade the table to format version 3, or take microseconds"),
            )
        }
        Shape::Primitive(_) => Ok(()),
        Shape::Struct(fields) => {
            let mut names = HashSet::new();
            for field in fields {
                let path = below(&field.name);
                check_name(&field.name, false, &path)?;
                if !names.insert(field.name.clone()) {
                    return Err(invalid("a field occurs twice in a struct", &path));
                }
                let ty = field.shape.write();
                for default in [&field.initial_default, &field.write_default] {
                    check_default(default.as_ref(), &ty, version, &dotted(&path))?;
                }
                check_type(&mut field.shape, version, &path)?;
            }
            Ok(())
        }
        Shape::List(element) => inside(element, ELEMENT, version, &below(ELEMENT)),
        Shape::Map(key, value) => {
            key.required = true;
            inside(key, KEY, version, &below(KEY))?;
            inside(value, VALUE, version, &below(VALUE))
        }
    }
}

/// What is in a list or a map has a fixed name, and metadata stores no more of it than its type.
fn inside(column: &mut Column, name: &str, version: FormatVersion, path: &[String]) -> Result<()> {
    column.name = name.to_string();
    column.doc = None;
    column.initial_default = None;
    column.write_default = None;
    check_type(&mut column.shape, version, path)
}

/// Parquet has no structs without fields.
fn check_not_empty(column: &Column, path: &[String]) -> Result<()> {
    if let Shape::Struct(fields) = &column.shape
        && fields.is_empty()
    {
        return Err(invalid("a struct needs at least one field", path)
            .help("drop the struct itself, or add another field before"));
    }
    for child in column.children() {
        let mut path = path.to_vec();
        path.push(child.name.clone());
        check_not_empty(child, &path)?;
    }
    Ok(())
}
