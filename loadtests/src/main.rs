//! The load generator's command line; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtests::cli::main()
}
