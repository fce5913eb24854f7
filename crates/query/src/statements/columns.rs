//! Changes of columns: names in the spelling of the table, defaults as values of their columns.

use berglake_format::evolve::{EvolveSchema, Position, SchemaEdit};
use berglake_format::{Error, ErrorKind, Result, Table};
use datafusion::sql::sqlparser::ast::{Expr, Ident};
use iceberg::spec::{Literal, NestedFieldRef, StructType, Type};

use super::values;
use crate::session::Session;
use crate::sql::{ColumnEdit, NewColumn, Path, Place, normal, placed};

/// The operation that makes these edits.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for new names that differ from others in case alone, and
/// defaults that are no values of their columns. What else is wrong the operation says.
pub(super) async fn bind(
    session: &Session,
    table: &Table,
    edits: &[ColumnEdit],
) -> Result<EvolveSchema> {
    let mut bound = Vec::with_capacity(edits.len());
    for (place, edit) in edits.iter().enumerate() {
        let binding = Binding {
            session,
            table,
            before: &edits[..place],
        };
        binding.bind(edit, &mut bound).await?;
    }
    let operation = EvolveSchema::new(bound);
    // Planned here for the place of what is wrong: afterwards nobody knows it.
    if let Err(error) = berglake_format::commit::Operation::plan(&operation, table).await {
        return Err(located(error, edits));
    }
    Ok(operation)
}

struct Binding<'a> {
    session: &'a Session,
    table: &'a Table,
    before: &'a [ColumnEdit],
}

impl Binding<'_> {
    async fn bind(&self, edit: &ColumnEdit, bound: &mut Vec<SchemaEdit>) -> Result<()> {
        let found = |path: &Path| self.spelled(path);
        bound.push(match edit {
            ColumnEdit::Add(new) => self.add(new).await?,
            ColumnEdit::Drop { path, if_exists } => SchemaEdit::Drop {
                path: found(path),
                if_exists: *if_exists,
            },
            ColumnEdit::Rename {
                path,
                to,
                if_exists,
            } => {
                let from = found(path);
                if *if_exists && self.field(&from).is_none() && self.before.is_empty() {
                    return Ok(());
                }
                let parent = from.split_last().map(|(_, parent)| parent).unwrap_or(&from);
                if from
                    .last()
                    .is_none_or(|old| !old.eq_ignore_ascii_case(&to.value))
                {
                    self.check_new(parent, to)?;
                }
                SchemaEdit::Rename {
                    path: from,
                    to: normal(to),
                }
            }
            ColumnEdit::Type { path, ty } => SchemaEdit::Widen {
                path: found(path),
                to: ty.clone(),
            },
            ColumnEdit::Required { path, required } => {
                let path = found(path);
                match required {
                    true => SchemaEdit::Require { path },
                    false => SchemaEdit::Optional { path },
                }
            }
            ColumnEdit::Comment { path, comment } => SchemaEdit::Doc {
                path: found(path),
                // An empty comment is none, so that there is a way to take one away.
                doc: Some(comment.clone()).filter(|comment| !comment.is_empty()),
            },
            ColumnEdit::Default { path, value } => {
                let path = found(path);
                let value = match value {
                    Some(value) => self.default(value, &path, self.type_of(&path)).await?,
                    None => None,
                };
                SchemaEdit::WriteDefault { path, value }
            }
            ColumnEdit::Move { path, to } => {
                let path = found(path);
                let parent = path.split_last().map(|(_, parent)| parent).unwrap_or(&path);
                let position = self.position(parent, to);
                SchemaEdit::Move { path, position }
            }
        });
        Ok(())
    }

    async fn add(&self, new: &NewColumn) -> Result<SchemaEdit> {
        let Some((name, parent)) = new.path.split_last() else {
            return Err(Error::internal("a column without a name"));
        };
        let parent = self.spelled(parent);
        let exists = self.check_new(&parent, name);
        if let Err(error) = exists
            && !new.if_not_exists
        {
            return Err(error);
        }
        let mut path = parent.clone();
        path.push(normal(name));
        let value = match &new.default {
            Some(value) => self.default(value, &path, Some(new.ty.clone())).await?,
            None => None,
        };
        Ok(SchemaEdit::Add {
            position: match &new.place {
                Some(place) => self.position(&parent, place),
                None => Position::Last,
            },
            name: match new.if_not_exists {
                // The name that the table has is the one that is there already.
                true => self
                    .spelled(&new.path)
                    .pop()
                    .unwrap_or_else(|| normal(name)),
                false => normal(name),
            },
            parent: Some(parent).filter(|parent| !parent.is_empty()),
            ty: new.ty.clone(),
            required: new.required,
            doc: new.comment.clone(),
            initial_default: value.clone(),
            write_default: value,
            if_not_exists: new.if_not_exists,
        })
    }

    async fn default(
        &self,
        value: &Expr,
        path: &[String],
        ty: Option<Type>,
    ) -> Result<Option<Literal>> {
        let name = path.join(".");
        let Some(ty) = ty else {
            return Err(Error::invalid("there is no such column").with("column", name));
        };
        let value = values::constant(self.session, value, &name, &ty).await?;
        values::default(&value, &name, &ty)
    }

    /// The type of a column of the table, or of one that was added before in the statement.
    fn type_of(&self, path: &[String]) -> Option<Type> {
        if let Some(field) = self.field(path) {
            return Some(field.field_type.as_ref().clone());
        }
        self.before.iter().find_map(|edit| match edit {
            ColumnEdit::Add(new) if self.spelled(&new.path) == path => Some(new.ty.clone()),
            _ => None,
        })
    }

    /// A place beside a column in its own spelling.
    fn position(&self, parent: &[String], place: &Place) -> Position {
        match place {
            Place::First => Position::First,
            Place::After(name) => {
                let inside = self.inside(parent);
                let name = inside
                    .and_then(|fields| like(&fields, name).map(|field| field.name.clone()))
                    .unwrap_or_else(|| normal(name));
                Position::After(name)
            }
        }
    }

    /// A new column must differ from its neighbours by more than case, as in Spark; which of them go in
    /// the same statement only the operation knows.
    fn check_new(&self, parent: &[String], name: &Ident) -> Result<()> {
        let frees =
            |edit: &ColumnEdit| matches!(edit, ColumnEdit::Drop { .. } | ColumnEdit::Rename { .. });
        if self.before.iter().any(frees) {
            return Ok(());
        }
        let wanted = normal(name);
        let taken = self.inside(parent).and_then(|fields| {
            fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(&wanted))
                .cloned()
        });
        match taken {
            Some(field) => {
                let error = Error::invalid(format!("the column {:?} exists", field.name))
                    .with("table", self.table.ident());
                Err(placed(error, name.span.start))
            }
            None => Ok(()),
        }
    }

    fn field(&self, path: &[String]) -> Option<NestedFieldRef> {
        let (name, parent) = path.split_last()?;
        let fields = self.inside(parent)?;
        fields.into_iter().find(|field| field.name == *name)
    }

    /// The fields below a path in the spelling of the table.
    fn inside(&self, path: &[String]) -> Option<Vec<NestedFieldRef>> {
        let mut fields = fields_of(self.table.schema().as_struct());
        for part in path {
            let next = fields.into_iter().find(|field| field.name == *part)?;
            fields = below(&next.field_type);
        }
        Some(fields)
    }

    /// A path in the spelling of the table, as far as the table has it.
    fn spelled(&self, path: &[Ident]) -> Vec<String> {
        let mut fields = fields_of(self.table.schema().as_struct());
        let mut spelled = Vec::with_capacity(path.len());
        for part in path {
            match like(&fields, part).cloned() {
                Some(field) => {
                    spelled.push(field.name.clone());
                    fields = below(&field.field_type);
                }
                None => {
                    spelled.push(normal(part));
                    fields = Vec::new();
                }
            }
        }
        spelled
    }
}

/// The field of this name, in this case or, if there is none, in another.
fn like<'a>(fields: &'a [NestedFieldRef], name: &Ident) -> Option<&'a NestedFieldRef> {
    let wanted = normal(name);
    let exact = fields.iter().find(|field| field.name == wanted);
    exact.or_else(|| {
        fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(&wanted))
    })
}

fn fields_of(fields: &StructType) -> Vec<NestedFieldRef> {
    fields.fields().to_vec()
}

/// What a path may go on with below a column of this type. `element` and `value` may be left out.
fn below(ty: &Type) -> Vec<NestedFieldRef> {
    let inside = |field: &NestedFieldRef| {
        let mut all = vec![field.clone()];
        if let Type::Struct(fields) = field.field_type.as_ref() {
            all.extend(fields_of(fields));
        }
        all
    };
    match ty {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(fields) => fields_of(fields),
        Type::List(list) => inside(&list.element_field),
        Type::Map(map) => inside(&map.value_field),
    }
}

/// Adds the place of the column that an error is about.
fn located(error: Error, edits: &[ColumnEdit]) -> Error {
    if error.kind() != ErrorKind::InvalidInput {
        return error;
    }
    let Some((_, about)) = error.context().iter().find(|(key, _)| *key == "column") else {
        return error;
    };
    let about = about.to_lowercase();
    let of = |path: &Path| {
        let parts: Vec<String> = path.iter().map(|part| part.value.to_lowercase()).collect();
        parts.join(".")
    };
    let path = edits
        .iter()
        .map(|edit| match edit {
            ColumnEdit::Add(new) => &new.path,
            ColumnEdit::Drop { path, .. }
            | ColumnEdit::Rename { path, .. }
            | ColumnEdit::Type { path, .. }
            | ColumnEdit::Required { path, .. }
            | ColumnEdit::Comment { path, .. }
            | ColumnEdit::Default { path, .. }
            | ColumnEdit::Move { path, .. } => path,
        })
        .find(|path| of(path) == about);
    match path.and_then(|path| path.first()) {
        Some(first) => placed(error, first.span.start),
        None => error,
    }
}
