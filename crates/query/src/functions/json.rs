//! `get_json_object(text, path)`: one value out of a JSON text, as Spark has it.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::Value;

/// Text without quotes, other values as their JSON; NULL where there is none, and where the text is no
/// JSON. The path is a constant of `$`, `.name`, `['name']` and `[number]`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct GetJsonObject {
    signature: Signature,
}

impl Default for GetJsonObject {
    fn default() -> Self {
        Self {
            signature: Signature::string(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for GetJsonObject {
    fn name(&self) -> &str {
        "get_json_object"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, path] = args.args.as_slice() else {
            return Err(DataFusionError::Plan(
                "get_json_object takes a text and a path".to_string(),
            ));
        };
        let ColumnarValue::Scalar(path) = path else {
            return Err(DataFusionError::Plan(
                "the path of get_json_object is a constant".to_string(),
            ));
        };
        let steps = match path.try_as_str().flatten() {
            Some(path) => steps(path)?,
            None => return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))),
        };
        match text {
            ColumnarValue::Scalar(text) => {
                let text = text.try_as_str().flatten();
                let found = text.and_then(|text| find(text, &steps));
                Ok(ColumnarValue::Scalar(ScalarValue::Utf8(found)))
            }
            ColumnarValue::Array(texts) => {
                let texts = cast(texts, &DataType::Utf8)?;
                let texts = as_string_array(&texts)?;
                let found: StringArray = texts
                    .iter()
                    .map(|text| text.and_then(|text| find(text, &steps)))
                    .collect();
                Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Place(usize),
}

fn find(text: &str, steps: &[Step]) -> Option<String> {
    let root: Value = serde_json::from_str(text).ok()?;
    let value = steps.iter().try_fold(&root, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Place(place) => value.get(place),
    })?;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong = || {
        DataFusionError::Plan(format!(
            "{path:?} is no path of get_json_object: it is made of $, .name, ['name'] and [number]"
        ))
    };
    let mut rest = path.trim().strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(named) = rest.strip_prefix("['") {
            let (name, after) = named.split_once("']").ok_or_else(wrong)?;
            (Step::Name(name.to_string()), after)
        } else if let Some(placed) = rest.strip_prefix('[') {
            let (place, after) = placed.split_once(']').ok_or_else(wrong)?;
            (
                Step::Place(place.trim().parse().map_err(|_| wrong())?),
                after,
            )
        } else if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, after) = named.split_at(end);
            if name.is_empty() || name == "*" {
                return Err(wrong());
            }
            (Step::Name(name.to_string()), after)
        } else {
            return Err(wrong());
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_names_and_places() {
        let text = r#"{"a": {"b c": [1, {"d": "x"}]}, "n": null, "t": true, "f": 1.50}"#;
        let get = |path: &str| find(text, &steps(path).unwrap());
        assert_eq!(get("$.a['b c'][1].d").as_deref(), Some("x"));
        assert_eq!(get("$.a['b c'][0]").as_deref(), Some("1"));
        assert_eq!(get("$.a['b c']").as_deref(), Some(r#"[1,{"d":"x"}]"#));
        assert_eq!(get("$.t").as_deref(), Some("true"));
        for nothing in ["$.n", "$.x", "$.a[0]", "$.a.b.c", "$.f.g"] {
            assert_eq!(get(nothing), None, "{nothing}");
        }
        for wrong in ["a", "$a", "$.", "$[x]", "$['a", "$.*", "$..a"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
