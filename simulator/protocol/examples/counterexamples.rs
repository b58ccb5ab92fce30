//! Prints what the search of the model finds.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut text = String::new();
    let is_as_expected = protocol::report(&mut text);
    #[expect(clippy::print_stdout, reason = "this is its output")]
    {
        println!("{text}");
    }
    if is_as_expected == Ok(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
