use std::path::Path;
pub fn a_killed_process_leaves_whole_files() {}
pub fn a_full_or_read_only_disk_changes_nothing() {}
pub fn a_file_that_may_not_grow_changes_nothing() {}
pub fn save_for_ever(_: &Path) {}
pub fn fail_to_save(_: &Path) {}
