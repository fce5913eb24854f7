//! Which types meet in an expression, where DataFusion's choice loses something.
//!
//! A decimal that meets a double becomes a double, as in Spark. DataFusion does it the other way
//! round in comparisons, `CASE`, `coalesce` and `UNION`: NaN and 1e300 are errors then, small numbers
//! are rounded to 15 places, and a bound on a column of doubles prunes nothing, because the column is
//! under a cast. `TIME` counts microseconds, as the tables do; DataFusion's counts nanoseconds and
//! compares with nothing that a table holds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Case, InList, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Join, LogicalPlan, Operator, Projection, Union, cast,
};
use datafusion::optimizer::analyzer::type_coercion::{TypeCoercion, TypeCoercionRewriter};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::sql::sqlparser::ast;

/// DataFusion's rules with ours before the one that unites types.
pub(crate) fn rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    let last = TypeCoercion::new();
    let place = rules
        .iter()
        .position(|rule| rule.name() == last.name())
        .unwrap_or(rules.len());
    rules.insert(place, Arc::new(DecimalsMeetDoubles));
    rules
}

/// Types by their names in SQL, where they are not DataFusion's.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, ty: &ast::DataType) -> Result<Option<FieldRef>> {
        Ok(match ty {
            ast::DataType::Time(_, ast::TimezoneInfo::None) => Some(Arc::new(Field::new(
                "",
                DataType::Time64(TimeUnit::Microsecond),
                true,
            ))),
            _ => None,
        })
    }
}

/// Casts decimals to doubles where they meet doubles, in expressions, joins and unions.
#[derive(Debug)]
struct DecimalsMeetDoubles;

impl AnalyzerRule for DecimalsMeetDoubles {
    fn name(&self) -> &str {
        "decimals_meet_doubles"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(
            scan.table_name.clone(),
            &scan.source.schema(),
        )?);
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(expr
            .rewrite(&mut Meeting { schema: &schema })?
            .update_data(|expr| name.restore(expr)))
    })?
    .map_data(|plan| match plan {
        LogicalPlan::Union(union) => TypeCoercionRewriter::coerce_union(united(union)?),
        LogicalPlan::Join(join) => Ok(LogicalPlan::Join(joined(join)?)),
        other => Ok(other),
    })?
    .map_data(|plan| plan.recompute_schema())
}

/// Settles what is below an expression before the expression itself: the type of a `CASE`, for
/// instance, is known only when its branches have one type.
struct Meeting<'a> {
    schema: &'a DFSchema,
}

impl TreeNodeRewriter for Meeting<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let met = meet(expr, self.schema)?;
        // Of subqueries DataFusion's own rule takes care, which knows the query around them.
        if matches!(
            met.data,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ) {
            return Ok(met);
        }
        met.transform_data(|expr| TypeCoercionRewriter::new(self.schema).f_up(expr))
    }
}

fn meet(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let types = |exprs: &[&Expr]| {
        exprs
            .iter()
            .map(|expr| expr.get_type(schema).ok())
            .collect()
    };
    let do_meet = |exprs: &[&Expr]| {
        let types: Vec<Option<DataType>> = types(exprs);
        types.iter().flatten().any(DataType::is_floating) && types.iter().flatten().any(is_decimal)
    };
    let all = |exprs: Vec<Expr>| {
        exprs
            .into_iter()
            .map(|expr| to_double(expr, schema))
            .collect::<Vec<_>>()
    };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares_or_counts(op) && do_meet(&[&left, &right]) =>
        {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(to_double(*left, schema)),
                op,
                right: Box::new(to_double(*right, schema)),
            }))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if do_meet(&[&expr, &low, &high]) => Transformed::yes(Expr::Between(Between {
            expr: Box::new(to_double(*expr, schema)),
            negated,
            low: Box::new(to_double(*low, schema)),
            high: Box::new(to_double(*high, schema)),
        })),
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) if do_meet(
            &std::iter::once(expr.as_ref())
                .chain(&list)
                .collect::<Vec<_>>(),
        ) =>
        {
            Transformed::yes(Expr::InList(InList {
                expr: Box::new(to_double(*expr, schema)),
                list: all(list),
                negated,
            }))
        }
        Expr::Case(mut case) => {
            let changed = branches(&mut case, schema, &do_meet);
            match changed {
                true => Transformed::yes(Expr::Case(case)),
                false => Transformed::no(Expr::Case(case)),
            }
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if do_meet(&args.iter().collect::<Vec<_>>()) =>
        {
            let args = all(args);
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if do_meet(&params.args.iter().collect::<Vec<_>>()) =>
        {
            params.args = all(params.args);
            Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        Expr::WindowFunction(window) if do_meet(&window.params.args.iter().collect::<Vec<_>>()) => {
            let WindowFunction { fun, mut params } = *window;
            params.args = all(params.args);
            Transformed::yes(Expr::WindowFunction(Box::new(WindowFunction {
                fun,
                params,
            })))
        }
        other => Transformed::no(other),
    })
}

/// What a `CASE` compares, and what it gives: two meetings.
fn branches(case: &mut Case, schema: &DFSchema, do_meet: &dyn Fn(&[&Expr]) -> bool) -> bool {
    let mut changed = false;
    let double = |expr: &mut Box<Expr>| {
        let old = std::mem::replace(expr.as_mut(), Expr::Literal(ScalarValue::Null, None));
        **expr = to_double(old, schema);
    };
    if let Some(compared) = &mut case.expr {
        let mut all: Vec<&Expr> = vec![compared];
        all.extend(case.when_then_expr.iter().map(|(when, _)| when.as_ref()));
        if do_meet(&all) {
            double(compared);
            case.when_then_expr
                .iter_mut()
                .for_each(|(when, _)| double(when));
            changed = true;
        }
    }
    let given: Vec<&Expr> = case
        .when_then_expr
        .iter()
        .map(|(_, then)| then.as_ref())
        .chain(case.else_expr.as_deref())
        .collect();
    if do_meet(&given) {
        case.when_then_expr
            .iter_mut()
            .for_each(|(_, then)| double(then));
        case.else_expr.iter_mut().for_each(double);
        changed = true;
    }
    changed
}

fn compares_or_counts(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq
            | O::NotEq
            | O::Lt
            | O::LtEq
            | O::Gt
            | O::GtEq
            | O::IsDistinctFrom
            | O::IsNotDistinctFrom
            | O::Plus
            | O::Minus
            | O::Multiply
            | O::Divide
            | O::Modulo
    )
}

fn is_decimal(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// A decimal as a double, anything else as it is. A literal is read from its digits: dividing would
/// round twice.
fn to_double(expr: Expr, schema: &DFSchema) -> Expr {
    if let Expr::Literal(value, _) = &expr {
        return match nearest(value) {
            Some(double) => Expr::Literal(ScalarValue::Float64(double), None),
            None => expr,
        };
    }
    match expr.get_type(schema) {
        Ok(ty) if is_decimal(&ty) => cast(expr, DataType::Float64),
        _ => expr,
    }
}

/// The double that is nearest to a decimal; none for what is no decimal.
fn nearest(value: &ScalarValue) -> Option<Option<f64>> {
    let parse = |digits: Option<String>, scale: i8| {
        digits.and_then(|digits| format!("{digits}e{}", -i16::from(scale)).parse().ok())
    };
    Some(match value {
        ScalarValue::Decimal32(value, _, scale) => parse(value.map(|v| v.to_string()), *scale),
        ScalarValue::Decimal64(value, _, scale) => parse(value.map(|v| v.to_string()), *scale),
        ScalarValue::Decimal128(value, _, scale) => parse(value.map(|v| v.to_string()), *scale),
        ScalarValue::Decimal256(value, _, scale) => parse(value.map(|v| v.to_string()), *scale),
        _ => return None,
    })
}

fn joined(mut join: Join) -> Result<Join> {
    for (left, right) in &mut join.on {
        let (a, b) = (
            left.get_type(join.left.schema())?,
            right.get_type(join.right.schema())?,
        );
        if a.is_floating() && is_decimal(&b) {
            *right = to_double(right.clone(), join.right.schema());
        } else if is_decimal(&a) && b.is_floating() {
            *left = to_double(left.clone(), join.left.schema());
        }
    }
    Ok(join)
}

fn united(mut union: Union) -> Result<Union> {
    let width = union.schema.fields().len();
    let mixed: Vec<bool> = (0..width)
        .map(|column| {
            let mut types = union
                .inputs
                .iter()
                .filter_map(|input| input.schema().fields().get(column))
                .map(|field| field.data_type());
            types.clone().any(DataType::is_floating) && types.any(is_decimal)
        })
        .collect();
    if !mixed.contains(&true) {
        return Ok(union);
    }
    for input in &mut union.inputs {
        let schema = input.schema().clone();
        let columns: Vec<Expr> = schema
            .iter()
            .zip(&mixed)
            .map(|((relation, field), mixed)| {
                let column = Expr::Column((relation, field).into());
                match *mixed && is_decimal(field.data_type()) {
                    true => cast(column, DataType::Float64)
                        .alias_qualified(relation.cloned(), field.name()),
                    false => column,
                }
            })
            .collect();
        if columns.iter().any(|expr| !matches!(expr, Expr::Column(_))) {
            *input = Arc::new(LogicalPlan::Projection(Projection::try_new(
                columns,
                input.clone(),
            )?));
        }
    }
    Union::try_new_with_loose_types(union.inputs)
}
