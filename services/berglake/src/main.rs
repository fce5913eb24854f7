//! The `berglake` binary: a thin composition of the crates. `berglake --help` is its reference.

mod cli;
mod commands;
mod compose;
mod exit;
mod output;
mod render;
mod shell;

use std::process::ExitCode;
use std::time::Duration;

use berglake_format::{Error, failpoint};
use berglake_host::signals::interrupted;
use berglake_maintenance::Stop;
use berglake_query::STACK_SIZE;
use clap::Parser;
use tokio::runtime::Runtime;

use cli::{Arguments, Command, ConfigCommand, LogFormat, MaintainCommand};
use exit::{Failure, Outcome};

/// How long work on other threads may take to end after an interruption.
const SHUTDOWN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match on_large_stack(move || start(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output::colour_on_stderr()),
    }
}

/// Runs this on a thread whose stack is made for statements: that of the main thread is as large as the
/// shell allows.
fn on_large_stack(work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let thread = std::thread::Builder::new()
        .name("main".to_string())
        .stack_size(STACK_SIZE)
        .spawn(work)
        .map_err(no_thread)?;
    match thread.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn no_thread(error: std::io::Error) -> Error {
    Error::internal("the program's threads cannot be started").source_error(error)
}

fn start(arguments: &Arguments) -> Outcome {
    if let Ok(setting) = std::env::var(failpoint::VARIABLE) {
        failpoint::check(&setting).map_err(Failure::usage)?;
    }
    // It exports what is left when this function ends, whatever the outcome.
    let _telemetry = telemetry(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_SIZE)
        .build()
        .map_err(no_thread)?;
    let outcome = dispatch(&runtime, arguments);
    // A thread that still reads or writes must not keep an interrupted program alive.
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

fn telemetry(arguments: &Arguments) -> Outcome<berglake_telemetry::Guard> {
    let global = &arguments.global;
    let format = match global.log_format {
        LogFormat::Plain => berglake_telemetry::Format::Plain,
        LogFormat::Json => berglake_telemetry::Format::Json,
    };
    berglake_telemetry::Settings::new(format)
        .filter(&global.log)
        .and_then(|settings| settings.service(arguments.command.service()).init())
        .map_err(|error| Failure::usage(Error::invalid(error.to_string())))
}

fn dispatch(runtime: &Runtime, arguments: &Arguments) -> Outcome {
    let global = &arguments.global;
    match &arguments.command {
        Command::Init { folder } => commands::init::run(folder),
        Command::Completions { shell } => commands::completions::run(*shell),
        Command::Config {
            command: ConfigCommand::Show { origin },
        } => commands::config::show(global, *origin),
        Command::Validate => until_interrupted(runtime, commands::validate::run(global)),
        Command::Plan(selection) => {
            until_interrupted(runtime, commands::plan::run(global, selection))
        }
        Command::Run(run) if run.watch => {
            runtime.block_on(commands::watch::run(global, run.selection.layer.as_deref()))
        }
        Command::Run(run) => until_interrupted(runtime, commands::run::run(global, run)),
        Command::Up => runtime.block_on(commands::serve::up(global)),
        Command::Serve { role } => runtime.block_on(commands::serve::one(global, *role)),
        Command::Check => until_interrupted(runtime, commands::check::run(global)),
        Command::Tables => until_interrupted(runtime, commands::tables::run(global)),
        Command::History { table } => {
            until_interrupted(runtime, commands::history::run(global, table))
        }
        Command::Rollback(rollback) => {
            until_interrupted(runtime, commands::rollback::run(global, rollback))
        }
        Command::Info { table } => {
            until_interrupted(runtime, commands::info::run(global, table.as_deref()))
        }
        Command::Maintain { command } => match command {
            MaintainCommand::Plan(what) => {
                until_interrupted(runtime, commands::maintain::plan(global, what))
            }
            MaintainCommand::Run(what) => {
                let stop = Stop::new();
                let command = commands::maintain::run(global, what, &stop);
                until_settled(runtime, &stop, command)
            }
        },
        Command::RecoverMetadata(what) => {
            until_interrupted(runtime, commands::recover_metadata::run(global, what))
        }
        Command::Sql(sql) => match commands::sql::given(sql).map_err(Failure::usage)? {
            Some(text) => until_interrupted(runtime, commands::sql::run(global, sql, &text)),
            None => shell::run(runtime, global, sql),
        },
    }
}

/// Runs a command until it ends or somebody wants it to. A command that is dropped abandons what is
/// in flight; a commit is made in one step, so tables are before it or after it.
fn until_interrupted(runtime: &Runtime, command: impl Future<Output = Outcome>) -> Outcome {
    runtime.block_on(async {
        tokio::select! {
            outcome = command => outcome,
            () = interrupted() => Err(Failure::Interrupted),
        }
    })
}

/// Runs a command until it ends. The first interruption asks it to end where that is clean, the second
/// is as [`until_interrupted`].
fn until_settled(
    runtime: &Runtime,
    stop: &Stop,
    command: impl Future<Output = Outcome>,
) -> Outcome {
    runtime.block_on(async {
        let mut command = std::pin::pin!(command);
        tokio::select! {
            outcome = &mut command => return outcome,
            () = interrupted() => stop.ask(),
        }
        tokio::select! {
            outcome = &mut command => outcome.and(Err(Failure::Interrupted)),
            () = interrupted() => Err(Failure::Interrupted),
        }
    })
}
