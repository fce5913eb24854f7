//! `berglake init`

use std::io::ErrorKind;
use std::path::Path;

use berglake_format::Error;

use crate::exit::{Failure, Outcome};
use crate::output::Out;

/// The files of a new project. `{name}` stands for the project's name in the first.
const FILES: &[(&str, &str)] = &[
    (
        "berglake.toml",
        include_str!("../../template/berglake.toml"),
    ),
    (".gitignore", include_str!("../../template/gitignore")),
    (
        "pipelines/bronze.sql",
        include_str!("../../template/pipelines/bronze.sql"),
    ),
    (
        "pipelines/silver.sql",
        include_str!("../../template/pipelines/silver.sql"),
    ),
    (
        "pipelines/gold.sql",
        include_str!("../../template/pipelines/gold.sql"),
    ),
    (
        "data/orders.json",
        include_str!("../../template/data/orders.json"),
    ),
];

pub(crate) fn run(folder: &Path) -> Outcome {
    // Everything is looked at before anything is written, so that a refusal leaves the folder as it was.
    for (name, _) in FILES {
        let file = folder.join(name);
        match std::fs::symlink_metadata(&file) {
            Ok(_) => {
                return Err(Failure::usage(
                    Error::new(
                        berglake_format::ErrorKind::AlreadyExists,
                        "the file exists, nothing was written",
                    )
                    .with("file", file.display())
                    .help("name another folder: berglake init DIR"),
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error, &file)),
        }
    }
    let name = project_name(folder);
    for (path, content) in FILES {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(|error| refused(error, parent))?;
        }
        let content = content.replace("{name}", &name);
        std::fs::write(&file, content).map_err(|error| refused(error, &file))?;
    }
    let mut out = Out::new();
    for (path, _) in FILES {
        out.line(&format!("wrote {}", folder.join(path).display()))?;
    }
    let here = folder == Path::new(".");
    let project = if here {
        String::new()
    } else {
        format!(" --project {}", folder.display())
    };
    out.line(&format!(
        "\nTry next:\n  berglake{project} run\n  berglake{project} sql -c 'SELECT * FROM gold.revenue_by_country'"
    ))?;
    out.flush()
}

fn refused(error: std::io::Error, path: &Path) -> Failure {
    Failure::opening(Error::from(error).with("path", path.display()))
}

/// The folder's name, with whatever TOML would have to escape left out.
fn project_name(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name: String = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' '))
        .collect();
    if name.trim().is_empty() {
        "orders".to_string()
    } else {
        name
    }
}
