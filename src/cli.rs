//! The command line: clap types, one file per command, wiring. The only room that knows clap; it holds no logic.

mod build;
mod builds;
mod cache;
mod check;
mod configuration;
mod console;
mod context;
mod error;
mod graph;
mod keys;
mod log;
mod place;
mod repair;
mod rules;
mod state;
mod verify;
mod why;

pub use build::{Build, BuildArgs};
pub use console::Console;
pub use error::{CliError, Exit};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "layerlint",
    version,
    about = "Tells the truth about Docker's build cache",
    long_about = "Tells the truth about Docker's build cache.\n\n\
        layerlint reads a Dockerfile, its build context and its ignore file the way BuildKit does, without \
        Docker, without a network and without running anything. It finds what makes a build stale or slow, \
        and shows what every instruction is keyed by.",
    after_long_help = "Examples:\n  \
        layerlint check                      lint every Dockerfile below this directory\n  \
        layerlint keys -f app/Dockerfile .   what is every instruction keyed by?\n  \
        layerlint why --since HEAD~1         what does the last commit make a build do again?\n  \
        layerlint context                    which files does Docker send, and why not the others?\n  \
        layerlint cache ./cache .            will this exported cache hit, and is it what it says?\n  \
        layerlint verify app.tar .           does the image hold the files of this source tree?\n  \
        layerlint log build.log              what did that build reuse, and was that right?\n  \
        layerlint rules arg-baked-env        what is this rule, why does it hurt, how is it fixed?\n\n\
        Exit codes: 0 nothing found, 1 findings, 2 usage or unreadable input, 3 nothing to lint, \
        4 a Dockerfile that BuildKit would refuse.",
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 110
)]
struct Cli {
    #[command(flatten)]
    console: console::ConsoleArgs,
    #[command(subcommand)]
    command: Command,
}

/// One variant per command; each has its own file.
#[derive(Debug, Subcommand)]
enum Command {
    /// What is risky here? Lints every Dockerfile found below a directory
    Check(check::Args),
    /// What is every instruction keyed by, and which context files feed it?
    Keys(keys::Args),
    /// Between two states, which instructions are made anew, which are reused, and why?
    Why(why::Args),
    /// What is in the build context, what is left out, and which pattern decided it?
    Context(context::Args),
    /// Will this exported cache hit, and does it hold what its keys promise?
    Cache(cache::Args),
    /// Does the image hold the files of this source tree?
    Verify(verify::Args),
    /// What did that build really reuse, and does it agree with the keys?
    Log(log::Args),
    /// Which stages are there, how do they feed each other, which are never built?
    Graph(graph::Args),
    /// What rules are there; what is this rule, why does it hurt, how is it fixed?
    Rules(rules::Args),
}

/// How a command that has no other formats shows its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
}

/// Runs the program with the arguments of the process.
///
/// An `xtask` crate can be `fn main() -> ExitCode { layerlint::cli::main() }`.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program with these arguments, the first of which is the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    // `cargo layerlint check` starts `cargo-layerlint layerlint check`.
    if args.get(1).is_some_and(|a| a == "layerlint") {
        args.remove(1);
        command = command.bin_name("cargo layerlint");
    }
    let parsed = command.try_get_matches_from(args).and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(usage) => {
            // A reader that is gone is no failure of ours.
            let _ = usage.print();
            return if usage.use_stderr() { Exit::Failed.into() } else { Exit::Clean.into() };
        }
    };
    let mut console = Console::new(&cli.console);
    let result = match cli.command {
        Command::Check(args) => check::run(&args, &mut console),
        Command::Keys(args) => keys::run(&args, &mut console),
        Command::Why(args) => why::run(&args, &mut console),
        Command::Context(args) => context::run(&args, &mut console),
        Command::Cache(args) => cache::run(&args, &mut console),
        Command::Verify(args) => verify::run(&args, &mut console),
        Command::Log(args) => log::run(&args, &mut console),
        Command::Graph(args) => graph::run(&args, &mut console),
        Command::Rules(args) => rules::run(&args, &mut console),
    };
    console.finish(result).into()
}
