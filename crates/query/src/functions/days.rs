//! Spark's date arithmetic with whole numbers of any type.
//!
//! Spark's integer literals are 32 bits wide and DataFusion's 64, so that the functions of
//! datafusion-spark, which take exactly 32 bits, would refuse `add_months(day, 1)`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The functions of a date and a whole number.
pub(super) const NAMES: &[&str] = &["add_months", "date_add", "date_sub"];

/// A function of a date and a whole number that takes whole numbers of any type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WholeNumbers {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl WholeNumbers {
    pub(super) fn new(inner: Arc<ScalarUDF>) -> Self {
        Self {
            inner,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for WholeNumbers {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [day, count] = types else {
            return plan_err!("{} takes a date and a whole number", self.name());
        };
        let is_day = matches!(
            day,
            DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::Utf8
                | DataType::Utf8View
                | DataType::LargeUtf8
                | DataType::Null
        );
        if !is_day || !(count.is_integer() || count.is_null()) {
            return plan_err!(
                "{} takes a date and a whole number, not {day} and {count}",
                self.name()
            );
        }
        // A number beyond 32 bits is no number of days or months; the cast says so.
        Ok(vec![DataType::Date32, DataType::Int32])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}
