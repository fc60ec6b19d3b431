//! Who a finding is, wherever its line moves to: the rule, the stage and the words of the instruction.

use super::Finding;
use crate::key::sha256_joined;
use std::collections::HashMap;

/// Gives every finding without one its fingerprint. `words` are those of the instruction that holds its primary place,
/// with blanks and line ends as single spaces; where several findings have all of it in common they are numbered.
///
/// The path is not in it: whoever compares between files adds it in the way that it knows paths.
pub fn identify(findings: &mut [Finding], words: impl Fn(&Finding) -> String) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for finding in findings.iter_mut().filter(|finding| finding.fingerprint.is_empty()) {
        let stage = finding.stage.clone().unwrap_or_default();
        let words = words(finding);
        let same = sha256_joined(&["layerlint/1", finding.rule, &stage, &words]);
        // Files are numbered apart, so that a file may be looked at alone.
        let number = seen.entry(format!("{}\0{same}", finding.primary.file)).or_default();
        let digest = sha256_joined(&[same.as_str(), &number.to_string()]);
        *number += 1;
        finding.fingerprint = digest.trim_start_matches("sha256:").get(..32).unwrap_or_default().to_owned();
    }
}

/// Bytes as words with single spaces between.
pub fn words_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
