//! The `layerlint` command: an exit code and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    layerlint::cli::main()
}
