//! The snippets of `docs/guides/`: what a page tells an operator to type is what the servers under test run.

use std::path::Path;

/// The fenced block after the line `<!-- snippet: NAME -->` of a guide.
///
/// # Panics
///
/// When the guide has no such snippet: the page and the tests must change together.
pub(crate) fn snippet(guide: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides").join(guide);
    let text = std::fs::read_to_string(&path).expect("the guide is part of the project");
    let marker = format!("<!-- snippet: {name} -->\n");
    let after = text.split_once(&marker).map(|(_, after)| after);
    let block = after.and_then(|after| after.strip_prefix("```text\n")).and_then(|after| after.split_once("\n```"));
    let Some((block, _)) = block else { panic!("docs/guides/{guide} has no block marked {}", marker.trim()) };
    format!("{block}\n")
}

/// A file of `tests/data/peer/`.
pub(super) fn template(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/peer").join(name);
    std::fs::read_to_string(&path).expect("the template is part of the project")
}
