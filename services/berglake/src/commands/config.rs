//! `berglake config show`

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;

pub(crate) fn show(global: &Global, origin: bool) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let config = &lake.project.config;
    let mut out = Out::new();
    match output {
        Output::Json => {
            let settings: serde_json::Map<String, serde_json::Value> = config
                .settings()
                .into_iter()
                .map(|setting| {
                    let value = if origin {
                        serde_json::json!({"value": setting.value, "origin": setting.origin})
                    } else {
                        setting.value.into()
                    };
                    (setting.key, value)
                })
                .collect();
            out.json(&settings)?;
        }
        _ => out.text(&config.to_toml(origin))?,
    }
    out.flush()
}
