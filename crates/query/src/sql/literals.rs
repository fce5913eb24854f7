//! Numbers with an exponent are doubles; all others with a point are decimals, as in Spark.
//!
//! The engine reads every number with a point as a decimal, `1e300` too, because a literal has lost
//! its spelling when it gets there. So the spelling decides before: a number with an exponent becomes
//! a cast of its text, which is also read with the rounding that is right for a double.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Query, SetExpr, UnaryOperator, Value, Values,
    VisitMut, VisitorMut,
};

/// Makes doubles of all numbers with an exponent, and of those that stand in one column of `VALUES`
/// with doubles.
pub(super) fn exponents(query: &mut Query) {
    let _ = query.visit(&mut Exponents);
}

struct Exponents;

impl VisitorMut for Exponents {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        columns_of_doubles(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if number(expr).is_some_and(has_exponent) {
            to_double(expr);
        }
        ControlFlow::Continue(())
    }
}

/// The engine would make a decimal of a column that has both, and 1e300 does not fit into one.
fn columns_of_doubles(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            columns_of_doubles(left);
            columns_of_doubles(right);
        }
        SetExpr::Values(values) => {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            for column in 0..width {
                let mut cells = values.rows.iter().filter_map(|row| row.content.get(column));
                if cells.any(is_double) {
                    doubles(values, column);
                }
            }
        }
        _ => {}
    }
}

/// Makes doubles of the numbers in one column of `VALUES`, whose target holds doubles: by way of a
/// decimal the last digit could be lost.
pub(crate) fn doubles(values: &mut Values, column: usize) {
    for row in &mut values.rows {
        if let Some(cell) = row.content.get_mut(column) {
            signed_to_double(cell);
        }
    }
}

fn signed_to_double(expr: &mut Expr) {
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        }
        | Expr::Nested(expr) => signed_to_double(expr),
        _ if number(expr).is_some() => to_double(expr),
        _ => {}
    }
}

fn is_double(expr: &Expr) -> bool {
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        }
        | Expr::Nested(expr) => is_double(expr),
        Expr::Cast { data_type, .. } => matches!(
            data_type,
            DataType::Double(_)
                | DataType::DoublePrecision
                | DataType::Float(_)
                | DataType::Float4
                | DataType::Float8
                | DataType::Float32
                | DataType::Float64
                | DataType::Real
        ),
        _ => number(expr).is_some_and(has_exponent),
    }
}

fn number(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn has_exponent(number: &str) -> bool {
    number.contains(['e', 'E'])
}

fn to_double(expr: &mut Expr) {
    let Expr::Value(value) = expr else {
        return;
    };
    let mut text = value.clone();
    if let Value::Number(number, _) = &value.value {
        text.value = Value::SingleQuotedString(number.clone());
    }
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(text)),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    };
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;

    fn rewritten(text: &str) -> String {
        let Some(Statement::Query(mut query)) = parse(text).unwrap().pop() else {
            panic!("{text} is no query");
        };
        exponents(&mut query);
        query.to_string()
    }

    #[test]
    fn only_numbers_with_an_exponent_become_doubles() {
        assert_eq!(
            rewritten("SELECT 1, 1.5, -1e3, '1e3' FROM t WHERE x > 2E-3"),
            "SELECT 1, 1.5, -CAST('1e3' AS DOUBLE), '1e3' FROM t WHERE x > CAST('2E-3' AS DOUBLE)"
        );
    }

    #[test]
    fn a_column_of_values_is_of_doubles_if_one_of_them_is() {
        assert_eq!(
            rewritten("VALUES (1.5, 2.5), (-1e300, 3.5)"),
            "VALUES (CAST('1.5' AS DOUBLE), 2.5), (-CAST('1e300' AS DOUBLE), 3.5)"
        );
        assert_eq!(
            rewritten("SELECT * FROM (VALUES (-0.5), (CAST('NaN' AS DOUBLE))) v"),
            "SELECT * FROM (VALUES (-CAST('0.5' AS DOUBLE)), (CAST('NaN' AS DOUBLE))) v"
        );
    }
}
