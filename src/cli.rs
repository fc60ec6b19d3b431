//! The command line: clap types, one file per command, wiring. The only room that knows clap; it holds no logic.

use std::process::ExitCode;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    ExitCode::from(2)
}
