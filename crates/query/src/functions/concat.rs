//! `concat` as Spark has it: NULL if any part is NULL, and numbers and dates are text.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Concat {
    signature: Signature,
}

impl Default for Concat {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &str {
        "concat"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, parts: &[DataType]) -> Result<DataType> {
        match parts.iter().find(|part| part.is_nested()) {
            Some(part) => Err(DataFusionError::Plan(format!(
                "concat joins text, not values of type {part}; use array_concat for arrays"
            ))),
            None => Ok(DataType::Utf8),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args
            .args
            .iter()
            .all(|part| matches!(part, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let parts = args
            .args
            .iter()
            .map(|part| Ok(cast(&part.to_array(rows)?, &DataType::Utf8)?))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let parts = parts
            .iter()
            .map(|part| as_string_array(part))
            .collect::<Result<Vec<_>>>()?;
        let mut output = StringBuilder::new();
        for row in 0..rows {
            if parts.iter().any(|part| part.is_null(row)) {
                output.append_null();
                continue;
            }
            for part in &parts {
                output
                    .write_str(part.value(row))
                    .map_err(|error| DataFusionError::Execution(error.to_string()))?;
            }
            output.append_value("");
        }
        let output: ArrayRef = Arc::new(output.finish());
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&output, 0)?)
        } else {
            ColumnarValue::Array(output)
        })
    }
}
