//! Golden vectors in testdata/format: what was written once must always be written so.

use alloc::{format, string::String};

/// Asserts that a golden file has exactly these `name = value` lines after its header.
pub(crate) fn assert_golden(file: &str, lines: &[(&str, String)]) {
    let mut expected = String::new();
    for (name, value) in lines {
        expected.push_str(&format!("{name} = {value}\n"));
    }
    let found: String = file
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(found == expected, "the code gives:\n{expected}");
}
