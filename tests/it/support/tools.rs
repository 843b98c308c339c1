//! Programs that a test needs and that a machine may not have.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

/// Finds a program on the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Says whether a test must be skipped because something is `absent`, and says so loudly.
///
/// Where `required_by` is set to `1` in the environment (`./test` does, wherever the tools are
/// there, and always in CI), that is a failure instead.
pub fn skips(test: &str, absent: &[&str], required_by: &str) -> bool {
    if absent.is_empty() {
        return false;
    }
    let absent = absent.join(", ");
    let required = env::var_os(required_by).is_some_and(|value| value == "1");
    assert!(!required, "{test} needs {absent}, and {required_by}=1 does not let it be skipped");
    say(&format!("SKIPPED: {test}: missing {absent}"));
    true
}

/// Writes a line that the test harness does not swallow when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "\n{line}");
}
