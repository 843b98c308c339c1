//! State directories for the programs that tests start, so that no test sees the user's own, or another's.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable of the client, and of the server.
pub const CLIENT: &str = "PARLOR_STATE_DIR";
pub const SERVER: &str = "PARLOR_SERVER_STATE_DIR";
/// The variable of the client's file of settings; empty for none.
pub const CONFIG: &str = "PARLOR_CONFIG";

/// One directory for this run of the tests. What ended runs have left is removed.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state");
    for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    all.join(std::process::id().to_string())
});

/// A directory that nobody else uses; it is not there yet.
pub fn fresh() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    ROOT.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string())
}
