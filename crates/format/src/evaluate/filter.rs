//! A filter bound to a schema: a tree of tests on columns, without NOT.

use iceberg::expr::{Predicate, PredicateOperator as Op};
use iceberg::spec::{Datum, NestedFieldRef, PrimitiveType, Schema, StructType, Type};

use super::facts::Test;
use super::value::{Literal, literal};
use crate::{Error, Result};

/// A bound filter.
#[derive(Debug, Clone)]
pub(super) enum Node {
    True,
    False,
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Leaf(Leaf),
}

/// One test on one column.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// As the caller wrote it, for residuals.
    pub(super) predicate: Predicate,
    pub(super) field_id: i32,
    /// Whether neither the field nor a struct around it can be NULL.
    pub(super) required: bool,
    /// Whether a struct around the field can be NULL. Writers disagree whether the field's null
    /// count then counts those rows.
    pub(super) in_optional: bool,
    /// The column's type and the test, or none where metadata cannot tell anything about it.
    pub(super) test: Option<(PrimitiveType, Test)>,
}

impl Node {
    /// Binds a filter. NOT is pushed down to the tests first: `NOT (a < 5)` is `a >= 5`, which is
    /// right for NULL as well, because both are NULL then.
    pub(super) fn bind(schema: &Schema, filter: &Predicate) -> Result<Self> {
        Self::bind_positive(schema, &filter.clone().rewrite_not())
    }

    fn bind_positive(schema: &Schema, filter: &Predicate) -> Result<Self> {
        Ok(match filter {
            Predicate::AlwaysTrue => Self::True,
            Predicate::AlwaysFalse => Self::False,
            Predicate::And(both) => {
                let [left, right] = both.inputs();
                Self::And(
                    Box::new(Self::bind_positive(schema, left)?),
                    Box::new(Self::bind_positive(schema, right)?),
                )
            }
            Predicate::Or(either) => {
                let [left, right] = either.inputs();
                Self::Or(
                    Box::new(Self::bind_positive(schema, left)?),
                    Box::new(Self::bind_positive(schema, right)?),
                )
            }
            Predicate::Not(_) => {
                return Err(Error::internal("a NOT was left in a filter").with("filter", filter));
            }
            Predicate::Unary(unary) => {
                let column = Column::find(schema, unary.term().name())?;
                column.unary(filter, unary.op())?
            }
            Predicate::Binary(binary) => {
                let column = Column::find(schema, binary.term().name())?;
                column.binary(filter, binary.op(), binary.literal())?
            }
            Predicate::Set(set) => {
                let column = Column::find(schema, set.term().name())?;
                column.set(filter, set.op(), set.literals().iter())?
            }
        })
    }

    /// All tests.
    pub(super) fn leaves(&self) -> Box<dyn Iterator<Item = &Leaf> + '_> {
        match self {
            Self::True | Self::False => Box::new(std::iter::empty()),
            Self::And(left, right) | Self::Or(left, right) => {
                Box::new(left.leaves().chain(right.leaves()))
            }
            Self::Leaf(leaf) => Box::new(std::iter::once(leaf)),
        }
    }

    /// The filter that is left where some tests are known to hold for all rows or for none.
    pub(super) fn residual(&self, verdict: &impl Fn(&Leaf) -> Option<bool>) -> Predicate {
        match self {
            Self::True => Predicate::AlwaysTrue,
            Self::False => Predicate::AlwaysFalse,
            Self::And(left, right) => left.residual(verdict).and(right.residual(verdict)),
            Self::Or(left, right) => left.residual(verdict).or(right.residual(verdict)),
            Self::Leaf(leaf) => match verdict(leaf) {
                Some(true) => Predicate::AlwaysTrue,
                Some(false) => Predicate::AlwaysFalse,
                None => leaf.predicate.clone(),
            },
        }
    }

    /// Whether the filter may hold for a row, where this says which tests certainly hold for none.
    pub(super) fn may_match(&self, excluded: &impl Fn(&Leaf) -> bool) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::And(left, right) => left.may_match(excluded) && right.may_match(excluded),
            Self::Or(left, right) => left.may_match(excluded) || right.may_match(excluded),
            Self::Leaf(leaf) => !excluded(leaf),
        }
    }
}

struct Column<'a> {
    name: &'a str,
    field: NestedFieldRef,
    required: bool,
    in_optional: bool,
}

impl<'a> Column<'a> {
    fn find(schema: &Schema, name: &'a str) -> Result<Self> {
        let id = schema.field_id_by_name(name).ok_or_else(|| {
            Error::invalid("the filter names an unknown column").with("column", name)
        })?;
        let (field, in_optional) = descend(schema.as_struct(), id, false).ok_or_else(|| {
            Error::invalid("a filter cannot look into lists and maps").with("column", name)
        })?;
        Ok(Self {
            name,
            required: field.required && !in_optional,
            field,
            in_optional,
        })
    }

    fn leaf(&self, predicate: &Predicate, test: Option<(PrimitiveType, Test)>) -> Node {
        Node::Leaf(Leaf {
            predicate: predicate.clone(),
            field_id: self.field.id,
            required: self.required,
            in_optional: self.in_optional,
            test,
        })
    }

    fn primitive(&self) -> Result<&PrimitiveType> {
        match self.field.field_type.as_ref() {
            Type::Primitive(primitive) => Ok(primitive),
            _ => Err(
                Error::invalid("a struct, list or map can only be tested for NULL")
                    .with("column", self.name),
            ),
        }
    }

    fn misfit(&self, ty: &PrimitiveType, value: &dyn std::fmt::Display) -> Error {
        Error::invalid(format!("{value} does not fit a column of type {ty}"))
            .with("column", self.name)
    }

    fn unary(&self, predicate: &Predicate, op: Op) -> Result<Node> {
        match (op, self.field.field_type.as_ref()) {
            (Op::IsNull | Op::NotNull, Type::Primitive(ty)) => {
                Ok(self.leaf(predicate, Some((ty.clone(), Test::new(op, Vec::new())))))
            }
            (Op::IsNull | Op::NotNull, _) => Ok(self.leaf(predicate, None)),
            (_, Type::Primitive(ty @ (PrimitiveType::Float | PrimitiveType::Double))) => {
                Ok(self.leaf(predicate, Some((ty.clone(), Test::new(op, Vec::new())))))
            }
            (_, ty) => Err(
                Error::invalid(format!("only float and double can be NaN, not {ty}"))
                    .with("column", self.name),
            ),
        }
    }

    fn binary(&self, predicate: &Predicate, op: Op, value: &Datum) -> Result<Node> {
        let ty = self.primitive()?;
        if matches!(op, Op::StartsWith | Op::NotStartsWith)
            && !matches!(
                ty,
                PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_)
            )
        {
            return Err(Error::invalid(format!("{ty} has no prefixes")).with("column", self.name));
        }
        Ok(match (literal(value, ty), op) {
            (Literal::Value(value), _) => {
                self.leaf(predicate, Some((ty.clone(), Test::new(op, vec![value]))))
            }
            // Beyond all values of the type: true for all but NULL, or for nothing.
            (Literal::AboveAll, Op::LessThan | Op::LessThanOrEq)
            | (Literal::BelowAll, Op::GreaterThan | Op::GreaterThanOrEq) => {
                let test = Test::new(Op::NotNull, Vec::new());
                self.leaf(predicate, Some((ty.clone(), test)))
            }
            (Literal::AboveAll | Literal::BelowAll, Op::NotEq | Op::NotStartsWith) => {
                self.leaf(predicate, None)
            }
            (Literal::AboveAll | Literal::BelowAll, _) => Node::False,
            (Literal::Misfit, _) => return Err(self.misfit(ty, value)),
        })
    }

    fn set<'v>(
        &self,
        predicate: &Predicate,
        op: Op,
        values: impl Iterator<Item = &'v Datum>,
    ) -> Result<Node> {
        let ty = self.primitive()?;
        let mut literals = Vec::new();
        for value in values {
            match literal(value, ty) {
                Literal::Value(value) => literals.push(value),
                Literal::AboveAll | Literal::BelowAll => {}
                Literal::Misfit => return Err(self.misfit(ty, value)),
            }
        }
        Ok(match (op, literals.is_empty()) {
            (Op::In, true) => Node::False,
            (_, true) => self.leaf(predicate, None),
            _ => self.leaf(predicate, Some((ty.clone(), Test::new(op, literals)))),
        })
    }
}

/// The field with this id, looked for in structs only, and whether a struct around it is optional.
fn descend(fields: &StructType, id: i32, optional: bool) -> Option<(NestedFieldRef, bool)> {
    for field in fields.fields() {
        if field.id == id {
            return Some((field.clone(), optional));
        }
        if let Type::Struct(inner) = field.field_type.as_ref()
            && let Some(found) = descend(inner, id, optional || !field.required)
        {
            return Some(found);
        }
    }
    None
}
