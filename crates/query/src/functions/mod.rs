//! Functions as Spark has them, where DataFusion has none or means something else.

mod concat;
mod dates;
mod days;
mod json;
mod pattern;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ScalarUDF;

/// Functions of Spark that replace DataFusion's of the same name, because the two differ in meaning:
/// `trunc` is for dates, `ceil` and `floor` give whole numbers.
const REPLACED: &[&str] = &["trunc", "ceil", "ceiling", "floor"];

/// Registers Spark's functions. Where DataFusion has a function of a name that means the same, its
/// own stays: it takes more types and is faster.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    let known: HashSet<String> = state
        .scalar_functions()
        .keys()
        .chain(state.aggregate_functions().keys())
        .cloned()
        .collect();
    for function in datafusion_spark::all_default_scalar_functions() {
        let name = function.name().to_string();
        let function = match days::NAMES.contains(&name.as_str()) {
            true => Arc::new(ScalarUDF::new_from_impl(days::WholeNumbers::new(function))),
            false => function,
        };
        if !known.contains(&name) || REPLACED.contains(&name.as_str()) {
            state.register_udf(function)?;
        }
    }
    for function in datafusion_spark::all_default_aggregate_functions() {
        if !known.contains(function.name()) {
            state.register_udaf(function)?;
        }
    }
    displace(state, &ScalarUDF::from(concat::Concat::default()))?;
    displace(state, &ScalarUDF::from(json::GetJsonObject::default()))?;
    for function in dates::all() {
        displace(state, &ScalarUDF::new_from_shared_impl(function))?;
    }
    Ok(())
}

/// Registers a function, and removes functions that have one of its names as an alias: whenever a
/// state is built anew, functions are registered again in no particular order, and an alias would
/// take the name back.
fn displace(state: &mut SessionState, function: &ScalarUDF) -> Result<()> {
    for name in
        std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str))
    {
        let other = state
            .scalar_functions()
            .get(name)
            .map(|other| other.name().to_string());
        if let Some(other) = other {
            state.deregister_udf(&other)?;
        }
    }
    state.register_udf(Arc::new(function.clone()))?;
    Ok(())
}
