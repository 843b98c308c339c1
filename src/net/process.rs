//! What a process owes the keys in its memory: that no copy of it lands on a disk.

/// Switches core dumps off, and where possible (Linux) keeps other processes of the same user from
/// reading this one's memory. What the system refuses it refuses; nothing depends on it.
pub fn keep_memory_private() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, none);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
