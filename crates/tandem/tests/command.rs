//! The program itself, as cargo built it for this test. That it is built here is what the tests of `tests/` rely on:
//! they start the real program and cannot ask cargo for it across packages.

use std::process::Command;

fn tandem(args: &[&str]) -> std::process::Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem")).args(args).output();
    output.expect("cargo built the program for this test")
}

#[test]
fn exit_statuses() {
    for (args, status) in [
        (&["--version"][..], 0),
        (&["check-config", "--template"], 0),
        (&["zone", "check", "no/such/folder.zone"], 1),
        (&["no-such-command"], 2),
    ] {
        let output = tandem(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
    }
}

#[test]
fn results_go_to_standard_output_and_errors_to_standard_error() {
    let failed = tandem(&["nodes", "list", "--api", "nonsense"]);
    assert!(failed.stdout.is_empty());
    let text = String::from_utf8(failed.stderr).expect("messages are UTF-8");
    assert!(text.starts_with("error: `nonsense` is not the URL of an API"), "{text}");
}
