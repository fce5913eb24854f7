//! `CALL`: the arguments of a procedure, by place or by name, in the types of its parameters.

use berglake_format::{Error, Result};

use datafusion::sql::sqlparser::tokenizer::Location;

use super::insert::assignable;
use crate::error::{IntoOurs, advice};
use crate::output::QueryOutput;
use crate::procedures::{Arguments, NAMESPACE, Parameter};
use crate::session::Session;
use crate::sql::{Argument, Call, normal, parts, placed};

pub(super) async fn run(session: &Session, call: &Call) -> Result<QueryOutput> {
    let name = parts(&call.name)?;
    let start = name
        .first()
        .map_or(Location { line: 0, column: 0 }, |first| first.span.start);
    let engine = session.engine();
    let words: Vec<String> = name.iter().map(normal).collect();
    let procedure = match words.as_slice() {
        [namespace, procedure] if namespace == NAMESPACE => procedure,
        [catalog, namespace, procedure]
            if catalog.eq_ignore_ascii_case(engine.catalog().name()) && namespace == NAMESPACE =>
        {
            procedure
        }
        _ => {
            let error = Error::not_found(format!("there is no procedure {}", words.join(".")))
                .help("procedures lie in system: CALL system.rollback_to_snapshot(…)");
            return Err(placed(error, start));
        }
    };
    let procedure = engine
        .procedures()
        .find(procedure)
        .map_err(|error| placed(error, start))?;
    let parameters = procedure.parameters();
    let mut arguments = Arguments::default();
    let mut given: Vec<&'static str> = Vec::new();
    for (place, argument) in call.arguments.iter().enumerate() {
        let wrong =
            |error: Error| placed(error, argument.start).with("procedure", procedure.name());
        let parameter = parameter(&parameters, place, argument, &given).map_err(wrong)?;
        given.push(parameter.name);
        let value = value(session, argument, parameter).await.map_err(wrong)?;
        arguments.insert(parameter.name, value);
    }
    if let Some(missing) = parameters
        .iter()
        .find(|parameter| parameter.required && arguments.get(parameter.name).is_none())
    {
        let error = Error::invalid(format!("the argument {} is missing", missing.name))
            .with("procedure", procedure.name())
            .help(signature(&parameters));
        return Err(placed(error, start));
    }
    procedure.call(session, &arguments).await
}

/// The parameter that an argument is for. Those with names stand behind those without.
fn parameter<'a>(
    parameters: &'a [Parameter],
    place: usize,
    argument: &Argument,
    given: &[&str],
) -> Result<&'a Parameter> {
    let Some(name) = &argument.name else {
        // As many have been given as there are before this one, so a name among them leaves a gap.
        let in_order = parameters
            .iter()
            .zip(given)
            .all(|(known, given)| known.name == *given);
        if !in_order {
            return Err(Error::invalid(
                "an argument without name stands behind one with a name",
            ));
        }
        return parameters.get(place).ok_or_else(|| {
            Error::invalid("there are too many arguments").help(signature(parameters))
        });
    };
    let wanted = name.value.to_lowercase();
    let Some(found) = parameters.iter().find(|known| known.name == wanted) else {
        let known: Vec<&str> = parameters.iter().map(|known| known.name).collect();
        let error = Error::invalid(format!("the procedure has no parameter {wanted:?}"));
        return Err(match advice(&wanted, &known, "parameters are") {
            Some(advice) => error.help(advice),
            None => error,
        });
    };
    if given.contains(&found.name) {
        return Err(Error::invalid(format!(
            "the argument {} is given twice",
            found.name
        )));
    }
    Ok(found)
}

async fn value(
    session: &Session,
    argument: &Argument,
    parameter: &Parameter,
) -> Result<datafusion::common::ScalarValue> {
    let wrong = |cause: &str| {
        Error::invalid(format!(
            "{} is no value for {}: {cause}",
            argument.value, parameter.name
        ))
    };
    let value = session.constant(&argument.value).await?;
    let value = value.ok_or_else(|| wrong("it has no value"))?;
    // A number would become a time of some unit that nobody has said.
    if !assignable(&value.data_type(), &parameter.data_type) {
        return Err(wrong("it is of another type"));
    }
    value
        .cast_to(&parameter.data_type)
        .ours()
        .map_err(|error| wrong(error.message()))
}

fn signature(parameters: &[Parameter]) -> String {
    let shown: Vec<String> = parameters
        .iter()
        .map(|parameter| match parameter.required {
            true => parameter.name.to_string(),
            false => format!("[{}]", parameter.name),
        })
        .collect();
    format!("parameters are: {}", shown.join(", "))
}
