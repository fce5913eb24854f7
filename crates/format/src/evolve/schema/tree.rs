//! A schema that can be changed in place.

use std::sync::Arc;

use iceberg::spec::{
    ListType, Literal, MapType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type,
};

use crate::suggest::did_you_mean;
use crate::{Error, Result};

pub(super) const ELEMENT: &str = "element";
pub(super) const KEY: &str = "key";
pub(super) const VALUE: &str = "value";

/// A column, or a field inside of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) doc: Option<String>,
    pub(super) initial_default: Option<Literal>,
    pub(super) write_default: Option<Literal>,
    pub(super) shape: Shape,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Primitive(PrimitiveType),
    Struct(Vec<Column>),
    List(Box<Column>),
    Map(Box<Column>, Box<Column>),
}

impl Column {
    pub(super) fn read(field: &NestedField) -> Self {
        Self {
            id: field.id,
            name: field.name.clone(),
            required: field.required,
            doc: field.doc.clone(),
            initial_default: field.initial_default.clone(),
            write_default: field.write_default.clone(),
            shape: Shape::read(&field.field_type),
        }
    }

    fn write(&self) -> NestedFieldRef {
        let mut field = NestedField::new(self.id, &self.name, self.shape.write(), self.required);
        field.doc.clone_from(&self.doc);
        field.initial_default.clone_from(&self.initial_default);
        field.write_default.clone_from(&self.write_default);
        Arc::new(field)
    }

    /// What is directly inside of the column.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.shape {
            Shape::Primitive(_) => Vec::new(),
            Shape::Struct(fields) => fields.iter().collect(),
            Shape::List(element) => vec![element],
            Shape::Map(key, value) => vec![key, value],
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.shape {
            Shape::Primitive(_) => Vec::new(),
            Shape::Struct(fields) => fields.iter_mut().collect(),
            Shape::List(element) => vec![element],
            Shape::Map(key, value) => vec![key, value],
        }
    }

    /// The column's id and those of all that is inside of it.
    pub(super) fn ids(&self) -> Vec<i32> {
        let mut ids = vec![self.id];
        for child in self.children() {
            ids.extend(child.ids());
        }
        ids
    }

    /// Gives all that is inside of the column ids after `last`, those of one level first, as Java's
    /// reference implementation assigns them.
    pub(super) fn renumber(&mut self, last: &mut i32) -> Result<()> {
        for child in self.children_mut() {
            child.id = next_id(last)?;
        }
        for child in self.children_mut() {
            child.renumber(last)?;
        }
        Ok(())
    }
}

/// The id after `last`, which it then is.
pub(super) fn next_id(last: &mut i32) -> Result<i32> {
    *last = last
        .checked_add(1)
        .ok_or_else(|| Error::invalid("the table has no field ids left"))?;
    Ok(*last)
}

impl Shape {
    pub(super) fn read(ty: &Type) -> Self {
        match ty {
            Type::Primitive(primitive) => Self::Primitive(primitive.clone()),
            Type::Struct(fields) => {
                Self::Struct(fields.fields().iter().map(|f| Column::read(f)).collect())
            }
            Type::List(list) => Self::List(Box::new(Column::read(&list.element_field))),
            Type::Map(map) => Self::Map(
                Box::new(Column::read(&map.key_field)),
                Box::new(Column::read(&map.value_field)),
            ),
        }
    }

    pub(super) fn write(&self) -> Type {
        match self {
            Self::Primitive(primitive) => Type::Primitive(primitive.clone()),
            Self::Struct(fields) => {
                Type::Struct(StructType::new(fields.iter().map(Column::write).collect()))
            }
            Self::List(element) => Type::List(ListType::new(element.write())),
            Self::Map(key, value) => Type::Map(MapType::new(key.write(), value.write())),
        }
    }
}

/// One step from a column to what is inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The field of a struct at this place.
    Field(usize),
    Element,
    Value,
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns(pub(super) Vec<Column>);

impl Columns {
    pub(super) fn read(fields: &StructType) -> Self {
        Self(fields.fields().iter().map(|f| Column::read(f)).collect())
    }

    pub(super) fn write(&self) -> Vec<NestedFieldRef> {
        self.0.iter().map(Column::write).collect()
    }

    /// The way to a column, whose names are matched as they are stored. `element` and `value` may be
    /// left out before the name of a field of a struct.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such column, with the nearest;
    /// and for what is inside of the key of a map, which nothing can change.
    pub(super) fn locate(&self, path: &[String]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut here: Option<&Column> = None;
        for (at, name) in path.iter().enumerate() {
            if at > 0
                && let Some(Shape::Map(..)) = here.map(|column| &column.shape)
                && name == KEY
            {
                return Err(Error::invalid("the keys of a map cannot be changed")
                    .with("column", path.join(".")));
            }
            let before = steps.len();
            here = self.step(here, name, &mut steps);
            if here.is_none() {
                steps.truncate(before);
                return Err(self.unknown(path, at, &steps));
            }
        }
        match here {
            Some(_) => Ok(steps),
            None => Err(Error::invalid("the name of a column is empty")),
        }
    }

    /// The way to a column, if there is one.
    pub(super) fn find(&self, path: &[String]) -> Option<Vec<Step>> {
        self.locate(path).ok()
    }

    fn step<'a>(
        &'a self,
        from: Option<&'a Column>,
        name: &str,
        steps: &mut Vec<Step>,
    ) -> Option<&'a Column> {
        let field = |fields: &'a [Column], steps: &mut Vec<Step>| {
            let at = fields.iter().position(|field| field.name == name)?;
            steps.push(Step::Field(at));
            fields.get(at)
        };
        let Some(from) = from else {
            return field(&self.0, steps);
        };
        match &from.shape {
            Shape::Primitive(_) => None,
            Shape::Struct(fields) => field(fields, steps),
            Shape::List(element) => {
                steps.push(Step::Element);
                match (&element.shape, name) {
                    (_, ELEMENT) => Some(element),
                    (Shape::Struct(fields), _) => field(fields, steps),
                    _ => None,
                }
            }
            Shape::Map(_, value) => {
                steps.push(Step::Value);
                match (&value.shape, name) {
                    (_, VALUE) => Some(value),
                    (Shape::Struct(fields), _) => field(fields, steps),
                    _ => None,
                }
            }
        }
    }

    fn unknown(&self, path: &[String], at: usize, parent: &[Step]) -> Error {
        let name = path.get(at).map_or("", String::as_str);
        let known = match parent {
            [] => self.0.iter().map(|field| field.name.as_str()).collect(),
            _ => self.get(parent).map_or_else(Vec::new, |column| {
                let inside = match &column.shape {
                    Shape::List(element) => element,
                    Shape::Map(_, value) => value,
                    _ => column,
                };
                let mut names: Vec<&str> = column.children().iter().map(|c| &*c.name).collect();
                names.extend(inside.children().iter().map(|c| &*c.name));
                names
            }),
        };
        let error = Error::invalid("there is no such column").with("column", path.join("."));
        match did_you_mean(name, known.iter().copied()) {
            Some(help) => error.help(help),
            None if known.is_empty() => error.help("it is in a column that has no fields"),
            None => error.help(format!("columns are: {}", known.join(", "))),
        }
    }

    pub(super) fn get(&self, steps: &[Step]) -> Option<&Column> {
        let (first, rest) = steps.split_first()?;
        let Step::Field(at) = first else {
            return None;
        };
        rest.iter().try_fold(self.0.get(*at)?, |column, step| {
            match (step, &column.shape) {
                (Step::Field(at), Shape::Struct(fields)) => fields.get(*at),
                (Step::Element, Shape::List(element)) => Some(&**element),
                (Step::Value, Shape::Map(_, value)) => Some(&**value),
                _ => None,
            }
        })
    }

    /// The column at the end of a way that was found in this schema.
    pub(super) fn at(&mut self, steps: &[Step]) -> Result<&mut Column> {
        let missing = || Error::internal("a column that was found is not there");
        let (first, rest) = steps.split_first().ok_or_else(missing)?;
        let mut column = match first {
            Step::Field(at) => self.0.get_mut(*at).ok_or_else(missing)?,
            _ => return Err(missing()),
        };
        for step in rest {
            column = match (step, &mut column.shape) {
                (Step::Field(at), Shape::Struct(fields)) => {
                    fields.get_mut(*at).ok_or_else(missing)?
                }
                (Step::Element, Shape::List(element)) => element,
                (Step::Value, Shape::Map(_, value)) => value,
                _ => return Err(missing()),
            };
        }
        Ok(column)
    }

    /// The fields of the struct at the end of a way, or the columns of the table at its beginning.
    pub(super) fn fields(&mut self, steps: &[Step]) -> Result<&mut Vec<Column>> {
        if steps.is_empty() {
            return Ok(&mut self.0);
        }
        match &mut self.at(steps)?.shape {
            Shape::Struct(fields) => Ok(fields),
            _ => Err(Error::internal("a column that was found is no struct")),
        }
    }
}
