//! `cargo layerlint`: the same program under the name that cargo looks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    layerlint::cli::main()
}
