//! What several tests share: processes that always end, tools that may be missing, a sound card
//! without hardware, and the comparison of what was said with what was heard.

pub mod listening;
pub mod process;
pub mod sound;
pub mod tools;
