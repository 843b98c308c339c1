//! `doctor`.
use crate::args::Doctor;
use std::path::Path;
use std::process::ExitCode;

pub(crate) async fn run(_doctor: Doctor, _directory: &Path, _json: bool) -> ExitCode {
    crate::warn("doctor is not there yet");
    ExitCode::from(1)
}
