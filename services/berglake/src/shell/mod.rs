//! The interactive prompt of `berglake sql`.

mod helper;
pub(crate) mod statements;

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use crate::cli::{Global, Output, SqlArguments};
use crate::commands::all_tables;
use crate::commands::sql::Sql;
use crate::exit::{self, Failure, Outcome};
use crate::output::{Out, colour_on_stderr};
use crate::render::{duration, rows};

use helper::{COMMANDS, Names, SqlHelper};

type Prompt = Editor<SqlHelper, FileHistory>;

/// Lines that are kept of what was typed.
const HISTORY: usize = 10_000;

/// Whether the user says good-bye in words.
fn is_farewell(input: &str) -> bool {
    matches!(
        input
            .trim()
            .trim_end_matches(';')
            .to_ascii_lowercase()
            .as_str(),
        "exit" | "quit"
    )
}

/// Talks with the user until they leave.
pub(crate) fn run(runtime: &Runtime, global: &Global, arguments: &SqlArguments) -> Outcome {
    let output = global.output.unwrap_or(Output::Table);
    rows::check_terminal(output).map_err(Failure::usage)?;
    let mut sql = runtime.block_on(Sql::open(global, arguments.force))?;
    let mut prompt = prompt().map_err(|error| terminal(&error))?;
    let history = history_file();
    if let Some(file) = &history {
        // None yet, or not readable: the prompt works without.
        let _ = prompt.load_history(file);
    }
    let mut shell = Shell {
        output,
        timing: false,
        out: Out::new(),
    };
    shell
        .out
        .line("statements end with ;  \\? lists commands, \\q quits")?;
    if sql.lake.is_fresh() {
        shell
            .out
            .line("the project has no tables yet; `berglake run` makes those of its pipelines")?;
    }
    shell.out.flush()?;
    refresh_names(runtime, &mut prompt, &sql);
    let outcome = loop {
        let line = match prompt.readline("berglake> ") {
            Ok(line) => line,
            // Ctrl-C gives up what was typed, Ctrl-D leaves.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break Ok(()),
            Err(error) => break Err(terminal(&error)),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        // A history that cannot be kept is no reason to stop working.
        let _ = prompt.add_history_entry(line);
        if line == "\\q" || is_farewell(line) {
            break Ok(());
        }
        match shell.answer(runtime, &mut sql, line) {
            Ok(()) => {}
            Err(Failure::Error { error, .. }) => exit::show(&error, colour_on_stderr()),
            Err(Failure::Interrupted) => {
                shell.out = Out::new();
                shell.out.line("cancelled")?;
            }
            Err(other) => break Err(other),
        }
        shell.out.flush()?;
        if statements::writes(line) && !line.starts_with('\\') {
            refresh_names(runtime, &mut prompt, &sql);
        }
    };
    if let Some(file) = &history {
        if let Some(folder) = file.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = prompt.save_history(file);
    }
    outcome
}

struct Shell {
    output: Output,
    timing: bool,
    out: Out,
}

impl Shell {
    /// Does what one input asks for.
    fn answer(&mut self, runtime: &Runtime, sql: &mut Sql, line: &str) -> Outcome {
        let text = match line.strip_prefix('\\') {
            None => line.to_string(),
            // Of all namespaces: a session begins in one that need not exist.
            Some(command) if command.trim_end_matches(';').trim() == "d" => {
                for table in runtime.block_on(all_tables(sql.catalog.as_ref()))? {
                    self.out.line(&table.to_string())?;
                }
                return Ok(());
            }
            Some(command) => match self.command(command.trim_end_matches(';'))? {
                Some(statement) => statement,
                None => return Ok(()),
            },
        };
        let environment = sql.lake.environment.clone();
        let started = environment.clock().now_millis();
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = sql.run(&text, self.output, &mut self.out) => outcome,
                _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
            }
        });
        if self.timing && outcome.is_ok() {
            let elapsed = environment.clock().now_millis() - started;
            let elapsed = duration(u64::try_from(elapsed).unwrap_or(0));
            self.out.line(&format!("time: {elapsed}"))?;
        }
        outcome
    }

    /// Does a command of the shell, or gives the statement that it stands for.
    fn command(&mut self, command: &str) -> Outcome<Option<String>> {
        let (name, argument) = match command.split_once(char::is_whitespace) {
            Some((name, argument)) => (name, argument.trim()),
            None => (command, ""),
        };
        match (name, argument) {
            ("?", _) => {
                for (name, meaning) in COMMANDS {
                    self.out.line(&format!("  {name:8}  {meaning}"))?;
                }
            }
            ("timing", _) => {
                self.timing = !self.timing;
                let state = if self.timing { "on" } else { "off" };
                self.out.line(&format!("timing is {state}"))?;
            }
            ("d", table) => return Ok(Some(format!("DESCRIBE {table}"))),
            _ => {
                let error =
                    berglake_format::Error::invalid(format!("there is no command \\{name}"))
                        .help("\\? lists the commands");
                return Err(Failure::usage(error));
            }
        }
        Ok(None)
    }
}

fn prompt() -> rustyline::Result<Prompt> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .max_history_size(HISTORY)?
        .build();
    let mut prompt = Editor::with_config(config)?;
    prompt.set_helper(Some(SqlHelper::default()));
    Ok(prompt)
}

/// Learns the names of tables and columns anew.
fn refresh_names(runtime: &Runtime, prompt: &mut Prompt, sql: &Sql) {
    match runtime.block_on(Names::of(sql.catalog.as_ref())) {
        Ok(names) => {
            if let Some(helper) = prompt.helper_mut() {
                helper.names = names;
            }
        }
        // Completion is a convenience; the next statement reports what is wrong.
        Err(error) => tracing::debug!(%error, "names for completion cannot be read"),
    }
}

/// Where what was typed is kept: the user's folder for state.
fn history_file() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local").join("state")))?;
    Some(state.join("berglake").join("history"))
}

fn terminal(error: &ReadlineError) -> Failure {
    berglake_format::Error::new(
        berglake_format::ErrorKind::Unavailable,
        "the terminal cannot be used",
    )
    .source_error(error.to_string())
    .help("give statements with -c or -f")
    .into()
}
